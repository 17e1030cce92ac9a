"""The tables that `train.py list` prints: worlds, agents, and the parts that brains are made of."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import gymnasium as gym
from rich.console import Console
from rich.table import Table

from bio_rl import (
    agents,
    codes,
    connections,
    discovery,
    modulators,
    networks,
    neurons,
    plasticity,
)
from bio_rl.training.commands import program
from bio_rl.viz import presetbook, worlds

WIDTH = 110
"""Characters that the table of worlds takes: a narrower terminal wraps its lines."""
SCORES = ("random", "expert", "ideal")
"""Reference scores, each a column."""


def _names(package: ModuleType, title: str) -> None:
    """Print the modules of a package with the first sentence of each."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("name", style="bold")
    table.add_column("what it is")
    for name, module in discovery.names(package).items():
        text = importlib.import_module(module).__doc__
        table.add_row(name, discovery.summary(text))
    Console().print(table)


def environments() -> None:
    """Print our own ids with spaces, lengths and scores, and how all others are used."""
    ours = worlds.worlds()
    # Lines that are cut off would lose their ends, so that the table is never narrower.
    Console(width=max(WIDTH, Console().width)).print(_table(ours))
    for world in ours:
        if world.fault:
            print(f"{world.id} cannot be made here: {world.fault}")
    others = len(gym.registry) - len(ours)
    print(
        f"scores are returns of an episode; `bio_rl/` may be left out, as in --env {ours[0].name}"
    )
    print(
        f"and {others} other ids of Gymnasium as they are, e.g. --env FrozenLake-v1; "
        "your own: --env my_module:Id-v0"
    )


def _table(ours: Sequence[worlds.World]) -> Table:
    """A row for every world of ours, its family where another one begins."""
    table = Table(title="environments", title_justify="left", box=None, pad_edge=False)
    table.add_column("family")
    table.add_column("id", style="bold", no_wrap=True)
    for column in ("observation", "action", "steps", *SCORES):
        table.add_column(column, justify="right", overflow="fold")
    above = ""
    for world in ours:
        family = world.family if world.family != above else ""
        above = world.family
        if world.fault:
            table.add_row(family, world.id, "cannot be made: see below", style="red")
            continue
        steps = str(world.steps or "")
        scores = [world.score(key) for key in SCORES]
        table.add_row(family, world.id, world.observation, world.action, steps, *scores)
    return table


def all_presets() -> None:
    """Print every preset with its score, where a result says one, and what that took."""
    table = Table(title="presets", title_justify="left", box=None, pad_edge=False)
    for column in ("agent", "task", "network"):
        table.add_column(column, no_wrap=True)
    for column in ("steps", "episodes", "score", "least", "seeds", "minutes"):
        table.add_column(column, justify="right", no_wrap=True)
    above = ""
    for row in presetbook.rows():
        agent = row.agent if row.agent != above else ""
        above = row.agent
        length = [f"{row.horizon.steps:,}", str(row.horizon.episodes or "")]
        table.add_row(agent, row.task, row.network, *length, *_reached(row.score))
    Console(width=max(WIDTH, Console().width)).print(table)
    print("score: greedy return, mean of the middle half of the seeds; least: of the worst seed")
    print("minutes: of a run when it was measured, or of so many seeds side by side")
    print(f"to train: {program()} --agent AGENT --env TASK --network NETWORK takes them by itself")
    print("your own: --preset FILE, as `tune` writes one")


def _reached(score: Mapping[str, Any] | None) -> list[str]:
    """The cells of a score; empty where there is none."""
    if score is None:
        return []
    return [f"{score['iqm']:.4g}", f"{score['least']:.4g}", str(score["seeds"]), _minutes(score)]


def _minutes(score: Mapping[str, Any]) -> str:
    """Minutes of one run, as exact as they matter."""
    minutes = score["minutes"]
    text = f"{minutes:.1f}" if minutes < 10 else f"{minutes:.0f}"
    return text if score["at_once"] == 1 else f"{text} for {score['at_once']}"


KINDS: dict[str, Callable[[], None]] = {
    "envs": environments,
    "agents": lambda: _names(agents, "agents"),
    "networks": lambda: _names(networks, "networks"),
    "neurons": lambda: _names(neurons, "neurons"),
    "presets": all_presets,
    "rules": lambda: _names(plasticity, "plasticity rules"),
    "modulators": lambda: _names(modulators, "modulators"),
    "connections": lambda: _names(connections, "connections"),
    "codes": lambda: _names(codes, "codes"),
}
