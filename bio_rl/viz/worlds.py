"""What there is to know of each `bio_rl/` id without running it: `train.py list envs` and
docs/worlds.md show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym

from bio_rl import discovery, envs, vector

OF_GYMNASIUM = {
    "Acrobot-v1": {"random": -499.1, "expert": -73.5},
    "LunarLander-v3": {"random": -181.7, "expert": 242.0},
}
"""Scores of worlds that are used as they are. random: mean of 1,000 episodes; expert: PPO's after a
million steps in RL Baselines3 Zoo.
"""


class World(NamedTuple):
    """One id, in words short enough for a table."""

    family: str
    """Its folder under envs/."""
    id: str
    line: str = ""
    """First line of the docstring of the class, or the function, that makes it."""
    observation: str = ""
    action: str = ""
    steps: int | None = None
    """Time limit of an episode; None where episodes end by themselves."""
    reference: Mapping[str, float] = {}
    """{"random", "expert" or "ideal"} returns of an episode."""
    fault: str = ""
    """Why it cannot be made here; then only family, id and steps are known."""

    @property
    def name(self) -> str:
        """The id without its namespace, as `--env` takes it."""
        return self.id.removeprefix("bio_rl/")

    def score(self, key: str) -> str:
        """A reference score as text, empty where there is none."""
        return figure(self.reference[key]) if key in self.reference else ""


def worlds() -> list[World]:
    """Every id of ours, by family, then by name."""
    return sorted(
        (read(env_id) for env_id in envs.discover()), key=lambda world: (world.family, world.id)
    )


def read(env_id: str) -> World:
    """Make the id once and look at it; where that fails, whatever the reason, the world says so in
    its `fault`.
    """
    spec = gym.spec(env_id)
    known = {"family": family(spec), "id": env_id, "steps": spec.max_episode_steps}
    try:
        env = gym.make_vec(env_id, 1)
    except Exception as error:
        return World(**known, fault=" ".join(f"{type(error).__name__}: {error}".split()))
    try:
        line = discovery.summary(entry_point(spec).__doc__)
        observation, action = short(env.single_observation_space), short(env.single_action_space)
        reference = env.metadata.get("reference", {})
        return World(
            **known,
            line=line,
            observation=observation,
            action=action,
            reference=reference,
        )
    finally:
        env.close()


def reference(env: str, **settings: Any) -> Mapping[str, float]:
    """The reference scores of any id, as `--env` takes it; {} where it has none. settings: of its
    constructor.
    """
    made = vector.make(env, 1, **settings)
    made.close()
    return made.env.metadata.get("reference", OF_GYMNASIUM.get(env, {}))


def entry_point(spec: gym.envs.registration.EnvSpec) -> Callable[..., Any]:
    """The class, or the function, that makes the vectorised form."""
    entry = spec.vector_entry_point
    assert entry is not None  # every world of ours has one
    return gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry


def family(spec: gym.envs.registration.EnvSpec) -> str:
    """ "robotics" of the entry point bio_rl.envs.robotics.hopper:make."""
    parts = str(spec.entry_point or spec.vector_entry_point).removeprefix("bio_rl.envs.").split(".")
    return parts[0]


def short(space: gym.Space) -> str:
    """A space in a few characters: Box(17), Discrete(4), {image: Box(7, 7, 3), token:
    Discrete(32)}.
    """
    if isinstance(space, gym.spaces.Dict):
        return "{" + ", ".join(f"{key}: {short(part)}" for key, part in space.spaces.items()) + "}"
    if isinstance(space, gym.spaces.Tuple):
        return "(" + ", ".join(map(short, space.spaces)) + ")"
    if isinstance(space, gym.spaces.MultiDiscrete):
        return f"MultiDiscrete({', '.join(map(str, space.nvec.ravel()))})"
    size = (
        space.n
        if isinstance(space, gym.spaces.Discrete)
        else ", ".join(map(str, space.shape or ()))
    )
    return f"{type(space).__name__}({size})"


def figure(x: float) -> str:
    """A score with as many digits as matter: 10,000, 63.1, -3.75, 0.005."""
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.1f}" if abs(x) >= 10 or x == 0 else f"{x:.3g}"
