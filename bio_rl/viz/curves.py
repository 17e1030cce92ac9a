"""Learning curves: a logged quantity over steps, a line per kind of run with an interval."""

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
"""The quantity that is drawn by default."""
GRID = 200
"""Points of a curve."""
COLUMNS = 3
"""Panels in a row."""


class Curve(NamedTuple):
    """Seeds taken together on the steps that all of them have; empty where they share none."""

    steps: np.ndarray
    """[G]"""
    middle: np.ndarray
    """[G] interquartile mean over the seeds."""
    low: np.ndarray
    high: np.ndarray
    """[G] ends of its 95 % t interval; equal to the mean for one seed."""


Seed = tuple[np.ndarray, np.ndarray]
"""The steps and the values of one run."""


def read(folder: Path, name: str = RETURN) -> Seed:
    """(steps, values) of one logged quantity of a run."""
    steps = []
    values = []
    for row in read_rows(folder / "metrics.jsonl"):
        if row.get(name) is not None:
            steps.append(row["step"])
            values.append(row[name])
    return np.array(steps, float), np.array(values, float)


def together(seeds: Sequence[Seed]) -> Curve:
    """The (steps, values) of several seeds as one curve, values in between by linear interpolation.

    At each point they are the interquartile mean and its interval (`statistics.estimate`). Where
    one of the seeds has stopped, so does the curve: a mean over the remaining ones would jump.
    """
    first = max(steps[0] for steps, _ in seeds)
    last = min(steps[-1] for steps, _ in seeds)
    grid = np.linspace(first, last, GRID) if first < last else np.zeros(0)
    # [seeds, G]
    values = np.stack([np.interp(grid, *seed) for seed in seeds])
    found = statistics.estimate(values)
    low, high = found.interval() or (found.value, found.value)
    return Curve(grid, found.value, low, high)


def draw(
    panels: Mapping[str, Mapping[str, Sequence[Path]]], path: Path, name: str = RETURN
) -> Path:
    """Write a figure with one panel per title and one line per label.

    A line is an interquartile mean with its interval and thin seeds. panels: {title: {label: run
    folders}}; name: the logged quantity. Raises ImportError where matplotlib is missing.
    """
    across = min(COLUMNS, len(panels))
    down = math.ceil(len(panels) / across)
    # the legends stand below their panels, where no curve can hide them
    deepest = max(len(lines) for lines in panels.values())
    size = (4.6 * across, (3.0 + 0.2 * deepest) * down)
    figure = blank(size)
    axes = figure.subplots(down, across, squeeze=False)
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        _panel(axis, title, lines, name)
    # the places in the last row that are left over
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for row in axes:
        row[0].set_ylabel("return of training episodes" if name == RETURN else name)
    return save(figure, path)


def save(figure: Any, path: Path) -> Path:
    """Write a figure, in place of what was there only when it is whole; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        # the file has another name until it is whole, so that the format must be told
        figure.savefig(file, format=path.suffix.removeprefix(".") or "png", dpi=130)
    return path


def blank(size: tuple[float, float]) -> Any:
    """An empty matplotlib figure of this width and height in inches, to be written to a file.

    It is in no window and in no notebook, and the caller's own pictures stay where they are drawn:
    pyplot and its backend are left alone. Raises ImportError that names the extra.
    """
    try:
        from matplotlib import figure
    except ImportError as error:
        raise ImportError("pictures need the extra `plots`: pip install 'bio-rl[plots]'") from error
    return figure.Figure(size, layout="constrained")


def _panel(axis: Any, title: str, lines: Mapping[str, Sequence[Path]], name: str) -> None:
    """Draw the lines of one panel, with its axes and its legend."""
    styles = cycle(product(("-", "--", ":"), COLOURS))
    for (style, colour), (label, folders) in zip(styles, lines.items(), strict=False):
        runs = [read(folder, name) for folder in folders]
        seeds = [(steps, values) for steps, values in runs if len(steps)]
        if seeds:
            _line(axis, seeds, label, style, colour)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("environment steps")
    axis.xaxis.set_major_formatter(_steps)
    axis.spines[["top", "right"]].set_visible(False)
    # there is no label where every run was too short for a point
    _, labels = axis.get_legend_handles_labels()
    if labels:
        axis.legend(
            frameon=False,
            fontsize=8,
            loc="upper left",
            bbox_to_anchor=(0.0, -0.16),
            borderaxespad=0,
        )


def _line(axis: Any, seeds: Sequence[Seed], label: str, style: str, colour: str) -> None:
    """Draw one curve; several seeds are drawn too, thin, and counted in the label."""
    if len(seeds) > 1:
        for steps, values in seeds:
            axis.plot(steps, values, style, color=colour, linewidth=0.6, alpha=0.4)
        label = f"{label} ({len(seeds)} seeds)"
    curve = together(seeds)
    axis.plot(curve.steps, curve.middle, style, color=colour, linewidth=1.8, label=label)
    axis.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


def _steps(x: float, _: object) -> str:
    """A number of steps as a tick of the axis: 0, 50k, 1M."""
    if x >= 1e6:
        return f"{x / 1e6:g}M"
    return f"{x / 1e3:g}k" if x else "0"
