"""What `train.py list` prints."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
from rich.console import Console
from rich.table import Table

from bio_rl import agents, discovery, envs, networks, neurons


def _first_line(module: str) -> str:
    import importlib

    return (importlib.import_module(module).__doc__ or "").splitlines()[0].split("      ")[0]


def _names(package: object, title: str) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("name", style="bold")
    table.add_column("what it is")
    for name, module in discovery.names(package).items():  # type: ignore[arg-type]
        table.add_row(name, _first_line(module))
    Console().print(table)


def environments() -> None:
    """Our own ids with their spaces and reference scores, and how many others Gymnasium knows."""
    table = Table(title="environments", title_justify="left", box=None, pad_edge=False)
    for column in ("id", "observation", "action", "steps", "random", "expert"):
        table.add_column(column, justify="left" if column == "id" else "right", no_wrap=True)
    for env_id in envs.discover():
        env = gym.make_vec(env_id, 1)
        scores = env.metadata.get("reference", {})
        shown = [f"{scores[k]:,.1f}" if k in scores else "" for k in ("random", "expert")]
        spec = gym.spec(env_id)
        table.add_row(
            env_id, _space(env.single_observation_space), _space(env.single_action_space),
            str(spec.max_episode_steps or ""), *shown,
        )  # fmt: skip
        env.close()
    Console().print(table)
    others = len(gym.registry) - len(envs.discover())
    print(f"and {others} ids that Gymnasium has registered, e.g. CartPole-v1; your own as --env my_module:Id-v0")


def _space(space: gym.Space) -> str:
    name = type(space).__name__
    return f"{name}({getattr(space, 'n', None) or ', '.join(map(str, space.shape or ()))})"


KINDS: dict[str, Callable[[], None]] = {
    "envs": environments,
    "agents": lambda: _names(agents, "agents"),
    "networks": lambda: _names(networks, "networks"),
    "neurons": lambda: _names(neurons, "neurons"),
}
