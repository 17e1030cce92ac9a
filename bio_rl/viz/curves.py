"""Learning curves: a logged quantity over steps, a line per kind of run with an interval."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bio_rl.machine.files import replacing
from bio_rl.training import statistics
from bio_rl.training.metrics import WINDOW, read_rows

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe & Ito 2008: told apart by colour-blind eyes."""
RETURN = "rollout/ep_rew_mean"
"""The quantity that is drawn by default."""
EVALUATED = "eval/mean_reward"
"""The quantity that is drawn beside it."""
LETTERS = 52
"""Letters of a legend that are as wide as its panel."""
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


def together(seeds: Sequence[Seed], at: np.ndarray | None = None) -> Curve:
    """The (steps, values) of several seeds as one curve, values in between by linear interpolation.

    At each point they are the interquartile mean and its interval (`statistics.estimate`). Where
    one of the seeds has stopped, so does the curve: a mean over the remaining ones would jump. at:
    the steps of its points, of which those are taken that all seeds have; by default `GRID` of
    them, evenly spaced.
    """
    first = max(steps[0] for steps, _ in seeds)
    last = min(steps[-1] for steps, _ in seeds)
    if at is not None:
        grid = at[(at >= first) & (at <= last)]
    else:
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

    A line is an interquartile mean with its interval and thin seeds; beside returns of training
    episodes stand those of evaluations. panels: {title: {label: run folders}}; name: the logged
    quantity. Raises ImportError where matplotlib is missing.
    """
    # the legends stand below their panels, where no curve can hide them
    labels = [legend_text(lines) for lines in panels.values()]
    deepest = max(text.count("\n") + 1 for text in labels)
    figure, axes = grid(len(panels), 3.0 + 0.19 * deepest)
    # what has one name has one colour, whatever the panel
    names = dict.fromkeys(label for lines in panels.values() for label in lines)
    styles = dict(zip(names, cycle(product(("-", "--", ":"), COLOURS)), strict=False))
    counts: set[int] = set()
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        counts |= _panel(axis, title, lines, name, styles)
    for row in axes:
        row[0].set_ylabel("return" if name == RETURN else name)
    every = [folder for lines in panels.values() for runs in lines.values() for folder in runs]
    evaluated = name == RETURN and bool(logged(every, EVALUATED))
    explain(figure, sentences(name, counts, evaluated))
    return save(figure, path)


def grid(panels: int, height: float, width: float = 4.8) -> tuple[Any, Any]:
    """(figure, axes [rows, columns]) for so many panels, each of this size in inches."""
    across = min(COLUMNS, panels)
    down = math.ceil(panels / across)
    figure = blank((width * across, height * down + 0.5))
    axes = figure.subplots(down, across, squeeze=False)
    # the places in the last row that are left over
    for axis in axes.flat[panels:]:
        axis.set_axis_off()
    return figure, axes


def explain(figure: Any, lines: Sequence[str]) -> None:
    """Write at the foot of a figure what is drawn, in small letters, wrapped to its width."""
    # so many of these letters fit into an inch
    letters = int(19 * figure.get_figwidth())
    text = "\n".join(textwrap.fill(line, letters) for line in lines)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7.5, color="#444444")


def sentences(name: str, counts: Iterable[int], evaluated: bool) -> list[str]:
    """The sentences that say what is drawn. counts: of seeds to a line. evaluated: whether the
    picture has evaluations.
    """
    window = f"mean over the last {WINDOW} episodes that a run finished"
    lines = [f"line: {name}, {window}" if name.startswith("rollout/") else f"line: {name}"]
    if name == RETURN:
        lines = [f"line: return in training, {window}"]
    if evaluated:
        lines.append("dots: return of greedy evaluations while it trained")
    if interval := intervals(counts):
        lines.append(f"over seeds: interquartile mean (thin: each seed); band: {interval}")
    return lines


def intervals(counts: Iterable[int]) -> str:
    """The words for the intervals of figures over so many seeds; "" where all have one seed."""
    several = [n for n in sorted(set(counts)) if n > 1]
    if not several:
        return ""
    text = f"{statistics.CONFIDENCE:.0%} t interval over {' or '.join(map(str, several))} seeds"
    few = any(statistics.freedom(n) < statistics.FEW for n in several)
    return f"{text}, which is wide on so few" if few else text


def save(figure: Any, path: Path) -> Path:
    """Write a figure, in place of what was there only when it is whole; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file, _journal_fonts():
        # the file has another name until it is whole, so that the format must be told
        form = path.suffix.removeprefix(".") or "png"
        figure.savefig(file, format=form, dpi=130, bbox_inches="tight")
    return path


def _journal_fonts() -> Any:
    """A context in which letters of a PDF stay letters, which journals ask for."""
    import matplotlib

    return matplotlib.rc_context({"pdf.fonttype": 42})


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


def legend_text(lines: Mapping[str, Sequence[Path]]) -> str:
    """The labels of a panel's lines as they stand in its legend, one below the other."""
    return "\n".join(wrapped(label) for label in lines)


def wrapped(label: str, letters: int = LETTERS) -> str:
    """A label in lines of so many letters; a setting's name is not torn apart."""
    # A dollar in a name that somebody chose is no formula.
    plain = label.replace("$", r"\$")
    return textwrap.fill(plain, letters, subsequent_indent="  ", break_on_hyphens=False)


def _panel(
    axis: Any,
    title: str,
    lines: Mapping[str, Sequence[Path]],
    name: str,
    styles: Mapping[str, tuple[str, str]],
) -> set[int]:
    """Draw the lines of one panel, with its axes and its legend; returns the counts of seeds."""
    counts = set()
    for label, folders in lines.items():
        style, colour = styles[label]
        seeds = logged(folders, name)
        if seeds:
            counts.add(len(seeds))
            _line(axis, seeds, label, style, colour)
        if name == RETURN:
            _evaluations(axis, logged(folders, EVALUATED), colour)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("environment steps")
    axis.xaxis.set_major_formatter(_steps)
    axis.spines[["top", "right"]].set_visible(False)
    below(axis)
    return counts


def below(axis: Any) -> None:
    """Put the legend of a panel below it, where it has any labels."""
    # there is no label where every run was too short for a point
    _, labels = axis.get_legend_handles_labels()
    if labels:
        from matplotlib.transforms import ScaledTranslation

        # inches below the axes, where their numbers and their name end
        down = ScaledTranslation(0.0, -0.48, axis.figure.dpi_scale_trans)
        axis.legend(
            frameon=False,
            fontsize=8,
            loc="upper left",
            bbox_to_anchor=(0.0, 0.0),
            bbox_transform=axis.transAxes + down,
            borderaxespad=0,
        )


def logged(folders: Sequence[Path], name: str) -> list[Seed]:
    """The (steps, values) of the runs that have logged `name`."""
    runs = [read(folder, name) for folder in folders]
    return [(steps, values) for steps, values in runs if len(steps)]


def _line(axis: Any, seeds: Sequence[Seed], label: str, style: str, colour: str) -> None:
    """Draw one curve; several seeds are drawn too, thin, and counted in the label."""
    if len(seeds) > 1:
        for steps, values in seeds:
            axis.plot(steps, values, style, color=colour, linewidth=0.6, alpha=0.4)
        label = f"{label} ({len(seeds)} seeds)"
    curve = together(seeds)
    text = wrapped(label)
    axis.plot(curve.steps, curve.middle, style, color=colour, linewidth=1.8, label=text)
    axis.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


def _evaluations(axis: Any, seeds: Sequence[Seed], colour: str) -> None:
    """Draw the evaluations of the same runs as dots, small ones for the seeds."""
    if not seeds:
        return
    if len(seeds) > 1:
        for steps, values in seeds:
            axis.plot(steps, values, ".", color=colour, markersize=3, alpha=0.4)
    # seeds with the same settings are evaluated at the same steps
    curve = together(seeds, at=seeds[0][0])
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    axis.plot(curve.steps, curve.middle, "o", color=colour, markersize=5, **edge)


def _steps(x: float, _: object) -> str:
    """A number of steps as a tick of the axis: 0, 50k, 1M."""
    if x >= 1e6:
        return f"{x / 1e6:g}M"
    return f"{x / 1e3:g}k" if x else "0"
