"""Presets: tuned settings per task, data in TOML beside each agent or in a file of the user's own.

A table `["CartPole-v1/spiking".agent]` has settings of the agent for that task with that network;
`.network` and `.run` those of the network and of the run. `["CartPole-v1".run]` is for any network,
`["*/mlp".network]` for any task.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from bio_rl.machine.files import printable
from bio_rl.training.commands import expanded

PARTS = ("run", "agent", "network")
"""Parts of a run whose settings a preset may have."""

Table = dict[str, dict[str, Any]]
"""Presets by name: {name: {run, agent, network}}."""


def task(env: str) -> str:
    """The name of an environment's task in presets: without its namespace and its module.

    `bio_rl/HalfCheetah-v5` and `HalfCheetah-v5` are one task, and a module in front of an id is
    where it comes from.
    """
    _, _, name = env.rpartition(":")
    return name.removeprefix("bio_rl/")


def fitting(table: Table, env: str, network: str) -> Table:
    """The presets of a table that are for an environment and a network, general first."""
    own = task(env)
    # The order in which they are applied: each stands over those before it.
    names = (f"*/{network}", own, f"{own}/{network}")
    return {name: table[name] for name in names if name in table}


def of_agent(agent: ModuleType) -> Table:
    """Every preset of an agent by name; none without a TOML file beside it.

    A file may begin with `inherits = "other.toml"`: its own settings then stand over those of that
    file, setting by setting.
    """
    path = Path(str(agent.__file__)).with_suffix(".toml")
    if not path.is_file():
        return {}
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    inherited = table.pop("inherits", None)
    if inherited is None:
        return table
    base = tomllib.loads(path.with_name(inherited).read_text(encoding="utf-8"))
    return {name: merged(base.get(name, {}), table.get(name, {})) for name in {**base, **table}}


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of two presets part by part; where both have one, that of `own`."""
    together = {}
    # Both orders of parts in one, so that a file reads the same wherever it is read.
    for part in {**base, **own}:
        settings = dict(base.get(part, {}))
        settings.update(own.get(part, {}))
        together[part] = settings
    return together


def of_file(path: str | Path, agent: str, env: str, network: str) -> Table:
    """The presets of a user's own file that are for a task, under names that say the file.

    The file begins with `agent = "ppo"`, the agent whose settings it has. Raises OSError where it
    cannot be read, and ValueError where it holds nothing for this agent, environment and network.
    """
    place = expanded(path)
    shown = printable(place)
    try:
        table: dict[str, Any] = tomllib.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--preset {shown} is no TOML file: {error}") from error
    owner = table.pop("agent", None)
    if owner != agent:
        raise ValueError(
            f"--preset {shown} is for the agent {owner!r}, not for {agent!r}; "
            'expected a first line such as agent = "ppo"'
        )
    for name, preset in table.items():
        _check(shown, name, preset)
    found = fitting(table, env, network)
    if not found:
        known = ", ".join(map(printable, table)) or "none"
        raise ValueError(
            f"--preset {shown} has nothing for {task(env)} with {network}; it has: {known}"
        )
    return {f"{place.name}: {name}": preset for name, preset in found.items()}


def _check(file: str, name: str, preset: Any) -> None:
    """Raise ValueError unless a preset has tables of settings for the parts of a run."""
    if not isinstance(preset, dict) or not set(preset) <= set(PARTS):
        held = ", ".join(map(printable, preset)) if isinstance(preset, dict) else repr(preset)[:80]
        raise ValueError(
            f"--preset {file}: {printable(name)!r} holds {held}, "
            f"expected tables called {', '.join(PARTS)}"
        )
