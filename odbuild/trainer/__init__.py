"""The payload: the code that runs on the training machine, shipped byte for byte in trainer.zip.

It is the package `odbuild.trainer` here and `trainer` there, so its modules import each other
relatively and nothing else of odbuild.
"""
