"""What breaks one rule."""

from hypothesis import strategies as st

from odbuild.errors import UsageError, did_you_mean

# Their ways are registered as they are imported.
from . import broken_bundles, broken_configs, broken_datasets, broken_records
from .ways import WAYS, Broken

__all__ = ["broken", "broken_bundles", "broken_configs", "broken_datasets", "broken_records"]


def broken(code: str) -> st.SearchStrategy[Broken]:
    """Return a strategy for what breaks a rule, at a place and in a way drawn at random.

    Configs and bundles need upstream, from the cache or brought into it, and a bundle takes seconds to make.

    Raises:
        UsageError: no rule has that code.
    """
    if code not in WAYS:
        raise UsageError(
            f"There is no rule {code!r}.{did_you_mean(code.upper(), WAYS)} `odbuild rules` lists all."
        )
    return st.one_of(WAYS[code])
