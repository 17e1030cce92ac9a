"""Values, errors and spaces that the worlds of `_hostile_worlds` return, raise and have."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class UnprintableError(Exception):
    """An error whose text raises an error."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def box(low: Any, high: Any, shape: tuple[int, ...] = (2,), dtype: Any = np.float32) -> spaces.Box:
    """A Box of this shape; low and high may be arrays."""
    return spaces.Box(np.full(shape, low, dtype), np.full(shape, high, dtype), shape, dtype)


# {name of the world: what its method returns}

NAN = np.full(2, np.nan, np.float32)
INF = np.array([0, np.inf], np.float32)
FIRST = {
    "NaNReset": NAN,
    "InfReset": INF,
    "ShapeReset": np.zeros(3, np.float32),
    "NoneReset": None,
    "TextReset": "start",
    "ComplexReset": np.zeros(2, np.complex64),
    "ObjectReset": np.array([None, None], object),
}
"""First observations of an episode."""
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
"""Observations from the faulty step on."""
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
"""Rewards of every step."""
DONES = {
    "IntegerDone": 0,
    "TextDone": "no",
    "NoneDone": None,
    "ArrayDone": np.zeros(1, bool),
    "NumpyDone": np.bool_(False),
}
"""Values of `terminated`."""
# infos of every step
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
"""Errors of a step from the faulty one on; the world is called Raises and this name."""
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
"""(Observation space, action space) of worlds that refuse other actions; None is the usual one."""
