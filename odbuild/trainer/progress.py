"""Tell every step in the form that the service's clients read, and remember how the loss went."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import OdbuildError


@dataclass(slots=True, kw_only=True)
class Progress:
    """The training loop's account of itself.

    Attributes:
        say: Takes one line.
        training: Set while steps are under way, and so a stop must wait for the end of one.
        stopped: Set from outside to end training after the step under way.
        first: Loss of the first step told.
        last: Loss of the newest step told.
    """

    say: Callable[[str], None]
    training: bool = False
    stopped: bool = False
    first: float | None = None
    last: float | None = None
    _since: float = field(default_factory=time.monotonic)

    def tell(self, step: int, loss: float) -> None:
        r"""Tell a step, counted from 0, and its loss.

        The line is what cacli's `tensorflow:loss = [\d.]*, step = (\d*)` matches: fixed point, one line.

        Raises:
            OdbuildError: If the loss is not finite.
        """
        if not math.isfinite(loss):
            raise OdbuildError(
                f"the loss is {loss} at step {step}: training diverged. Take a smaller learning rate or a larger "
                f"batch, and look for boxes that do not fit their pictures."
            )
        now = time.monotonic()
        self.say(f"INFO:tensorflow:loss = {loss:.7f}, step = {step} ({now - self._since:.3f} sec)")
        self._since = now
        self.first = loss if self.first is None else self.first
        self.last = loss
