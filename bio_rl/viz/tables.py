"""The tables that `train.py list` prints: worlds, agents, and the parts that brains are made of."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType

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
from bio_rl.viz import worlds

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


KINDS: dict[str, Callable[[], None]] = {
    "envs": environments,
    "agents": lambda: _names(agents, "agents"),
    "networks": lambda: _names(networks, "networks"),
    "neurons": lambda: _names(neurons, "neurons"),
    "rules": lambda: _names(plasticity, "plasticity rules"),
    "modulators": lambda: _names(modulators, "modulators"),
    "connections": lambda: _names(connections, "connections"),
    "codes": lambda: _names(codes, "codes"),
}
