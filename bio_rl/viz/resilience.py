"""A picture of one perturbed life: reward per step before and after, with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bio_rl.viz.curves import COLOURS, blank, save


def draw(
    curve: Sequence[float],
    spread: Sequence[float],
    at: int,
    before: float,
    asymptote: float,
    back: int | None,
    title: str,
    path: Path,
) -> Path:
    """Write the smoothed mean reward per step [steps] with a band of one standard error.

    at: the step of the perturbation. before, asymptote: levels; back: the step at which 90 % of the
    drop was regained, None for never. Raises ImportError where matplotlib is missing.
    """
    mean = np.asarray(curve)
    error = np.asarray(spread)
    steps = np.arange(len(curve))
    figure = blank((6.4, 3.4))
    axis = figure.subplots()
    axis.axvline(at, color="0.4", linewidth=1, linestyle="--", label="perturbation")
    axis.axhline(before, color=COLOURS[2], linewidth=1, label=f"before {before:.2f}")
    axis.hlines(
        asymptote, at, len(mean), color=COLOURS[1], linewidth=1, label=f"asymptote {asymptote:.2f}"
    )
    axis.plot(steps, mean, color=COLOURS[0], linewidth=1.5)
    axis.fill_between(steps, mean - error, mean + error, color=COLOURS[0], alpha=0.2, linewidth=0)
    if back is not None:
        # it may have been regained after the last step that is drawn
        level = mean[min(back, len(mean) - 1)]
        axis.plot(back, level, "o", color=COLOURS[3], label="90 % of the drop regained")
    axis.set_xlabel("step")
    axis.set_ylabel("reward per step")
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="best")
    return save(figure, path)
