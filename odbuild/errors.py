"""The errors of the payload, and the words that every layer above shares."""

from .trainer.errors import OdbuildError, UnreadableError, UsageError, did_you_mean

__all__ = ["OdbuildError", "UnreadableError", "UsageError", "did_you_mean"]
