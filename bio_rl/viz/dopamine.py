"""Panels of a brain that learns, in time with its rewards: dopamine, value, eligibility, change.

All but the value is drawn at the end of the decision after which it was reported: then the reward
has come.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bio_rl.training.recording import Recording
from bio_rl.viz.curves import COLOURS

Panel = tuple[float, Callable[[Any, Recording, np.ndarray], None]]
"""Its height in inches, and a function that draws (axis, recording, edges of decisions [D + 1])."""
TRACES = {
    "plasticity/eligibility": "eligibility\nmean |e|",
    "plasticity/change": "change\nmean |Δw|",
}
"""Reports of each update, with the labels of their panels.

Where they have parts, as plasticity/eligibility_critic, each part is a line.
"""
BLUE, RED, *_ = COLOURS
GREY = "#777777"


def panels(recording: Recording) -> list[Panel]:
    """The panels of all that was reported."""
    chosen: list[Panel] = []
    if "dopamine/rpe" in recording.reported:
        chosen.append((1.3, _dopamine))
    if "dopamine/value" in recording.reported:
        chosen.append((1.1, _value))
    for name in TRACES:
        if parts(recording, name):
            chosen.append((1.1, partial(_trace, name=name)))
    return chosen


def parts(recording: Recording, name: str) -> list[str]:
    """The reported parts of `name`, else itself if it was reported."""
    names = [other for other in recording.reported if other.startswith(f"{name}_")]
    if not names and name in recording.reported:
        return [name]
    return names


def mark_ends(axes: Any, reward: int, recording: Recording, edges: np.ndarray) -> None:
    """Draw a line across all panels where an episode ended and the next began.

    Its cause is written on the panel of the reward, which has this index.
    """
    panel = axes[reward]
    low = min(0.0, 1.1 * recording.rewards.min())
    high = max(0.0, 1.1 * recording.rewards.max())
    panel.set_ylim(low, high if high > low else low + 1.0)
    # after the last decision nothing begins
    ends = np.flatnonzero((recording.terminated | recording.truncated)[:-1])
    for i in ends:
        for axis in axes:
            axis.axvline(edges[i + 1], color=GREY, linewidth=0.8, linestyle=":")
        cause = "terminated" if recording.terminated[i] else "time limit"
        # at the right end of the panel the text stands before its line, to stay in the picture
        late = edges[i + 1] > 0.9 * edges[-1]
        panel.annotate(
            cause,
            (edges[i + 1], 0.0),
            (-3 if late else 3, 4),
            xycoords=panel.get_xaxis_transform(),
            textcoords="offset points",
            fontsize=8,
            color=GREY,
            ha="right" if late else "left",
        )


def legend(axis: Any, columns: int = 2) -> None:
    """Put the legend above the panel, at its right."""
    axis.legend(
        frameon=False, fontsize=7, ncols=columns, loc="lower right", bbox_to_anchor=(1.0, 0.98)
    )


def _dopamine(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw stems: above zero where things went better than expected, below where worse."""
    rpe = recording.reported["dopamine/rpe"]
    times = edges[1:]
    signs = ((rpe > 0, BLUE, "better than expected"), (rpe < 0, RED, "worse"))
    for rows, colour, label in signs:
        axis.vlines(times[rows], 0.0, rpe[rows], color=colour, linewidth=1.4)
        axis.plot(times[rows], rpe[rows], "o", color=colour, markersize=2.5, label=label)
    axis.axhline(0.0, color="black", linewidth=0.5)
    axis.set_ylabel("dopamine\nδ")
    legend(axis)


def _value(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw the return that the brain expected when it decided."""
    value = recording.reported["dopamine/value"]
    axis.stairs(value, edges, baseline=None, color="black", linewidth=1.2)
    axis.set_ylabel("value\nV")


def _trace(axis: Any, recording: Recording, edges: np.ndarray, name: str) -> None:
    """Draw a report of each update, a line for each of its parts."""
    lines = parts(recording, name)
    for colour, line in zip(COLOURS, lines, strict=False):
        label = line.removeprefix(name).strip("_")
        values = recording.reported[line]
        axis.plot(edges[1:], values, color=colour, linewidth=1.2, label=label)
    # means of sizes: none is below zero
    axis.set_ylim(bottom=0.0)
    axis.set_ylabel(TRACES[name])
    if len(lines) > 1:
        legend(axis)
