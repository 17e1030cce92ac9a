"""Worlds that do one thing wrong, or one unusual thing right: the module of a user, as `bench
hostile` meets it.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

FAULT_AT = 3
"""Step of an episode at which a world begins to misbehave."""
LENGTH = 12
"""Steps of an episode."""


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
        obs, reward, info = self.obs(), self.reward(), self.info()
        return obs, reward, self.terminated(), self.t >= LENGTH, info

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
        """What is done at every step from the faulty one on."""

    def check(self, action: Any) -> None:
        """Look at the action."""


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
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0], []


class NoSeed(Fine):
    """The interface of Gym before 0.22: reset takes nothing."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class FourValues(Fine):
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


class UnprintableError(Exception):
    """An error whose text raises an error."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Batch(VectorEnv):
    """A vectorised world without faults."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        self.num_envs = num_envs
        self.single_observation_space = spaces.Box(-9.0, 9.0, (2,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.t = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        return self.obs(), {}

    def step(self, actions: Any) -> Any:
        self.t += 1
        done = np.full(self.num_envs, self.t % LENGTH == 0)
        reward = np.ones(self.num_envs)
        return self.obs(), reward, np.zeros_like(done), done, self.infos(done)

    def obs(self) -> Any:
        return np.zeros((self.num_envs, 2), np.float32)

    def infos(self, done: Any) -> dict[str, Any]:
        if not done.any():
            return {}
        return {"final_obs": self.obs(), "_final_obs": done, "final_info": {}, "_final_info": done}


class BatchOfThree(Batch):
    """It makes three environments whatever it is asked for."""

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        super().__init__(3)


class BatchNoFinal(Batch):
    def infos(self, done: Any) -> dict[str, Any]:
        return {}


class BatchReused(Batch):
    """It returns its own buffer, and overwrites it."""

    def obs(self) -> Any:
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros((self.num_envs, 2), np.float32)
        self.buffer += 0.01
        return self.buffer


class BatchShort(Batch):
    """Its observations have a row too few."""

    def obs(self) -> Any:
        return np.zeros((max(1, self.num_envs - 1), 2), np.float32)


class BatchRewardList(Batch):
    def step(self, actions: Any) -> Any:
        obs, reward, terminated, truncated, infos = super().step(actions)
        return obs, reward.tolist(), terminated, truncated, infos


class BatchNaN(Batch):
    def obs(self) -> Any:
        return np.full((self.num_envs, 2), np.nan, np.float32)


class BatchCrash(Batch):
    def step(self, actions: Any) -> Any:
        raise ZeroDivisionError("in the simulator's own code")


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
    return type("Spaces", (Strict,), {k: v for k, v in named.items() if v is not None})


def box(low: Any, high: Any, shape: tuple[int, ...] = (2,), dtype: Any = np.float32) -> spaces.Box:
    """A Box of this shape; low and high may be arrays."""
    return spaces.Box(np.full(shape, low, dtype), np.full(shape, high, dtype), shape, dtype)


def changed(**methods: Any) -> type[Fine]:
    """The fine world with other methods."""
    return type("Changed", (Fine,), methods)


NAN, INF = np.full(2, np.nan, np.float32), np.array([0, np.inf], np.float32)
FIRST = {
    "NaNReset": NAN,
    "InfReset": INF,
    "ShapeReset": np.zeros(3, np.float32),
    "NoneReset": None,
    "TextReset": "start",
    "ComplexReset": np.zeros(2, np.complex64),
    "ObjectReset": np.array([None, None], object),
}
LATER = {
    "NaNStep": NAN,
    "InfStep": INF,
    "ShapeStep": np.zeros(3, np.float32),
    "ScalarStep": np.float32(0),
    "NoneStepObs": None,
    "TextStep": "here",
    "DictStep": {"x": np.zeros(2, np.float32)},
    "DoubleStep": np.zeros(2, np.float64),
    "IntegerStep": np.zeros(2, np.int64),
    "ListStep": [0.0, 0.0],
    "OutOfBox": np.full(2, 99.0, np.float32),
}
REWARDS = {
    "NaNReward": float("nan"),
    "InfReward": float("-inf"),
    "HugeReward": 1e300,
    "ArrayReward": np.ones(1),
    "WideReward": np.ones(2),
    "NoneReward": None,
    "TextReward": "good",
    "ComplexReward": 1j,
    "BoolReward": True,
    "IntegerReward": 1,
}
DONES = {
    "IntegerDone": 0,
    "TextDone": "no",
    "NoneDone": None,
    "ArrayDone": np.zeros(1, bool),
    "NumpyDone": np.bool_(False),
}
INFOS = {"NoneInfo": None, "ListInfoStep": [], "TextInfo": "ok", "IntegerKeyInfo": {1: 2}}
ERRORS: dict[str, BaseException] = {
    "Value": ValueError("ones and fours"),
    "OS": FileNotFoundError(2, "No such file", "/no/such/map"),
    "Key": KeyError("goal"),
    "Type": TypeError("a str is no vector"),
    "Attribute": AttributeError("no wheel"),
    "Index": IndexError("lane 7"),
    "Assertion": AssertionError(),
    "Runtime": RuntimeError("mujoco: unstable"),
    "ZeroDivision": ZeroDivisionError("division by zero"),
    "NotImplemented": NotImplementedError(),
    "Import": ImportError("no module named physics"),
    "Memory": MemoryError(),
    "Recursion": RecursionError("maximum depth"),
    "Stop": StopIteration(),
    "Gym": gym.error.ResetNeeded("reset first"),
    "Unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "Timeout": TimeoutError("the robot is silent"),
    "Pipe": BrokenPipeError(32, "Broken pipe"),
    "Interrupt": KeyboardInterrupt(),
    "Exit": SystemExit(7),
    "Unprintable": UnprintableError(),
    "Control": ValueError("red \x1b[31m alarm \x07"),
    "Long": ValueError("long " * 2000),
    "Lines": ValueError("one\ntwo\nthree"),
}
SPACES: dict[str, tuple[Any, Any]] = {
    "ScalarBox": (spaces.Box(-1.0, 1.0, (), np.float32), None),
    "ScalarAction": (None, spaces.Box(-1.0, 1.0, (), np.float32)),
    "HalfBoundedLow": (None, box(0.0, np.inf)),
    "HalfBoundedHigh": (None, box(-np.inf, 0.0)),
    "MixedBounds": (
        None,
        spaces.Box(np.array([-1, 0], np.float32), np.array([1, np.inf], np.float32)),
    ),
    "Unbounded": (None, box(-np.inf, np.inf)),
    "HugeBounds": (None, box(-3e38, 3e38)),
    "TinyBounds": (None, box(-1e-30, 1e-30)),
    "PointBounds": (None, box(1.0, 1.0)),
    "DoubleAction": (None, box(-1.0, 1.0, dtype=np.float64)),
    "HalfAction": (None, box(-1.0, 1.0, dtype=np.float16)),
    "IntegerBox": (None, box(0, 5, dtype=np.int32)),
    "ByteBox": (None, box(0, 255, dtype=np.uint8)),
    "MatrixAction": (None, box(-1.0, 1.0, (2, 3))),
    "EmptyAction": (None, box(-1.0, 1.0, (0,))),
    "EmptyObs": (box(-1.0, 1.0, (0,)), None),
    "OneChoice": (None, spaces.Discrete(1)),
    "StartAtSeven": (None, spaces.Discrete(3, start=7)),
    "NegativeStart": (spaces.Discrete(3, start=-5), spaces.Discrete(3, start=-5)),
    "SmallDiscrete": (None, spaces.Discrete(3, dtype=np.int32)),
    "MultiDiscreteAction": (None, spaces.MultiDiscrete([2, 3])),
    "MatrixMultiDiscrete": (None, spaces.MultiDiscrete(np.array([[2, 3], [3, 2]]))),
    "MultiBinaryAction": (None, spaces.MultiBinary(3)),
    "MultiBinaryObs": (spaces.MultiBinary(3), None),
    "DictAction": (None, spaces.Dict(x=spaces.Discrete(2))),
    "TupleAction": (None, spaces.Tuple([spaces.Discrete(2)])),
    "TextAction": (None, spaces.Text(3)),
    "DictObs": (spaces.Dict(a=box(-1.0, 1.0), b=spaces.Discrete(3)), None),
    "EmptyDict": (spaces.Dict(), None),
    "NestedDict": (spaces.Dict(a=spaces.Dict(b=box(-1.0, 1.0))), None),
    "TupleObs": (spaces.Tuple([box(-1.0, 1.0), spaces.Discrete(2)]), None),
    "TextObs": (spaces.Text(5), None),
    "SequenceObs": (spaces.Sequence(spaces.Discrete(2)), None),
    "GraphObs": (spaces.Graph(box(-1.0, 1.0), None), None),
    "OneOfObs": (spaces.OneOf([box(-1.0, 1.0), spaces.Discrete(2)]), None),
    "HugeDiscrete": (spaces.Discrete(2**40), None),
    "HugeObs": (box(-1.0, 1.0, (100_000,)), None),
    "MatrixObs": (box(-1.0, 1.0, (4, 5, 6, 7)), None),
    "PictureObs": (box(0, 255, (40, 40, 3), np.uint8), None),
    "TinyPicture": (box(0, 255, (3, 3, 3), np.uint8), None),
    "IntegerObs": (box(-5, 5, dtype=np.int64), None),
    "BoolObs": (box(0, 1, dtype=np.bool_), None),
    "WideInteger": (box(-(2**62), 2**62, dtype=np.int64), None),
}
WHOLE = (
    Fine, OldReset, ListInfo, NoSeed, FourValues, NoneStep, Endless, OneInstance, Reused, NeedsArgument, TakesArgument,
    NoSpaces, BadConstructor, BadReset, BadSecondReset, BadClose, BadRender, NoneRender, FlatRender, NoRenderMode,
)  # fmt: skip
BATCHES = (
    Batch, BatchOfThree, BatchNoFinal, BatchReused, BatchShort, BatchRewardList, BatchNaN, BatchCrash,
)  # fmt: skip


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


def worlds() -> dict[str, Any]:
    """{name: class} of every world with a single form."""
    found: dict[str, Any] = {world.__name__: world for world in WHOLE}
    found |= {name: changed(first=giver(value)) for name, value in FIRST.items()}
    found |= {name: changed(wrong_obs=giver(value)) for name, value in LATER.items()}
    found |= {name: changed(reward=giver(value)) for name, value in REWARDS.items()}
    found |= {name: changed(terminated=giver(value)) for name, value in DONES.items()}
    found |= {name: changed(info=giver(value)) for name, value in INFOS.items()}
    found |= {f"Raises{name}": changed(fail=raiser(error)) for name, error in ERRORS.items()}
    found |= {name: with_spaces(*pair) for name, pair in SPACES.items()}
    wide_space = box(-np.inf, np.inf, dtype=np.float64)
    found["WideReset"] = changed(observation_space=wide_space, first=wide)
    found["WideStep"] = changed(observation_space=wide_space, wrong_obs=wide)
    found["OutOfDiscrete"] = changed(
        observation_space=spaces.Discrete(5), wrong_obs=giver(np.int64(6))
    )
    found["NegativeDiscrete"] = changed(
        observation_space=spaces.Discrete(5), wrong_obs=giver(np.int64(-1))
    )
    keys = spaces.Dict(a=box(-1.0, 1.0), b=box(-1.0, 1.0))
    found["DictWithoutKey"] = changed(
        observation_space=keys, wrong_obs=giver({"a": np.zeros(2, np.float32)})
    )
    found["DictNaN"] = changed(
        observation_space=keys, wrong_obs=giver({"a": np.zeros(2, np.float32), "b": NAN})
    )
    found["Dies"] = changed(fail=dies)
    found["Chatty"] = ChattyWorld
    return found


def register() -> None:
    """Give each world its id."""
    for name, world in worlds().items():
        gym.register(f"{name}-v0", entry_point=world, disable_env_checker=True)
    for batch in BATCHES:
        gym.register(f"{batch.__name__}-v0", vector_entry_point=batch)


if __name__ == "users_worlds":  # the copy that a line imports, not the bench
    register()
