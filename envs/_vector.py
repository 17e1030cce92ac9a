"""Bookkeeping that native vector environments share: a generator per environment, reset masks, Gymnasium's infos."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding

Info = dict[str, Any]
_LOW_64 = (1 << 64) - 1


def seed_list(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """One seed per environment, as SyncVectorEnv has it: an int s becomes s, s+1, ...; None stays None."""
    if seed is None or isinstance(seed, int | np.integer):
        return [None if seed is None else int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"seed has {len(seed)} entries, expected one per environment: num_envs={num_envs}")
    return list(seed)


def reset_mask(options: dict[str, Any] | None, num_envs: int) -> np.ndarray:
    """Rows to reset, bool [num_envs]: options["reset_mask"] where given, else all. options is not changed."""
    if options is None or "reset_mask" not in options:
        return np.ones(num_envs, np.bool_)
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask'] must be a numpy array of bool, got {getattr(mask, 'dtype', type(mask))}")
    if mask.shape != (num_envs,) or not mask.any():
        raise ValueError(f"options['reset_mask'] must have shape ({num_envs},) and a True in it, got {mask!r}")
    return mask.copy()


def reseed(rngs: list[np.random.Generator | None], seeds: list[int | None], rows: np.ndarray) -> None:
    """Make the generators of rows anew where their seed is given, and once from the system where there is none yet."""
    for i in rows.tolist():
        if seeds[i] is not None or rngs[i] is None:
            rngs[i], _ = seeding.np_random(seeds[i])


def rng_arrays(rngs: list[np.random.Generator | None]) -> np.ndarray:
    """PCG64 states as uint64 [N, 7]: seeded, state high and low, increment high and low, has_uint32, uinteger."""
    rows = np.zeros((len(rngs), 7), np.uint64)
    for row, rng in zip(rows, rngs, strict=True):
        if rng is not None:
            s = rng.bit_generator.state
            state, inc = s["state"]["state"], s["state"]["inc"]
            row[:] = 1, state >> 64, state & _LOW_64, inc >> 64, inc & _LOW_64, s["has_uint32"], s["uinteger"]
    return rows


def rngs_from_arrays(rows: np.ndarray) -> list[np.random.Generator | None]:
    """The generators that `rng_arrays` wrote down."""
    rngs: list[np.random.Generator | None] = []
    for seeded, state_high, state_low, inc_high, inc_low, has_uint32, uinteger in rows.tolist():
        bits = np.random.PCG64(0)
        state = {"state": state_high << 64 | state_low, "inc": inc_high << 64 | inc_low}
        bits.state = {"bit_generator": "PCG64", "state": state, "has_uint32": has_uint32, "uinteger": uinteger}
        rngs.append(np.random.Generator(bits) if seeded else None)
    return rngs


def add_masks(step_info: Info) -> Info:
    """step_info with a mask `_key` per key, all True: what a step of every environment reports."""
    info = dict(step_info)
    for key, value in step_info.items():
        info[f"_{key}"] = np.ones(len(value), np.bool_)
    return info


def merge_resets(step_info: Info, begun: np.ndarray, reset_info: Info) -> Info:
    """Step infos of the rows that went on and reset infos of the rows that began an episode, in SyncVectorEnv's layout.

    step_info: {key: [N]}; its arrays are overwritten. begun: bool [N]. reset_info: {key: [number of begun rows]}.
    A row that a key says nothing about holds 0 there, and False in `_key`; a key of no row at all is left out.
    """
    info: Info = {}
    if not begun.all():
        for key, value in step_info.items():
            value[begun] = 0
            info[key], info[f"_{key}"] = value, ~begun
    for key, value in reset_info.items():
        if key not in info:
            info[key], info[f"_{key}"] = np.zeros((len(begun), *value.shape[1:]), value.dtype), np.zeros_like(begun)
        info[key][begun], info[f"_{key}"][begun] = value, True
    return info


def final_infos(obs: np.ndarray, step_info: Info, done: np.ndarray) -> Info:
    """SAME_STEP's infos of the episodes that just ended.

    final_obs is dense: the observation before any reset, for every row, [N, *obs]; `_final_obs` marks the ended rows.
    final_info holds the step's infos with the ended rows' masks, zero elsewhere, as SyncVectorEnv has it.
    """
    ended: Info = {}
    for key, value in step_info.items():
        ended[key], ended[f"_{key}"] = value.copy(), done.copy()
        ended[key][~done] = 0
    return {"final_obs": obs, "_final_obs": done.copy(), "final_info": ended, "_final_info": done.copy()}
