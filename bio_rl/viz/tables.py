"""What `train.py list` prints."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
from rich.console import Console
from rich.table import Table

from bio_rl import agents, discovery, networks, neurons
from bio_rl.viz import worlds

WIDTH = 110
"""Characters that the table of worlds takes; a narrower terminal wraps its lines rather than losing
their ends.
"""


def _first_line(module: str) -> str:
    import importlib

    return discovery.summary(importlib.import_module(module).__doc__)


def _names(package: object, title: str) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("name", style="bold")
    table.add_column("what it is")
    for name, module in discovery.names(package).items():  # type: ignore[arg-type]
        table.add_row(name, _first_line(module))
    Console().print(table)


def environments() -> None:
    """Our own ids by family with spaces, lengths and reference scores, and how all others are used."""
    table = Table(title="environments", title_justify="left", box=None, pad_edge=False)
    table.add_column("family")
    table.add_column("id", style="bold", no_wrap=True)
    for column in ("observation", "action", "steps", "random", "expert", "ideal"):
        table.add_column(column, justify="right", overflow="fold")
    found, before = worlds.worlds(), ""
    for world in found:
        shown = world.family if world.family != before else ""
        before = world.family
        if world.fault:
            table.add_row(shown, world.id, "cannot be made: see below", style="red")
            continue
        scores = (world.score(key) for key in ("random", "expert", "ideal"))
        table.add_row(
            shown, world.id, world.observation, world.action, str(world.steps or ""), *scores
        )
    Console(width=max(WIDTH, Console().width)).print(table)
    for world in found:
        if world.fault:
            print(f"{world.id} cannot be made here: {world.fault}")
    others = len(gym.registry) - len(found)
    print(
        f"scores are returns of an episode; `bio_rl/` may be left out, as in --env {found[0].name}"
    )
    print(
        f"and {others} other ids of Gymnasium as they are, e.g. --env FrozenLake-v1; your own: --env my_module:Id-v0"
    )


KINDS: dict[str, Callable[[], None]] = {
    "envs": environments,
    "agents": lambda: _names(agents, "agents"),
    "networks": lambda: _names(networks, "networks"),
    "neurons": lambda: _names(neurons, "neurons"),
}
