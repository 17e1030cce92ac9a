"""What every bench shares: its flags, timing in turn, the JSON object and the table."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bio_rl.training import runfolder

PEERS = ("stable-baselines3", "envpool", "spikingjelly", "snntorch", "norse")
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
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in ("json", "out")}


class Rounds(NamedTuple):
    """Speeds per side and round: `speeds[side][i]` of different sides were measured within moments
    of each other.
    """

    speeds: dict[str, list[float]]

    def figures(self, side: str, *peers: str, name: str = "steps_per_s") -> dict[str, Any]:
        """`side`'s median speed as `name`, and `vs_<peer>`, the median of paired ratios; each with
        its quartiles.
        """
        found = {name: self.speeds[side]}
        for peer in peers:
            found[f"vs_{peer}"] = [
                a / b for a, b in zip(self.speeds[side], self.speeds[peer], strict=True)
            ]
        return {k: v for key, values in found.items() for k, v in spread(key, values).items()}

    def fastest(self, *sides: str) -> str:
        """The one of `sides` with the highest median."""
        return max(sides, key=lambda side: float(np.median(self.speeds[side])))


def spread(name: str, values: list[float]) -> dict[str, Any]:
    """{name: median, name_quartiles: [lower, upper]}."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return {name: rounded(middle), f"{name}_quartiles": [rounded(low), rounded(high)]}


def rounded(x: float) -> float:
    """x to four significant digits: more would be noise."""
    return float(f"{x:.4g}")


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Measure all sides in turn, `rounds` times after one that is not counted (compilation,
    caches).

    A side runs for a moment and returns its speed (or any figure). Every other round goes
    backwards, so that a drift of the machine's clock favours nobody.
    """
    if rounds < 1:
        raise ValueError(f"--rounds is {rounds}, expected a positive number")
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    for i in range(rounds):
        for name in list(sides)[:: 1 if i % 2 == 0 else -1]:
            speeds[name].append(sides[name]())
    return Rounds(speeds)


def report(bench: str, settings: Shared, results: Mapping[str, Any]) -> dict[str, Any]:
    """The object that `--json` prints and `--out` keeps."""
    return {
        "bench": bench,
        "commit": runfolder.commit(),
        "device": device(),
        "versions": {**runfolder.versions(), **peer_versions()},
        "settings": settings.measured(),
        "results": dict(results),
    }


def save(path: Path, values: Mapping[str, Any]) -> None:
    """Write a report to `path`, atomically; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runfolder.write_json(path, values)


def device() -> str:
    """The CPU's model and the number of its cores that this process may use, and the GPU if torch
    sees one.
    """
    model = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = (
            next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
        )
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {cores()} cores{gpu}"


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peer_versions() -> dict[str, str]:
    """Versions of the installed peers."""
    found = {}
    for package in PEERS:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def note_load() -> None:
    """Say so where other work is running: absolute speeds are then too low, ratios are noisy."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        print(
            f"note: load average {load:.1f} on {cores()} cores before the start; other work disturbs the figures"
        )


def show(title: str, results: Mapping[str, Mapping[str, Any]]) -> None:
    """A table of the scalar figures with their spreads, cases across where there are few of them."""
    names = list(
        dict.fromkeys(
            name for figures in results.values() for name in figures if _shown(figures, name)
        )
    )
    cells = {
        (case, name): _cell(figures, name) for case, figures in results.items() for name in names
    }
    down, across = (names, list(results)) if len(results) <= len(names) else (list(results), names)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for column in across:
        table.add_column(column, justify="right")
    for row in down:
        table.add_row(row, *(cells[(c, row) if down is names else (row, c)] for c in across))
    width = None if Console().is_terminal else 160
    Console(width=width).print(table)


def _shown(figures: Mapping[str, Any], name: str) -> bool:
    return not isinstance(figures[name], dict | list | tuple) and not name.endswith(SPREADS)


def _cell(figures: Mapping[str, Any], name: str) -> str:
    value = figures.get(name)
    if value is None:
        return ""
    text = (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1e4
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )
    for ending in SPREADS:
        if pair := figures.get(name + ending):
            text += f"  [{pair[0]:,.4g}, {pair[1]:,.4g}]"
    return text


def as_json(values: Mapping[str, Any]) -> str:
    """`values` in one line."""
    return json.dumps(values, ensure_ascii=False, default=str)
