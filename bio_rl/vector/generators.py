"""One random generator for each environment of a batch: seeding, saving and restoring them.

Seeds have the meaning that they have in Gymnasium's SyncVectorEnv, so that row i of a batch seeded
with s lives as a single environment seeded with s + i.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding

LOW_64 = (1 << 64) - 1

Generators = Sequence[np.random.Generator | None]
"""A generator for each row; None where the row was never seeded nor reset."""


def seed_list(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """One seed for each environment: an int s becomes s, s + 1, ...; None stays None."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(
            f"seed has {len(seed)} entries, expected one per environment: num_envs={num_envs}"
        )
    return list(seed)


def reset_mask(options: dict[str, Any] | None, num_envs: int) -> np.ndarray:
    """Rows to reset, bool [num_envs]: options["reset_mask"] if it is there, else all of them.

    options is not changed.
    """
    if options is None or "reset_mask" not in options:
        return np.ones(num_envs, np.bool_)
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = mask.dtype if isinstance(mask, np.ndarray) else type(mask)
        raise TypeError(f"options['reset_mask'] must be a numpy array of bool, got {got}")
    if mask.shape != (num_envs,) or not mask.any():
        raise ValueError(
            f"options['reset_mask'] must have shape ({num_envs},) and a True in it, got {mask!r}"
        )

    return mask.copy()


def reseed(
    rngs: list[np.random.Generator] | list[np.random.Generator | None],
    seeds: list[int | None],
    rows: np.ndarray,
) -> None:
    """Make the generators of rows anew where a seed is given, and once from the system where there
    is none yet.
    """
    for i in rows.tolist():
        if seeds[i] is not None or rngs[i] is None:
            rngs[i], _ = seeding.np_random(seeds[i])


def rng_arrays(rngs: Generators) -> np.ndarray:
    """The PCG64 states as uint64 [N, 7]; a row of zeros stands for no generator.

    The columns are: seeded (1), state high, state low, increment high, increment low, has_uint32,
    uinteger.
    """
    rows = np.zeros((len(rngs), 7), np.uint64)
    for row, rng in zip(rows, rngs, strict=True):
        if rng is None:
            continue
        bits = rng.bit_generator.state
        # NumPy has no integers of 128 bits: each of these two is cut into a high and a low half.
        state = bits["state"]["state"]
        increment = bits["state"]["inc"]
        row[0] = 1
        row[1:3] = state >> 64, state & LOW_64
        row[3:5] = increment >> 64, increment & LOW_64
        row[5:7] = bits["has_uint32"], bits["uinteger"]
    return rows


def rngs_from_arrays(rows: np.ndarray) -> list[np.random.Generator | None]:
    """The generators whose states `rng_arrays` wrote down."""
    return [rng_from_row(row) for row in rows.tolist()]


def rng_from_row(row: list[int]) -> np.random.Generator | None:
    """The generator of one row of `rng_arrays`; None for a row without one."""
    seeded, state_high, state_low, inc_high, inc_low, has_uint32, uinteger = row
    if not seeded:
        return None
    bits = np.random.PCG64(0)
    bits.state = {
        "bit_generator": "PCG64",
        "state": {
            "state": state_high << 64 | state_low,
            "inc": inc_high << 64 | inc_low,
        },
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)
