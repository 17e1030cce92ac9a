"""What a brain that learns reports, on the time axis of its rewards: dopamine, value, eligibility,
weight change.

All but the value is drawn at the end of the decision after which it was reported: then the reward
has come.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bio_rl.training.evaluation import Recording
from bio_rl.viz.curves import COLOURS

Panel = tuple[float, Callable[[Any, Recording, np.ndarray], None]]
"""Its height in inches, and what draws it: (axis, recording, edges of decisions [D + 1])."""
TRACES = {
    "plasticity/eligibility": "eligibility\nmean |e|",
    "plasticity/change": "change\nmean |Δw|",
}
"""What each update leaves; a line for each part where there are some, such as
plasticity/eligibility_critic.
"""
BLUE, RED, *_ = COLOURS
GREY = "#777777"


def panels(seen: Recording) -> list[Panel]:
    """Those of what was reported."""
    names = [name for name in TRACES if parts(seen, name)]
    fixed = {"dopamine/rpe": (1.3, _dopamine), "dopamine/value": (1.1, _value)}
    return [panel for name, panel in fixed.items() if name in seen.reported] + [
        (1.1, partial(_trace, name=n)) for n in names
    ]


def parts(seen: Recording, name: str) -> list[str]:
    """The reported parts of `name`, else itself if it was reported."""
    return [n for n in seen.reported if n.startswith(f"{name}_")] or [
        n for n in seen.reported if n == name
    ]


def mark_ends(axes: Any, reward: int, seen: Recording, edges: np.ndarray) -> None:
    """A line across all panels where an episode ended and the next began; what ended it, on the
    panel of the reward.
    """
    low, high = min(0.0, 1.1 * seen.rewards.min()), max(0.0, 1.1 * seen.rewards.max())
    axes[reward].set_ylim(low, high if high > low else low + 1.0)
    for i in np.flatnonzero((seen.terminated | seen.truncated)[:-1]):
        for axis in axes:
            axis.axvline(edges[i + 1], color=GREY, linewidth=0.8, linestyle=":")
        cause, late = (
            "terminated" if seen.terminated[i] else "time limit",
            edges[i + 1] > 0.9 * edges[-1],
        )
        axes[reward].annotate(
            cause, (edges[i + 1], 0.0), (-3 if late else 3, 4), xycoords=axes[reward].get_xaxis_transform(),
            textcoords="offset points", fontsize=8, color=GREY, ha="right" if late else "left",
        )  # fmt: skip


def legend(axis: Any, columns: int = 2) -> None:
    """Above the panel, at its right."""
    axis.legend(
        frameon=False, fontsize=7, ncols=columns, loc="lower right", bbox_to_anchor=(1.0, 0.98)
    )


def _dopamine(axis: Any, seen: Recording, edges: np.ndarray) -> None:
    """Stems: above zero where things went better than expected, below where worse."""
    rpe, at = seen.reported["dopamine/rpe"], edges[1:]
    for sign, colour, label in ((rpe > 0, BLUE, "better than expected"), (rpe < 0, RED, "worse")):
        axis.vlines(at[sign], 0.0, rpe[sign], color=colour, linewidth=1.4)
        axis.plot(at[sign], rpe[sign], "o", color=colour, markersize=2.5, label=label)
    axis.axhline(0.0, color="black", linewidth=0.5)
    axis.set_ylabel("dopamine\nδ")
    legend(axis)


def _value(axis: Any, seen: Recording, edges: np.ndarray) -> None:
    """What the brain expected when it decided."""
    axis.stairs(seen.reported["dopamine/value"], edges, baseline=None, color="black", linewidth=1.2)
    axis.set_ylabel("value\nV")


def _trace(axis: Any, seen: Recording, edges: np.ndarray, name: str) -> None:
    lines = parts(seen, name)
    for colour, line in zip(COLOURS, lines, strict=False):
        label = line.removeprefix(name).strip("_")
        axis.plot(edges[1:], seen.reported[line], color=colour, linewidth=1.2, label=label)
    axis.set_ylim(bottom=0.0)
    axis.set_ylabel(TRACES[name])
    if len(lines) > 1:
        legend(axis)
