"""`bio-rl compare`: a table of cases over seeds, and their learning curves in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bio_rl.sweeps.figures import MEAN, RATIO
from bio_rl.sweeps.schedule import Training
from bio_rl.training import statistics
from bio_rl.viz import plot

COLUMNS = ("seeds", "median", "IQM", "interval", "least", "seconds", "operations a decision")
"""Figures of a case, each a column."""
PIPED = 120
"""Characters of the table where the output is no terminal."""


def show(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the figures of all cases, the ratio of the networks, and what the figures are."""
    table = Table(box=None, pad_edge=False)
    table.add_column("case", style="bold", overflow="fold")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for case, figures in results.items():
        if "seeds" in figures:
            table.add_row(case, *row(case, figures))
    width = None if Console().is_terminal else PIPED
    Console(width=width).print(table)
    for line in notes(results):
        print(line)


def row(case: str, figures: Mapping[str, Any]) -> list[str]:
    """The cells of a case, in the order of `COLUMNS`."""
    return [
        str(figures["n"]),
        number(figures["median"]),
        number(figures["iqm"]),
        interval(figures["iqm_interval"]),
        number(figures["min"]),
        number(figures["seconds_median"]),
        operations(case, figures),
    ]


def number(x: float) -> str:
    """A figure with the digits that count."""
    if abs(x) >= 1e4:
        # Thousands are told apart by commas, not by powers of ten.
        return f"{x:,.0f}"
    return f"{x:,.4g}"


def interval(ends: Sequence[float] | None) -> str:
    """An interval as [low, high]; a dash where one seed has none."""
    if ends is None:
        return "-"
    low, high = map(number, ends)
    return f"[{low}, {high}]"


def operations(case: str, figures: Mapping[str, Any]) -> str:
    """The effective operations of a decision of a case's own network: "26,300 MAC, 17,800 AC"."""
    counts = figures.get("operations_per_decision", {}).get(network_of(case))
    if counts is None:
        return "-"
    kinds = {"MAC": counts["macs"], "AC": counts["acs"]}
    # A network without spikes has no accumulations: nothing is said of them.
    texts = [f"{x:,.0f} {kind}" for kind, x in kinds.items() if x]
    return ", ".join(texts)


def network_of(case: str) -> str:
    """The network of a case: "env/agent/network flags"."""
    # An id may have a namespace, so that the first word is split from its end.
    learner = case.split()[0]
    _, _, network = learner.rpartition("/")
    return network


def notes(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The sentences below the table."""
    lines = [
        "returns of greedy episodes with the last weights; IQM: mean of the middle half of the "
        "seeds; seconds: median over seeds"
    ]
    counts = sorted({figures["n"] for figures in results.values() if "seeds" in figures})
    lines += [f"interval of the IQM: {statistics.described(n)}" for n in counts]
    for case, figures in results.items():
        if RATIO in figures:
            ends = interval(figures[f"{RATIO}_interval"])
            where = case if case == MEAN else case.rpartition("/")[0]
            lines.append(f"spiking / mlp, {where}: {figures[RATIO]:.3g} {ends}")
    return lines


def draw(trainings: Sequence[Training], run_dir: Path, out: Path) -> Path:
    """Draw the learning curves of finished trainings, a curve with its interval for each case, and
    return the path. Raises ValueError where the extra `plots` is missing.
    """
    runs = []
    for training in trainings:
        # The newest: one that was cut off may lie beside it.
        runs.append(str(training.folder(run_dir)))
    return plot.draw(runs, run_dir, out)
