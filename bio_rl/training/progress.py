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


Callback = Callable[[Progress], bool | None]
"""It is called at each row of the log; where it returns True, the run stops as by Ctrl-C, saved."""
