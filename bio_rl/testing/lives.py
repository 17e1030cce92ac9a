"""Lives of a vector environment, call by call, and their comparison to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

STEPS = 30
"""Steps of a recorded life."""

# Playing


def live(
    env: VectorEnv, seed: int | None, steps: int = STEPS, alike: bool = False
) -> Iterator[dict[str, Any]]:
    """A reset and random steps, as {name: what the call returned}.

    The actions depend on nothing but the seed; with `alike` they are the same in every row.
    """
    obs, info = env.reset(seed=seed)
    yield {"obs": obs, "info": info}
    env.action_space.seed(seed or 0)
    actions = [env.action_space.sample() for _ in range(steps)]
    if alike and isinstance(actions[0], np.ndarray):
        actions = [np.repeat(action[:1], env.num_envs, axis=0) for action in actions]
    yield from play(env, actions)


def play(env: VectorEnv, actions: list[Any]) -> Iterator[dict[str, Any]]:
    """Steps with these actions; where autoreset is off, ended rows are reset by further calls."""
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action)
        yield {
            "actions": action,
            "obs": obs,
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "info": info,
        }
        done = terminated | truncated
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
            obs, info = env.reset(options={"reset_mask": done})
            yield {"obs": obs, "info": info}


# Comparing nested observations, infos and lists of them


def arrays(value: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every leaf as an array, with its path."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from arrays(value[key], f"{path}[{key!r}]")
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            yield from arrays(item, f"{path}[{i}]")
    else:
        yield path, np.asarray(value)


def row(obs: Any, i: int) -> Any:
    """Row i of a batched observation."""
    if isinstance(obs, dict):
        return {key: row(value, i) for key, value in obs.items()}
    if isinstance(obs, tuple):
        return tuple(row(value, i) for value in obs)
    return obs[i]


def same(a: Any, b: Any) -> bool:
    """Whether two values have the same leaves under the same paths."""
    left = list(arrays(a))
    right = list(arrays(b))
    if [path for path, _ in left] != [path for path, _ in right]:
        return False
    pairs = zip(left, right, strict=True)
    return all(equal(x, y) for (_, x), (_, y) in pairs)


def equal(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two arrays hold the same numbers; NaN equals NaN."""
    # numpy cannot look for NaN in arrays of other kinds than "f"
    both_real = x.dtype.kind == "f" and y.dtype.kind == "f"
    return np.array_equal(x, y, equal_nan=both_real)


def assert_same(a: Any, b: Any, what: str) -> None:
    """Raise an AssertionError that names the first leaf in which two values differ in a bit."""
    left = dict(arrays(a))
    right = dict(arrays(b))
    foreign = sorted(left.keys() ^ right.keys())
    assert not foreign, f"{what} differ in their keys: {foreign}"
    for path, value in left.items():
        assert equal(value, right[path]), f"{what} differ at {path}: {value} and {right[path]}"
