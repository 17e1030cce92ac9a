"""Parts that every bench shares: its flags, timing in turn, and the table."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bio_rl.sweeps.result_file import cores, rounded

SPREADS = ("_quartiles", "_interval")
"""Endings of figures [low, high] that belong to the figure of the same name without the ending."""


class BenchError(RuntimeError):
    """A bench could not finish."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Flags of every bench."""

    json: bool = False
    """Print the results as one JSON object in the last line."""
    out: Path | None = None
    """Also write that object to this file."""

    def measured(self) -> dict[str, Any]:
        """The settings that say what was measured."""
        settings = dataclasses.asdict(self)
        del settings["json"]
        del settings["out"]
        return settings


# Timing


class Rounds(NamedTuple):
    """Speeds per side and round."""

    speeds: dict[str, list[float]]
    """`speeds[side][i]` of different sides were measured within moments of each other."""

    def figures(self, side: str, *peers: str, name: str = "steps_per_s") -> dict[str, Any]:
        """`side`'s median speed as `name`, and its ratio to each peer as `vs_<peer>`.

        A ratio is the median over rounds; everything has its quartiles.
        """
        figures = spread(name, self.speeds[side])
        for peer in peers:
            figures |= spread(f"vs_{peer}", self.ratios(side, peer))
        return figures

    def ratios(self, side: str, peer: str) -> list[float]:
        """The speed of `side` over that of `peer`, round by round."""
        pairs = zip(self.speeds[side], self.speeds[peer], strict=True)
        return [mine / other for mine, other in pairs]

    def fastest(self, *sides: str) -> str:
        """The one of `sides` with the highest median."""

        def median(side: str) -> float:
            return float(np.median(self.speeds[side]))

        return max(sides, key=median)


def spread(name: str, values: list[float]) -> dict[str, Any]:
    """{name: median, name_quartiles: [lower, upper]}."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return {name: rounded(middle), f"{name}_quartiles": [rounded(low), rounded(high)]}


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Measure all sides in turn, `rounds` times after one that is not counted.

    That one is for compilation and caches. A side runs for a moment and returns its speed (or any
    figure). Every other round goes backwards, so that a drift of the machine's clock favours
    nobody.
    """
    if rounds < 1:
        raise ValueError(f"--rounds is {rounds}, expected a positive number")
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    # compilation and caches
    for run in sides.values():
        run()
    names = list(sides)
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            speeds[name].append(sides[name]())
    return Rounds(speeds)


def speed(
    call: Callable[[], Any], calls: int, device: torch.device, work: float = 1.0
) -> Callable[[], float]:
    """A measurement: work done per second by `calls` calls, each of which does `work`.

    The device's queue is drained before and after.
    """

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def measure() -> float:
        wait()
        began = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        return work * calls / (time.perf_counter() - began)

    return measure


# This machine


def note_load() -> None:
    """Say so where other work is running: speeds are then too low, and ratios are noisy."""
    load, _, _ = os.getloadavg()
    if load > 0.5:
        print(
            f"note: load average {load:.1f} on {cores()} cores before the start; "
            "other work disturbs the figures"
        )


# The table


def show(title: str, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the scalar figures with their spreads; cases go across where there are few of them."""
    cases = list(results)
    names = _scalars(results)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    if len(cases) <= len(names):
        for case in cases:
            table.add_column(case, justify="right")
        for name in names:
            table.add_row(name, *(_cell(results[case], name) for case in cases))
    else:
        for name in names:
            table.add_column(name, justify="right")
        for case in cases:
            table.add_row(case, *(_cell(results[case], name) for name in names))
    # A file or a pipe has no width of its own, and 80 columns would break the rows.
    width = None if Console().is_terminal else 160
    Console(width=width).print(table)


def _scalars(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of all figures that are one number or text, in the order of their appearance."""
    names: dict[str, None] = {}
    for figures in results.values():
        for name, value in figures.items():
            if not isinstance(value, dict | list | tuple) and not name.endswith(SPREADS):
                names[name] = None
    return list(names)


def _cell(figures: Mapping[str, Any], name: str) -> str:
    """A figure as text, with its spread; empty where a case has none."""
    value = figures.get(name)
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, float):
        text = f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    for ending in SPREADS:
        if pair := figures.get(name + ending):
            text += f"  [{pair[0]:,.4g}, {pair[1]:,.4g}]"
    return text


def as_json(values: Mapping[str, Any]) -> str:
    """`values` in one line."""
    return json.dumps(values, ensure_ascii=False, default=str)
