"""Result files of `bench learning` and `compare` as a picture: each case with its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bio_rl.machine.files import parse_json, printable
from bio_rl.training import statistics
from bio_rl.viz import curves
from bio_rl.viz.curves import COLOURS

WIDTH = 5.4
"""Inches of a panel with its labels."""
ROW = 0.3
"""Inches that a line of a label takes."""
LETTERS = 30
"""Letters to a line of a case's label."""
SPREAD = 0.22
"""Rows by which the dots of a case's seeds lie apart at most, so that equal ones can be seen."""


class Case(NamedTuple):
    """The seeds of one case."""

    env: str
    label: str
    """The agent, the network and its flags."""
    returns: np.ndarray
    """[seeds] of the final greedy evaluations."""


def draw(files: Sequence[Path], path: Path) -> Path:
    """Write the picture of result files: a panel for each environment, a row for each case.

    Raises ValueError for a file that holds no cases with seeds, ImportError without matplotlib.
    """
    cases = [case for file in files for case in read(file)]
    panels: dict[str, list[Case]] = {}
    for case in cases:
        panels.setdefault(case.env, []).append(case)
    # the axes of a row of panels have the height that the longest of them needs
    most = max(sum(lines(case) for case in rows) for rows in panels.values())
    figure, axes = curves.grid(len(panels), 1.0 + ROW * most, WIDTH)
    # a case has the same colour in every panel
    labels = dict.fromkeys(case.label for case in cases)
    colours = dict(zip(labels, cycle(COLOURS), strict=False))
    for axis, (env, rows) in zip(axes.flat, panels.items(), strict=False):
        _panel(axis, env, rows, colours)
    curves.explain(figure, sentences(cases))
    return curves.save(figure, path)


def read(file: Path) -> list[Case]:
    """The cases of a result file that have seeds, in their order. Raises ValueError for none."""
    try:
        whole = parse_json(file.read_bytes())
        found = _cases(whole["results"])
    # other files of results have other forms, and anybody may have written this one
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{printable(file)} cannot be drawn ({type(error).__name__}: {error}); expected a file "
            "of `python -m bio_rl.bench learning --out` or of `bio-rl compare`"
        ) from error
    if not found:
        raise ValueError(
            f"{printable(file)} holds no cases with seeds; expected a file of "
            "`python -m bio_rl.bench learning --out` or of `bio-rl compare`"
        )
    return found


def _cases(results: Mapping[str, Any]) -> list[Case]:
    """The cases "env/agent/network flags" of these results that have seeds."""
    found = []
    for name, figures in results.items():
        if "seeds" not in figures:
            continue
        learner, _, flags = name.partition(" ")
        # an id may have a namespace, so that it is split from the end
        env, agent, network = learner.rsplit("/", 2)
        label = " ".join([agent, network, flags]).strip()
        returns = [float(record["mean"]) for record in figures["seeds"].values()]
        found.append(Case(env.removeprefix("bio_rl/"), label, np.array(returns)))
    return found


def sentences(cases: Sequence[Case]) -> list[str]:
    """The sentences that say what is drawn."""
    text = ["dots: seeds, each the mean return of greedy episodes with its last weights"]
    if interval := curves.intervals(len(case.returns) for case in cases):
        text.append(f"bar: interquartile mean over the seeds; line: {interval}")
    return text


def lines(case: Case) -> int:
    """Lines that the label of a case takes."""
    return label(case).count("\n") + 1


def label(case: Case) -> str:
    """The label of a case, in lines of a panel's width, and the number of its seeds."""
    n = len(case.returns)
    return curves.wrapped(f"{case.label} ({n} seed{'s' if n > 1 else ''})", LETTERS)


def _panel(axis: Any, env: str, cases: Sequence[Case], colours: Mapping[str, str]) -> None:
    """Draw the cases of one environment, the first on top."""
    for row, case in enumerate(cases):
        colour = colours[case.label]
        n = len(case.returns)
        apart = np.linspace(-SPREAD, SPREAD, n) if n > 1 else np.zeros(1)
        axis.plot(case.returns, row + apart, "o", color=colour, markersize=4, alpha=0.6)
        found = statistics.estimate(case.returns)
        interval = found.interval()
        if interval is not None:
            axis.plot(interval, (row, row), color=colour, linewidth=1.6)
        # above the dots, which may all lie there
        bar = {"markersize": 16, "markeredgewidth": 2.0, "zorder": 3}
        axis.plot([found.value], [row], "|", color="black", **bar)
    axis.set_yticks(range(len(cases)), [label(case) for case in cases], fontsize=8)
    # the first case is the uppermost
    axis.set_ylim(len(cases) - 0.4, -0.6)
    axis.set_title(env, fontsize=10)
    axis.set_xlabel("return")
    axis.grid(axis="x", linewidth=0.4, alpha=0.5)
    axis.spines[["top", "right"]].set_visible(False)
