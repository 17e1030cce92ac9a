"""Numbers of a world as the learner keeps them, and a learner's actions as the world wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from bio_rl.faults import FaultyEnvironmentError

FLOAT32_MAX = float(np.finfo(np.float32).max)
"""Networks compute in float32: a larger number would be infinite there."""
_SQUARE = FLOAT32_MAX**2
ONE = np.float32(1.0)
"""The bound of a half-range, in the learner's own precision: a Python float would widen it."""

Encode = Callable[[Any], np.ndarray]
Decode = Callable[[np.ndarray], np.ndarray]


def encoder(space: gym.Space) -> Callable[[Any], tuple[np.ndarray, ...]]:
    """A function from observations [B, *obs] to arrays of the adapter's own: one for each key, or
    one.

    Floats become float32, but float64 stays, so that a normaliser can take off a large offset
    before digits are lost. Integers become int64, choices count from zero, bytes and bits stay as
    they are.
    """
    if isinstance(space, spaces.Dict):
        encoders = {key: _array_encoder(part) for key, part in space.spaces.items()}
        return lambda obs: tuple(encode(obs[key]) for key, encode in encoders.items())
    encode = _array_encoder(space)
    return lambda obs: (encode(obs),)


def _array_encoder(space: gym.Space) -> Encode:
    if isinstance(space, spaces.Discrete):
        return _choices(np.int64(space.start), np.int64(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return _choices(space.start.astype(np.int64), space.nvec.astype(np.int64))
    if isinstance(space, spaces.Box) and space.dtype not in (np.uint8, np.bool_):
        dtype = kept_dtype(space)
        return lambda obs: np.array(obs, dtype)
    return np.array


def kept_dtype(space: spaces.Box) -> np.dtype:
    """The dtype in which numbers of a Box are kept until features are made of them."""
    if space.dtype.kind in "iu":
        return np.dtype(np.int64)
    return np.dtype(np.float64 if space.dtype.itemsize >= 8 else np.float32)


def _choices(start: Any, n: Any) -> Encode:
    """An encoder of choices from `start` on, `n` of them."""

    def encode(obs: Any) -> np.ndarray:
        counted = np.asarray(obs, np.int64) - start
        if counted.size and (counted.min() < 0 or (counted >= n).any()):
            outside = (counted < 0) | (counted >= n)
            bad = counted[outside] + start
            raise FaultyEnvironmentError(
                f"the observation is {bad.ravel()[0]}, outside its space of choices "
                f"from {np.min(start)} to {np.max(start + n - 1)}"
            )
        return counted

    return encode


def decoder(space: gym.Space) -> Decode:
    """A function from a learner's actions to fresh arrays that the world's action space contains.

    Actions of a bounded dimension of a Box are in half-ranges around its centre, so that [-1, 1]
    spans the bounds; of any other dimension they are taken as they are. All are clipped to the
    bounds.
    """
    dtype = space.dtype
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return lambda action: (action + start).astype(dtype)
    if isinstance(space, spaces.MultiDiscrete):
        return lambda action: (action + space.start).astype(dtype)
    if isinstance(space, spaces.Box):
        return _plain_box_decoder(space) or _any_box_decoder(space)
    return lambda action: action.astype(dtype)


def _plain_box_decoder(space: spaces.Box) -> Decode | None:
    """Two operations in the space's own precision; None where rounding could leave the bounds."""
    if not space.is_bounded() or space.dtype.kind != "f":
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        centre = (space.high + space.low) / 2
        half = (space.high - space.low) / 2
        stays_below = (centre + half <= space.high).all()
        stays_above = (centre - half >= space.low).all()
    inside = np.isfinite(half).all() and stays_below and stays_above
    if not inside or space.dtype != np.result_type(space.dtype, np.float32):
        return None
    return lambda action: centre + half * np.minimum(np.maximum(action, -ONE), ONE)


def _any_box_decoder(space: spaces.Box) -> Decode:
    """In float64, for bounds that are infinite, huge or whole numbers."""
    low, high = _finite_bounds(space)
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    # Halved before they are added: their sum may be infinite.
    centre = np.where(bounded, low / 2 + high / 2, 0.0)
    half = np.where(bounded, high / 2 - low / 2, 1.0)
    is_float = space.dtype.kind == "f"
    highest = high.astype(space.dtype) if is_float else space.high
    lowest = low.astype(space.dtype) if is_float else space.low

    def decode(action: np.ndarray) -> np.ndarray:
        unit = np.where(bounded, np.clip(action, -1.0, 1.0), action)
        value = np.clip(centre + half * unit, low, high)
        value = value if is_float else np.rint(value)
        with np.errstate(invalid="ignore", over="ignore"):
            exact = value.astype(space.dtype)
        # A bound itself may not survive the way through float64, the largest int64 for one.
        exact = np.where(value >= high, highest, exact)
        return np.where(value <= low, lowest, exact)

    return decode


def _finite_bounds(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of a Box in float64; where one is infinite, the largest finite number is one."""
    low = space.low.astype(np.float64)
    high = space.high.astype(np.float64)
    if space.dtype.kind == "f":
        # Of the space's own dtype: its largest number is what infinity stands for.
        dtype: Any = space.dtype
        top = float(np.finfo(dtype).max)
        low = np.maximum(low, -top)
        high = np.minimum(high, top)
    return low, high


def all_finite(values: np.ndarray) -> bool:
    """Whether all values are finite and stay so in float32. Integers and bits always are."""
    if values.dtype.kind != "f":
        return True
    # The sum of squares is one pass, and neither NaN nor infinity can hide in it.
    if float(np.vdot(values, values)) <= _SQUARE:
        return True
    return bool((np.abs(values) <= FLOAT32_MAX).all())


def bad_rows(values: np.ndarray) -> np.ndarray:
    """bool [B]: rows of `values` [B, ...] with a number that is NaN, or infinite in float32."""
    # NaN is not below anything, so it counts as bad.
    with np.errstate(invalid="ignore"):
        fits = np.abs(values) <= FLOAT32_MAX
    return ~np.all(fits.reshape(len(values), -1), axis=1)


def keys_of(space: gym.Space) -> tuple[str, ...] | None:
    """The keys of a dictionary of observations; None for another space."""
    return tuple(space.spaces) if isinstance(space, spaces.Dict) else None


def check_shapes(obs: Any, space: gym.Space, num_envs: int) -> None:
    """Refuse a batch of observations of another form than [num_envs, *space.shape].

    Raises FaultyEnvironmentError that says which entry, what was expected and what came.
    """
    if not isinstance(space, spaces.Dict):
        _check_array(obs, space, num_envs, "observation")
        return
    if not isinstance(obs, Mapping) or not space.spaces.keys() <= obs.keys():
        got = sorted(obs) if isinstance(obs, Mapping) else f"a {type(obs).__name__}"
        raise FaultyEnvironmentError(
            f"the observation has {got}, expected the keys {sorted(space.spaces)}"
        )
    for key, part in space.spaces.items():
        _check_array(obs[key], part, num_envs, f"observation {key!r}")


def _check_array(values: Any, space: gym.Space, num_envs: int, name: str) -> None:
    # A Tuple, a Graph: no learner serves it, and says so itself.
    if space.shape is None:
        return
    expected = (num_envs, *space.shape)
    is_array = isinstance(values, np.ndarray)
    if is_array and values.shape == expected and values.dtype.kind in "fiub":
        return
    form = f"{values.dtype} of shape {list(values.shape)}" if is_array else ""
    got = form or f"a {type(values).__name__}"
    raise FaultyEnvironmentError(f"the {name} is {got}, expected numbers of shape {list(expected)}")
