"""Build, check and rehearse trainer.zip bundles for TensorFlow Object Detection models."""

__version__ = "0.1.0"
