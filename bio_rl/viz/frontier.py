"""Return against operations a decision, of networks of several sizes, as a picture.

A point is a case: its interquartile mean over seeds, with Student's t interval, at the mean number
of effective operations of a decision. The frontier of a kind of network is the best that any of its
sizes reaches with so many operations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bio_rl.viz import curves
from bio_rl.viz.curves import COLOURS

MARKS = ("o", "s", "^", "D", "v")
POINTS = 200
"""Numbers of operations at which two frontiers are compared, evenly on a logarithmic axis."""


class Point(NamedTuple):
    """A size of a network, trained from several seeds."""

    env: str
    kind: str
    """mlp, or the spiking network with its number of ticks."""
    size: str
    """Hidden layers."""
    operations: float
    score: float
    """Interquartile mean of the seeds' returns."""
    interval: tuple[float, float] | None


def points(results: Mapping[str, Any]) -> list[Point]:
    """The points of results of `bench frontier`, those of a kind by their operations."""
    found = []
    for case, figures in results.items():
        if "operations_per_decision" not in figures:
            continue
        learner, _, flags = case.partition(" ")
        env, _, network = learner.rsplit("/", 2)
        hidden = re.search(r"hidden ([\d ]+)", flags)
        ticks = re.search(r"ticks (\d+)", flags)
        operations = figures["operations_per_decision"][network]["total"]
        ends = figures.get("iqm_interval")
        found.append(
            Point(
                env.removeprefix("bio_rl/"),
                f"{network}, K = {ticks[1]}" if ticks else network,
                "-".join(hidden[1].split()) if hidden else "default",
                float(operations),
                float(figures["iqm"]),
                None if ends is None else (float(ends[0]), float(ends[1])),
            )
        )
    return sorted(found, key=lambda point: (point.env, point.kind, point.operations))


def best(found: Sequence[Point], operations: np.ndarray) -> np.ndarray:
    """The best score of any point with at most so many operations; -inf where there is none."""
    at = np.array([point.operations for point in found])
    scores = np.array([point.score for point in found])
    # [operations, points]
    within = at[None, :] <= operations[:, None]
    return np.where(within, scores[None, :], -np.inf).max(1)


def share(found: Sequence[Point]) -> float:
    """The share of the range in which the best spiking network is at or above the best MLP, on a
    logarithmic axis from the fewest operations that any of both has to the most.
    """
    mlps = [point for point in found if point.kind == "mlp"]
    others = [point for point in found if point.kind != "mlp"]
    every = [point.operations for point in found]
    operations = np.geomspace(min(every), max(every), POINTS)
    return float(np.mean(best(others, operations) >= best(mlps, operations)))


def sentences(results: Mapping[str, Any]) -> list[str]:
    """A sentence for each environment: where spikes are worth their operations."""
    found = points(results)
    texts = []
    for env in dict.fromkeys(point.env for point in found):
        own = [point for point in found if point.env == env]
        if len({point.kind == "mlp" for point in own}) == 2:
            texts.append(
                f"{env}: at equal operations the best spiking network is at or above the best MLP "
                f"in {share(own):.0%} of the range"
            )
    return texts


def draw(results: Mapping[str, Any], path: Path) -> Path:
    """Write the picture: a panel for each environment. Raises ValueError for results without
    points, ImportError without matplotlib.
    """
    found = points(results)
    if not found:
        raise ValueError("no case has a score and its operations: nothing to draw")
    envs = list(dict.fromkeys(point.env for point in found))
    kinds = list(dict.fromkeys(point.kind for point in found))
    figure, axes = curves.grid(len(envs), 4.2, 6.0)
    for axis, env in zip(axes.flat, envs, strict=False):
        for i, kind in enumerate(kinds):
            own = [point for point in found if (point.env, point.kind) == (env, kind)]
            _line(axis, own, COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)])
        axis.set(xscale="log", title=env)
        axis.xaxis.set_minor_formatter("")
        axis.set_xlabel("effective operations a decision, neurons and codes included")
    first = axes.flat[0]
    first.set_ylabel("return, interquartile mean over seeds")
    first.legend(fontsize=8)
    return curves.save(figure, path)


def _line(axis: Any, own: Sequence[Point], colour: str, mark: str) -> None:
    """Draw the sizes of a kind, each with its interval and its name."""
    if not own:
        return
    x = [point.operations for point in own]
    y = [point.score for point in own]
    axis.plot(x, y, mark + "-", color=colour, markersize=4, linewidth=1, label=own[0].kind)
    for point in own:
        if point.interval is not None:
            axis.plot([point.operations] * 2, point.interval, color=colour, alpha=0.5, linewidth=1)
        place = (point.operations, point.score)
        axis.annotate(
            point.size, place, (3, 3), textcoords="offset points", fontsize=6, color=colour
        )
