"""Worlds that do one thing wrong, or one unusual thing right.

This file is the module of a user as `bench hostile` meets it: it is copied into the folder of every
line as users_worlds.py, and tracebacks that name it are the user's own.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from bio_rl.bench import _hostile_batches as batches
from bio_rl.bench import _hostile_values as values
from bio_rl.bench._hostile_batches import LENGTH

BatchReused = batches.BatchReused  # a line asks this module for it
FAULT_AT = 3
"""Step of an episode at which a world begins to misbehave."""


class Fine(gym.Env):
    """A small world without faults; the others differ from it in one method or one attribute."""

    observation_space: Any = spaces.Box(-9.0, 9.0, (2,), np.float32)
    action_space: Any = spaces.Discrete(2)
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.t = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.first(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        self.check(action)
        if self.t >= FAULT_AT:
            self.fail()
        return self.obs(), self.reward(), self.terminated(), self.t >= LENGTH, self.info()

    def render(self) -> Any:
        return np.full((64, 64, 3), 99, np.uint8)

    def first(self) -> Any:
        """The first observation."""
        return self.sample()

    def obs(self) -> Any:
        """A later observation."""
        return self.sample() if self.t < FAULT_AT else self.wrong_obs()

    def sample(self) -> Any:
        """An observation out of the space."""
        # drawn from the world's own generator, so that a seed fixes the observations too
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def wrong_obs(self) -> Any:
        """An observation from the faulty step on."""
        return self.sample()

    def reward(self) -> Any:
        return 1.0

    def terminated(self) -> Any:
        return False

    def info(self) -> Any:
        return {}

    def fail(self) -> None:
        """Do something at every step from the faulty one on."""

    def check(self, action: Any) -> None:
        """Look at the action."""


# Other interfaces and other ways to live


class Strict(Fine):
    """It refuses every action that its space does not contain."""

    def check(self, action: Any) -> None:
        if not self.action_space.contains(action):
            raise AssertionError(f"{action!r} does not lie in {self.action_space}")


class OldReset(Fine):
    """The interface of Gym before 0.26."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0]


class ListInfo(Fine):
    """Its reset returns a list in the info's place."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0], []


class NoSeed(Fine):
    """The interface of Gym before 0.22: reset takes nothing."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class FourValues(Fine):
    """The steps of Gym before 0.26: one `done` for both ends."""

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated or truncated, info


class NoneStep(Fine):
    def step(self, action: Any) -> Any:
        return None


class Endless(Fine):
    """A continuing task."""

    def step(self, action: Any) -> Any:
        obs, reward, _, _, info = super().step(action)
        return obs, reward, False, False, info


class OneInstance(Fine):
    """Hardware: there is one of it at a time."""

    open_ones = 0

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        if OneInstance.open_ones:
            raise RuntimeError("the robot is in use")
        OneInstance.open_ones += 1

    def close(self) -> None:
        OneInstance.open_ones = 0


class Reused(Fine):
    """It hands out one buffer, which it overwrites."""

    # of the class, so that even two worlds share it
    buffer = np.zeros(2, np.float32)

    def sample(self) -> Any:
        self.buffer[:] = self.np_random.uniform(-1, 1, 2)
        return self.buffer


class NeedsArgument(Fine):
    def __init__(self, course: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.course = course


class TakesArgument(Fine):
    def __init__(
        self, course: str = "flat", hills: int = 0, render_mode: str | None = None
    ) -> None:
        super().__init__(render_mode)
        if hills < 0:
            raise ValueError(f"hills is {hills}, expected 0 or more")


# Faults of a single method


class NoSpaces(gym.Env):
    """It forgot its spaces."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return 0, {}

    def step(self, action: Any) -> Any:
        return 0, 0.0, False, True, {}


class BadConstructor(Fine):
    def __init__(self, render_mode: str | None = None) -> None:
        raise OSError("no license server")


class BadReset(Fine):
    def first(self) -> Any:
        raise KeyError("the map of level 4")


class BadSecondReset(Fine):
    """It fails at the second episode only."""

    episodes = 0

    def first(self) -> Any:
        self.episodes += 1
        if self.episodes > 1:
            raise IndexError("there is no second level")
        return self.sample()


class BadClose(Fine):
    def close(self) -> None:
        raise RuntimeError("the simulator does not answer")


class BadRender(Fine):
    def render(self) -> Any:
        raise RuntimeError("no display")


class NoneRender(Fine):
    def render(self) -> Any:
        return None


class FlatRender(Fine):
    def render(self) -> Any:
        return np.zeros(7, np.uint8)


class NoRenderMode(gym.Env):
    """It cannot draw itself."""

    observation_space = spaces.Box(-9.0, 9.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.zeros(2, np.float32), 1.0, False, self.t >= LENGTH, {}


class BatchCrash(batches.Batch):
    """A vectorised world with a fault of its own; it stands here as its traceback is the user's."""

    def step(self, actions: Any) -> Any:
        raise ZeroDivisionError("in the simulator's own code")


# Worlds that differ in a value


def raiser(error: BaseException) -> Any:
    """A `fail` that raises this."""

    def fail(self: Fine) -> None:
        raise error

    return fail


def giver(value: Any) -> Any:
    """A method that returns this."""
    return lambda self: value


def with_spaces(observation: Any = None, action: Any = None) -> type[Fine]:
    """A strict world with these spaces."""
    named = {"observation_space": observation, "action_space": action}
    attributes = {name: space for name, space in named.items() if space is not None}
    return type("Spaces", (Strict,), attributes)


def changed(**methods: Any) -> type[Fine]:
    """The fine world with other methods."""
    return type("Changed", (Fine,), methods)


# Worlds that are a class of their own above, under the names of their classes.
WHOLE = (
    Fine,
    OldReset,
    ListInfo,
    NoSeed,
    FourValues,
    NoneStep,
    Endless,
    OneInstance,
    Reused,
    NeedsArgument,
    TakesArgument,
    NoSpaces,
    BadConstructor,
    BadReset,
    BadSecondReset,
    BadClose,
    BadRender,
    NoneRender,
    FlatRender,
    NoRenderMode,
)
BATCHES = (*batches.BATCHES, BatchCrash)


def dies(self: Fine) -> None:
    """End the process at once, as a crash in C does; never the one that trains."""
    import multiprocessing

    if multiprocessing.parent_process() is not None:
        os._exit(9)


def wide(self: Fine) -> Any:
    """A number that float64 holds and float32 does not."""
    return np.array([1e300, 0.0])


class ChattyWorld(Fine):
    """It prints and warns at every step."""

    def fail(self) -> None:
        print("step", self.t)
        print("step", self.t, file=sys.stderr)
        warnings.warn("the floor is wet", stacklevel=1)


# All of them


def worlds() -> dict[str, Any]:
    """{name: class} of every world with a single form."""
    return {
        **{world.__name__: world for world in WHOLE},
        **_of_values("first", values.FIRST),
        **_of_values("wrong_obs", values.LATER),
        **_of_values("reward", values.REWARDS),
        **_of_values("terminated", values.DONES),
        **_of_values("info", values.INFOS),
        **{f"Raises{name}": changed(fail=raiser(e)) for name, e in values.ERRORS.items()},
        **{name: with_spaces(*pair) for name, pair in values.SPACES.items()},
        **_out_of_their_spaces(),
        "Dies": changed(fail=dies),
        "Chatty": ChattyWorld,
    }


def _of_values(method: str, table: dict[str, Any]) -> dict[str, Any]:
    """{name: the fine world whose method returns the value of that name}."""
    return {name: changed(**{method: giver(value)}) for name, value in table.items()}


def _out_of_their_spaces() -> dict[str, Any]:
    """{name: a world whose observations do not fit its own space}."""
    doubles = values.box(-np.inf, np.inf, dtype=np.float64)
    five = spaces.Discrete(5)
    keys = spaces.Dict(a=values.box(-1.0, 1.0), b=values.box(-1.0, 1.0))
    without_b = {"a": np.zeros(2, np.float32)}
    return {
        "WideReset": changed(observation_space=doubles, first=wide),
        "WideStep": changed(observation_space=doubles, wrong_obs=wide),
        "OutOfDiscrete": changed(observation_space=five, wrong_obs=giver(np.int64(6))),
        "NegativeDiscrete": changed(observation_space=five, wrong_obs=giver(np.int64(-1))),
        "DictWithoutKey": changed(observation_space=keys, wrong_obs=giver(without_b)),
        "DictNaN": changed(observation_space=keys, wrong_obs=giver({**without_b, "b": values.NAN})),
    }


def register() -> None:
    """Give each world its id."""
    for name, world in worlds().items():
        gym.register(f"{name}-v0", entry_point=world, disable_env_checker=True)
    for batch in BATCHES:
        gym.register(f"{batch.__name__}-v0", vector_entry_point=batch)


if __name__ == "users_worlds":  # the copy that a line imports, not the bench
    register()
