"""The words for what a world shows and for what can be done in it: its channels and its actions.

A world declares them in its metadata: "channels", a name for each number of an observation in the
order in which it is flattened; "actions", a name for each choice, or for each number of an action;
and "dt", the seconds of its own time that one decision takes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.vector import VectorEnv

OF_GYMNASIUM: dict[str, dict[str, Any]] = {
    "Acrobot-v1": {
        "channels": (
            "cos θ1",
            "sin θ1",
            "cos θ2",
            "sin θ2",
            "θ1 velocity",
            "θ2 velocity",
        ),
        "actions": ("torque -1", "no torque", "torque +1"),
        "dt": 0.2,
    },
    "LunarLander-v3": {
        "channels": (
            "x",
            "y",
            "x velocity",
            "y velocity",
            "angle",
            "angular velocity",
            "left leg down",
            "right leg down",
        ),
        "actions": ("nothing", "left engine", "main engine", "right engine"),
        "dt": 0.02,
    },
    "MountainCar-v0": {
        "channels": ("position", "velocity"),
        "actions": ("push left", "nothing", "push right"),
    },
}
"""Declarations for worlds of Gymnasium that are used as they are."""


class Names(NamedTuple):
    """The words for one world."""

    channels: tuple[str, ...]
    """A name for each number of an observation, flattened; of a dictionary, key after key."""
    actions: tuple[str, ...]
    """A name for each choice, or for each number of an action that is no choice."""
    dt: float | None = None
    """Seconds of the world's own time that a decision takes; None where it knows no such time."""


def names(env: VectorEnv) -> Names:
    """The names of the channels and of the actions of a world, numbered where it declares none.

    Warns where it declares more or fewer than its spaces have, and numbers them then: a class that
    changes the spaces of another inherits its names, too.
    """
    # a world's own words win
    known: dict[str, Any] = {}
    if env.spec is not None:
        known |= OF_GYMNASIUM.get(env.spec.id, {})
    known |= env.metadata
    return Names(
        _declared(known, "channels", _channels(env.single_observation_space)),
        _declared(known, "actions", _actions(env.single_action_space)),
        known.get("dt"),
    )


def numbered(word: str, count: int) -> tuple[str, ...]:
    """ "obs 0", "obs 1", …: names for what has none."""
    return tuple(f"{word} {i}" for i in range(count))


def triple(name: str, axes: Sequence[str] = ("x", "y", "z")) -> tuple[str, ...]:
    """ "hand x", "hand y", "hand z": names for the components of a vector."""
    return tuple(f"{name} {axis}" for axis in axes)


def _declared(known: dict[str, Any], key: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """The names in the metadata; `otherwise` where there are none, which also says how many."""
    declared = known.get(key)
    # a package of somebody else may keep other things under this key
    if not isinstance(declared, list | tuple) or not declared:
        return otherwise
    if len(declared) != len(otherwise):
        warnings.warn(
            f"metadata[{key!r}] has {len(declared)} names, and the space has {len(otherwise)}: "
            "they are numbered instead",
            stacklevel=3,
        )
        return otherwise
    return tuple(map(str, declared))


def _channels(space: gym.Space) -> tuple[str, ...]:
    """Numbered names for the observations of a space."""
    # in the order in which observations are flattened
    if isinstance(space, gym.spaces.Dict):
        parts = [_part(key, part) for key, part in space.spaces.items()]
        return tuple(name for part in parts for name in part)
    return numbered("obs", gym.spaces.flatdim(space))


def _part(key: str, space: gym.Space) -> tuple[str, ...]:
    """Names for an entry of a dictionary: its key, with numbers where it has several."""
    count = gym.spaces.flatdim(space)
    return (key,) if count == 1 else numbered(key, count)


def _actions(space: gym.Space) -> tuple[str, ...]:
    """Numbered names for the actions of a space."""
    if isinstance(space, gym.spaces.Discrete):
        # a space may begin to count elsewhere than at zero
        return tuple(f"action {i + space.start}" for i in range(int(space.n)))
    # of several choices at once each is a number, as in a Box
    count = 1
    for size in space.shape or ():
        count *= size
    return numbered("action", count)
