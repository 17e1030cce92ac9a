"""Facts about each `bio_rl/` id without running it, as `train.py list envs` shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.envs import registration
from gymnasium.envs.registration import EnvSpec

from bio_rl import discovery, envs, vector

OF_GYMNASIUM = {
    "Acrobot-v1": {"random": -499.1, "expert": -73.5},
    "LunarLander-v3": {"random": -181.7, "expert": 242.0},
}
"""Scores of worlds that are used as they are.

random: mean of 1,000 episodes; expert: PPO's after a million steps in RL Baselines3 Zoo.
"""


class World(NamedTuple):
    """One id, in words short enough for a table."""

    family: str
    """Its folder under envs/."""
    id: str
    """The id with its namespace."""
    line: str = ""
    """First sentence of the docstring of the class, or the function, that makes it."""
    observation: str = ""
    """Its observation space."""
    action: str = ""
    """Its action space."""
    steps: int | None = None
    """Time limit of an episode; None where episodes end by themselves."""
    reference: Mapping[str, float] = {}
    """{"random", "expert" or "ideal"} returns of an episode."""
    fault: str = ""
    """The reason why it cannot be made here; then only family, id and steps are known."""

    @property
    def name(self) -> str:
        """The id without its namespace, as `--env` takes it."""
        return self.id.removeprefix("bio_rl/")

    def score(self, key: str) -> str:
        """A reference score as text, empty where there is none."""
        if key not in self.reference:
            return ""
        return figure(self.reference[key])


def worlds() -> list[World]:
    """Every id of ours, by family, then by name."""
    ours = [read(env_id) for env_id in envs.discover()]
    ours.sort(key=lambda world: (world.family, world.id))
    return ours


def read(env_id: str) -> World:
    """The facts about an id, which is made once; where that fails, its `fault` says why."""
    spec = gym.spec(env_id)
    world = World(family(spec), env_id, steps=spec.max_episode_steps)
    try:
        env = gym.make_vec(env_id, 1)
    # whatever the reason: one world that cannot be made must not hide the others
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return world._replace(fault=" ".join(text.split()))
    try:
        return world._replace(
            line=discovery.summary(entry_point(spec).__doc__),
            observation=short(env.single_observation_space),
            action=short(env.single_action_space),
            reference=env.metadata.get("reference", {}),
        )
    finally:
        env.close()


def reference(env: str, **settings: Any) -> Mapping[str, float]:
    """The reference scores of any id, as `--env` takes it; {} where it has none.

    settings: those of its constructor.
    """
    made = vector.make(env, 1, **settings)
    made.close()
    # a world's own class knows best
    known = OF_GYMNASIUM.get(env, {})
    return made.env.metadata.get("reference", known)


def names(env: str, **settings: Any) -> vector.Names:
    """The names of the channels and the actions of any id, as `--env` takes it.

    settings: those of its constructor.
    """
    made = vector.make(env, 1, **settings)
    try:
        return vector.names(made.env)
    finally:
        made.close()


def entry_point(spec: EnvSpec) -> Callable[..., Any]:
    """The class, or the function, that makes the vectorised form."""
    entry = spec.vector_entry_point
    assert entry is not None  # every world of ours has one
    return registration.load_env_creator(entry) if isinstance(entry, str) else entry


def family(spec: EnvSpec) -> str:
    """ "robotics" of the entry point bio_rl.envs.robotics.hopper:make."""
    entry_point = str(spec.entry_point or spec.vector_entry_point)
    folder, _, _ = entry_point.removeprefix("bio_rl.envs.").partition(".")
    return folder


def short(space: gym.Space) -> str:
    """A space in a few characters, as Box(17), Discrete(4) or {image: Box(7, 7, 3)}."""
    if isinstance(space, gym.spaces.Dict):
        parts = [f"{key}: {short(part)}" for key, part in space.spaces.items()]
        return "{" + ", ".join(parts) + "}"
    if isinstance(space, gym.spaces.Tuple):
        return "(" + ", ".join(map(short, space.spaces)) + ")"
    if isinstance(space, gym.spaces.MultiDiscrete):
        sizes = map(str, space.nvec.ravel())
    elif isinstance(space, gym.spaces.Discrete):
        sizes = [str(space.n)]
    else:
        sizes = map(str, space.shape or ())
    return f"{type(space).__name__}({', '.join(sizes)})"


def figure(x: float) -> str:
    """A score with as many digits as matter: 10,000, 63.1, -3.75, 0.005."""
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    if abs(x) >= 10 or x == 0:
        return f"{x:.1f}"
    return f"{x:.3g}"
