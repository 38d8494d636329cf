"""The errors of the payload, and the words that every layer above shares."""

from .trainer.errors import OdbuildError, UsageError, did_you_mean

__all__ = ["OdbuildError", "UsageError", "did_you_mean"]
