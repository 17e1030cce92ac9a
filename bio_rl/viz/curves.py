"""Learning curves: a logged quantity against environment steps, one line per kind of run with an
interval over its seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bio_rl.machine.files import replacing
from bio_rl.training import statistics
from bio_rl.training.metrics import read_rows

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe & Ito 2008: told apart by colour-blind eyes."""
RETURN = "rollout/ep_rew_mean"
GRID = 200
"""Points of a curve."""
RESAMPLES = 2000
"""Of the bootstrap, at each point."""
COLUMNS = 3
"""Panels in a row."""


class Curve(NamedTuple):
    """Seeds taken together on the steps that all of them have; empty arrays where they have none in
    common.
    """

    steps: np.ndarray
    """[G]"""
    middle: np.ndarray
    """[G] interquartile mean over the seeds."""
    low: np.ndarray
    high: np.ndarray
    """[G] its 95 % bootstrap interval."""


def read(folder: Path, name: str = RETURN) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of one logged quantity of a run."""
    rows = [r for r in read_rows(folder / "metrics.jsonl") if r.get(name) is not None]
    return np.array([r["step"] for r in rows], float), np.array([r[name] for r in rows], float)


def together(seeds: Sequence[tuple[np.ndarray, np.ndarray]]) -> Curve:
    """The (steps, values) of several seeds as one curve, values in between by linear interpolation.

    Interquartile mean and percentile bootstrap: Agarwal et al. 2021, §4. Where one of the seeds has
    stopped, so does the curve: a mean over the remaining ones would jump.
    """
    first, last = max(steps[0] for steps, _ in seeds), min(steps[-1] for steps, _ in seeds)
    grid = np.linspace(first, last, GRID) if first < last else np.zeros(0)
    values = np.stack([np.interp(grid, *seed) for seed in seeds])
    middle = statistics.interquartile_mean(values, axis=0)
    if len(seeds) == 1:
        return Curve(grid, middle, middle, middle)
    mean = statistics.interquartile_mean
    ends = [statistics.bootstrap_interval(x, mean, samples=RESAMPLES) for x in values.T]
    low, high = np.array(ends).reshape(-1, 2).T
    return Curve(grid, middle, low, high)


def draw(
    panels: Mapping[str, Mapping[str, Sequence[Path]]], path: Path, name: str = RETURN
) -> Path:
    """Write a figure with one panel per title and one line per label: an interquartile mean, its
    interval, thin seeds.

    panels: {title: {label: run folders}}; name: the logged quantity. Raises ImportError where
    matplotlib is missing.
    """
    plt = pyplot()
    across = min(COLUMNS, len(panels))
    down = math.ceil(len(panels) / across)
    deepest = max(
        len(lines) for lines in panels.values()
    )  # the legends stand below their panels, where no curve can hide
    size = (4.6 * across, (3.0 + 0.2 * deepest) * down)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        _panel(axis, title, lines, name)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for row in axes:
        row[0].set_ylabel("return of training episodes" if name == RETURN else name)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as file:
            figure.savefig(file, format=path.suffix.removeprefix(".") or "png", dpi=130)
    finally:
        plt.close(figure)
    return path


def pyplot() -> Any:
    """matplotlib's pyplot, drawing to files. Raises ImportError that names the extra."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("pictures need the extra `plots`: pip install 'bio-rl[plots]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def _panel(axis: Any, title: str, lines: Mapping[str, Sequence[Path]], name: str) -> None:
    styles = cycle(product(("-", "--", ":"), COLOURS))
    for (style, colour), (label, folders) in zip(styles, lines.items(), strict=False):
        seeds = [seed for folder in folders if len((seed := read(folder, name))[0])]
        if not seeds:
            continue
        if len(seeds) > 1:
            for seed in seeds:
                axis.plot(*seed, style, color=colour, linewidth=0.6, alpha=0.4)
        curve = together(seeds)
        axis.plot(
            curve.steps,
            curve.middle,
            style,
            color=colour,
            linewidth=1.8,
            label=f"{label}{_count(len(seeds))}",
        )
        axis.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("environment steps")
    axis.xaxis.set_major_formatter(
        lambda x, _: f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k" if x else "0"
    )
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_legend_handles_labels()[1]:  # none where a run was too short for a point
        axis.legend(
            frameon=False,
            fontsize=8,
            loc="upper left",
            bbox_to_anchor=(0.0, -0.16),
            borderaxespad=0,
        )


def _count(seeds: int) -> str:
    return f" ({seeds} seeds)" if seeds > 1 else ""
