"""A guard around each single environment: its results are checked and copied, its errors named."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from bio_rl.faults import EnvironmentCrashedError, FaultyEnvironmentError

Arrays = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
"""Spaces whose elements are arrays of numbers."""


class Guarded(gym.Wrapper):
    """The same environment, whose results are its caller's own and have the form of Gymnasium's
    interface.

    Raises FaultyEnvironmentError for a result that its space or the interface does not allow, and
    EnvironmentCrashedError, caused by the environment's own error, where it raises one.
    """

    def __init__(self, env: gym.Env, opened: list[Guarded] | None = None) -> None:
        """opened: a list that this one is added to, for whoever has to close it."""
        super().__init__(env)
        if opened is not None:
            opened.append(self)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict]:
        returned = self._call("reset", self.env.reset, seed=seed, options=options)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise FaultyEnvironmentError(
                f"{self._name()}: reset() returned {_form(returned)}, expected (observation, info)"
            )
        obs, info = returned
        return self._observation(obs), self._info(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        returned = self._call("step", self.env.step, action)
        if not isinstance(returned, tuple) or len(returned) != 5:
            raise FaultyEnvironmentError(
                f"{self._name()}: step() returned {_form(returned)}, "
                "expected (observation, reward, terminated, truncated, info)"
            )
        obs, reward, terminated, truncated, info = returned
        is_over = self._truth(terminated, "terminated")
        is_cut = self._truth(truncated, "truncated")
        earned = self._reward(reward)
        return self._observation(obs), earned, is_over, is_cut, self._info(info)

    def close(self) -> None:
        self._call("close", self.env.close)

    def render(self) -> Any:
        return self._call("render", self.env.render)

    def _call(self, what: str, method: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return method(*arguments, **named)
        except FaultyEnvironmentError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise EnvironmentCrashedError(f"{self._name()}: {what}() raised {reason}") from error

    def _name(self) -> str:
        return self.env.spec.id if self.env.spec is not None else type(self.env.unwrapped).__name__

    def _observation(self, obs: Any) -> Any:
        return owned(obs, self.env.observation_space, f"{self._name()}: the observation")

    def _reward(self, reward: Any) -> float:
        # Worlds return arrays of one number as often as numbers.
        value = np.asarray(reward)
        if value.size != 1 or value.dtype.kind not in "fiub":
            raise FaultyEnvironmentError(
                f"{self._name()}: the reward is {_form(reward)}, expected a number"
            )
        return float(value.reshape(()))

    def _truth(self, value: Any, name: str) -> bool:
        if isinstance(value, bool | np.bool_):
            return bool(value)
        # Many worlds count: 0 and 1 are meant as truth values.
        if isinstance(value, numbers.Integral) and value in (0, 1):
            return bool(value)
        raise FaultyEnvironmentError(
            f"{self._name()}: {name} is {_form(value)}, expected True or False"
        )

    def _info(self, info: Any) -> dict:
        if not isinstance(info, Mapping):
            raise FaultyEnvironmentError(
                f"{self._name()}: the info is {_form(info)}, expected a dictionary"
            )
        return dict(info)


def owned(obs: Any, space: gym.Space, name: str) -> Any:
    """A copy of an observation in the dtype of its space.

    Raises FaultyEnvironmentError where its form is another one: the keys, the shape, the kind of
    number or its range, so that nothing is cut or wrapped around in silence.
    """
    if isinstance(space, spaces.Dict):
        _check_keys(obs, space, name)
        return {key: owned(obs[key], part, f"{name} {key!r}") for key, part in space.spaces.items()}
    if isinstance(space, Arrays):
        return _owned_array(obs, space, name)
    return obs


def _check_keys(obs: Any, space: spaces.Dict, name: str) -> None:
    keys = sorted(space.spaces)
    if not isinstance(obs, Mapping):
        raise FaultyEnvironmentError(f"{name} is {_form(obs)}, expected the keys {keys}")
    if obs.keys() != space.spaces.keys():
        got = sorted(map(str, obs))
        raise FaultyEnvironmentError(f"{name} has the keys {got}, expected the keys {keys}")


def _owned_array(obs: Any, space: Arrays, name: str) -> Any:
    expected = f"{space.dtype} of shape {list(space.shape or ())}"
    try:
        values = np.asarray(obs)
    except (TypeError, ValueError) as error:
        raise FaultyEnvironmentError(f"{name} is {_form(obs)}, expected {expected}") from error
    # A whole number may stand for a float; a float may not be cut to a whole number.
    kinds = "fiub" if space.dtype.kind == "f" else "iub"
    if values.shape != space.shape or values.dtype.kind not in kinds:
        raise FaultyEnvironmentError(f"{name} is {_form(obs)}, expected {expected}")
    is_box = isinstance(space, spaces.Box)
    if is_box:
        _check_range(values, space.dtype, name)
    elif not space.contains(values.astype(space.dtype) if values.dtype != space.dtype else obs):
        raise FaultyEnvironmentError(f"{name} is {obs}, outside its space {space}")
    # A number too large for float32 becomes infinite, and is refused as that.
    with np.errstate(over="ignore"):
        copied = np.array(values, space.dtype)
    # A single choice is a number for Gymnasium, not an array of no axes.
    return copied if space.shape or is_box else copied[()]


def _check_range(values: np.ndarray, dtype: np.dtype, name: str) -> None:
    """Refuse whole numbers that would wrap around in a narrower dtype."""
    if dtype.kind not in "iu" or values.dtype == dtype or not values.size:
        return
    limits = np.iinfo(dtype)
    if values.min() < limits.min or values.max() > limits.max:
        raise FaultyEnvironmentError(
            f"{name} has numbers beyond {dtype}, from {values.min()} to {values.max()}"
        )


def _form(value: Any) -> str:
    """The kind and shape of a value, in a few words."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {list(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    if isinstance(value, numbers.Number):
        return f"{value} ({type(value).__name__})"
    return f"a {type(value).__name__}"
