"""Rules of what the training machine does not judge: pipeline configs, checkpoints, and trainer.zip itself.

They register in the payload's catalogue when they are imported.
"""
