"""The progress of a run, as whoever watches it is told: `bio_rl.train(..., callback=watch)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """A run at one row of its log."""

    steps: int
    """Environment steps so far."""
    share: float
    """Share of the training that is over, from 0 to 1."""
    metrics: Mapping[str, float]
    """The row, by the names that TensorBoard shows."""
    folder: Path
    """The run folder."""
    score: float | None
    """Mean greedy return of the evaluation at this step; None where there was none."""


Callback = Callable[[Progress], object]
"""It is called at each row of the log. Where it returns True or raises `StopTraining`, the run
stops as by Ctrl-C, saved; any other exception ends the run and reaches its caller.
"""


class StopTraining(Exception):  # noqa: N818  (named as Python's StopIteration is)
    """Raised in a callback it stops the run as Ctrl-C does: after the update at hand, saved."""


def wants_stop(callback: Callback, progress: Progress) -> bool:
    """Whether a callback, which is told of the progress, asks for a stop."""
    try:
        # True alone: list.append or a function that counts answers something else, and goes on.
        return callback(progress) is True
    except StopTraining:
        return True
