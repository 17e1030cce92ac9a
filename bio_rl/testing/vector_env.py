"""A checker of vector environments: spaces, episodes, seeds, memory and saved states."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

from bio_rl.testing.lives import arrays, assert_same, live, play, row, same

MakeVec = Callable[..., VectorEnv]


@runtime_checkable
class Saves(Protocol):
    """A vector environment that can save itself and continue from what it saved."""

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of everything that later steps depend on."""
        ...

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a saved state."""
        ...


def check_vector_env(
    make: str | MakeVec,
    *,
    single: Callable[[], gym.Env] | None = None,
    num_envs: int = 3,
    max_episode_steps: int = 12,
    stochastic: bool = True,
    **kwargs: Any,
) -> None:
    """Raise an AssertionError that says what is wrong with a vector environment.

    make: an id, or a callable that takes num_envs, max_episode_steps, autoreset_mode and kwargs.
    single: makes one environment with the same time limit; for an id it is gymnasium.make, where
    the id has a single entry point. max_episode_steps: short enough that random actions reach it.
    stochastic: False for a world that draws nothing at random. Checked in each of Gymnasium's three
    autoreset modes:

    - spaces, shapes and dtypes; infos with a bool mask `_key` for every key;
    - episodes truncated at exactly max_episode_steps, and what each mode does after an episode;
    - seeds: the same give the same arrays, environments and resets differ, row i is the single
      environment of seed + i;
    - no returned array shares memory with another, of the same call or of an earlier one;
    - `state_dict` and `load_state_dict`, where the environment has them, continue bitwise in a new
      object.
    """
    if isinstance(make, str):
        if single is None and gym.spec(make).entry_point is not None:
            single = partial(gym.make, make, max_episode_steps=max_episode_steps, **kwargs)
        make = partial(gym.make_vec, make)
    make = partial(make, num_envs=num_envs, max_episode_steps=max_episode_steps, **kwargs)
    for mode in AutoresetMode:
        _check_returns(make, mode)
        _check_episodes(make, mode, max_episode_steps)
        _check_aliasing(make, mode)
        _check_seeds(make, mode, stochastic)
        _check_state_dict(make, mode)
    if single is not None:
        _check_single(make, single)


# Shapes and dtypes of what is returned


def _check_returns(make: MakeVec, mode: AutoresetMode) -> None:
    """Check the spaces, and everything that one life returns."""
    env = make(autoreset_mode=mode)
    named = env.metadata.get("autoreset_mode")
    assert named is mode, (
        f"metadata['autoreset_mode'] is {named!r}, expected the {mode!r} that was asked for"
    )
    _check_space("observation", env.observation_space, env.single_observation_space, env.num_envs)
    _check_space("action", env.action_space, env.single_action_space, env.num_envs)
    for call in live(env, seed=0):
        _check_obs(env, call["obs"])
        _check_info(call["info"], env.num_envs)
        if "reward" in call:
            _check_reward(call, env.num_envs)
    env.close()
    # Closing twice is allowed.
    env.close()


def _check_space(name: str, space: gym.Space, single: gym.Space, n: int) -> None:
    """Check that a space is the batch of its single one."""
    expected = batch_space(single, n)
    assert space == expected, f"{name}_space is {space}, expected {expected}"


def _check_reward(call: dict[str, Any], n: int) -> None:
    """Check the rewards and the ends of one step."""
    reward = call["reward"]
    _check_rows(n, "f", reward=reward)
    _check_rows(n, "b", terminated=call["terminated"], truncated=call["truncated"])
    assert np.isfinite(reward).all(), f"rewards are not finite: {reward}"


def _check_obs(env: VectorEnv, obs: Any) -> None:
    """Check that observations have the shapes and dtypes of their space and lie in it."""
    samples = arrays(env.observation_space.sample())
    for (path, value), (_, sample) in zip(arrays(obs), samples, strict=True):
        assert value.shape == sample.shape, (
            f"obs{path} has shape {value.shape}, expected {sample.shape}"
        )
        assert value.dtype == sample.dtype, (
            f"obs{path} has dtype {value.dtype}, expected {sample.dtype}"
        )
    inside = obs in env.observation_space
    assert inside, f"an observation lies outside observation_space: {obs!r}"


def _check_info(info: dict[str, Any], n: int) -> None:
    """Check that every entry of an info has n rows and a mask."""
    for key, value in info.items():
        if key.startswith("_"):
            continue
        mask = info.get(f"_{key}")
        assert mask is not None, f"info[{key!r}] has no mask info['_{key}']"
        _check_rows(n, "b", **{f"_{key}": mask})
        assert mask.any(), f"info[{key!r}] is there although its mask is False everywhere"
        assert isinstance(value, dict) or len(value) == n, (
            f"info[{key!r}] has {len(value)} rows, expected {n}"
        )


def _check_rows(n: int, kind: str, **values: Any) -> None:
    """Check that each value is an array of n numbers of this kind of dtype."""
    for name, value in values.items():
        assert isinstance(value, np.ndarray), (
            f"{name} is a {type(value).__name__}, expected a numpy array"
        )
        assert value.shape == (n,), f"{name} has shape {value.shape}, expected (num_envs,) = ({n},)"
        assert value.dtype.kind == kind, f"{name} has dtype {value.dtype}, expected kind {kind!r}"


# Ends of episodes


def _check_episodes(make: MakeVec, mode: AutoresetMode, limit: int) -> None:
    """Count every row's steps: a truncation comes at the limit and nowhere else."""
    env = make(autoreset_mode=mode)
    length = np.zeros(env.num_envs, int)
    ended = np.zeros(env.num_envs, np.bool_)
    truncations = 0
    for call in live(env, seed=0, steps=4 * limit + 4):
        if "reward" not in call:
            continue
        done = call["terminated"] | call["truncated"]
        length = np.where(ended, 0, length) + 1
        if mode is AutoresetMode.NEXT_STEP:
            # The step after an episode's end is the reset of the next.
            length[ended] = 0
            _check_reset_rows(call["reward"][ended], done[ended])
        wrong = call["truncated"] != (length >= limit)
        assert not wrong.any(), (
            f"{mode}: truncated {call['truncated']} after {length} steps, expected it at {limit}"
        )
        if mode is AutoresetMode.SAME_STEP:
            _check_final(call, done)
        truncations += int(call["truncated"].sum())
        ended = done
    assert truncations > 0, f"no episode reached max_episode_steps={limit}: choose it shorter"
    env.close()


def _check_reset_rows(reward: np.ndarray, done: np.ndarray) -> None:
    """Check the rows of a NEXT_STEP environment that only reset."""
    assert not reward.any(), f"NEXT_STEP: rows that reset have rewards: {reward}"
    assert not done.any(), "NEXT_STEP: rows that reset are reported as ended again"


def _check_final(call: dict[str, Any], done: np.ndarray) -> None:
    """Check that final_obs is a batch like obs, and equals it in rows that did not end."""
    info = call["info"]
    assert ("final_obs" in info) == bool(done.any()), (
        "SAME_STEP: info['final_obs'] must be there when an episode ended"
    )
    if not done.any():
        return
    assert np.array_equal(info["_final_obs"], done), (
        f"_final_obs is {info['_final_obs']}, but {done} ended"
    )
    pairs = zip(arrays(info["final_obs"]), arrays(call["obs"]), strict=True)
    for (path, last), (_, new) in pairs:
        assert last.dtype == new.dtype and last.shape == new.shape, (
            f"final_obs{path} is {last.dtype} {last.shape}, "
            f"expected a dense array {new.dtype} {new.shape} like obs"
        )
        assert np.array_equal(last[~done], new[~done]), (
            f"final_obs{path} differs from obs in rows that did not end"
        )


# Memory and seeds


def _check_aliasing(make: MakeVec, mode: AutoresetMode) -> None:
    """Check that no returned array shares memory with another."""
    env = make(autoreset_mode=mode)
    returned: list[tuple[str, np.ndarray]] = []
    for t, call in enumerate(live(env, seed=0, steps=14)):
        for path, value in arrays(call, f"call {t}: "):
            for other_path, other in returned:
                assert not np.shares_memory(value, other), (
                    f"{mode}: two returned arrays share memory ({other_path} and {path}): "
                    "return copies"
                )
            returned.append((path, value))
    env.close()


def _check_seeds(make: MakeVec, mode: AutoresetMode, stochastic: bool) -> None:
    """Check that equal seeds give equal lives, and that no seed gives other ones."""
    one = make(autoreset_mode=mode)
    two = make(autoreset_mode=mode)
    life = list(live(one, seed=1))
    of_another = list(live(two, seed=1))
    assert_same(life, of_another, f"{mode}: two environments with the same seed and actions")
    # The order matters: a second life of the first environment starts from whatever is left over.
    again = list(live(one, seed=1))
    assert_same(life, again, f"{mode}: one environment, reset twice with the same seed")
    if stochastic:
        _check_randomness(one, mode)
    one.close()
    two.close()


def _check_randomness(env: VectorEnv, mode: AutoresetMode) -> None:
    """Check that resets without a seed differ, and environments side by side."""
    first = list(live(env, seed=None, alike=True))
    second = list(live(env, seed=None, alike=True))
    assert not same(_felt(first), _felt(second)), (
        f"{mode}: two resets without a seed give the same episodes"
    )
    rows = [[row(call["obs"], i) for call in first] for i in (0, 1)]
    assert not same(*rows), f"{mode}: environments 0 and 1 of a batch live the same episodes"


def _felt(life: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """The observations and rewards of a life."""
    # a reset has no reward
    return [(call["obs"], call.get("reward", 0)) for call in life]


# Other objects that must live the same


def _check_state_dict(make: MakeVec, mode: AutoresetMode) -> None:
    """Check that a new environment continues from a saved state as the saved one does."""
    env = make(autoreset_mode=mode)
    copy = make(autoreset_mode=mode)
    original = env.unwrapped
    twin = copy.unwrapped
    if isinstance(original, Saves) and isinstance(twin, Saves):
        actions = [call["actions"] for call in live(env, seed=7) if "actions" in call]
        state = original.state_dict()
        _check_plain(state)
        before = {name: value.copy() for name, value in state.items()}
        twin.load_state_dict(state)
        ours = list(play(env, actions))
        theirs = list(play(copy, actions))
        assert_same(
            ours, theirs, f"{mode}: an environment and a new one that loaded its state_dict()"
        )
        what = "a state_dict() before and after later steps (it must hold copies)"
        assert_same(state, before, f"{mode}: {what}")
    env.close()
    copy.close()


def _check_plain(state: dict[str, np.ndarray]) -> None:
    """Check that a saved state holds nothing but arrays of numbers."""
    for name, value in state.items():
        plain = isinstance(value, np.ndarray) and value.dtype != object
        assert plain, (
            f"state_dict()[{name!r}] is {type(value).__name__}, "
            "expected a numpy array without objects"
        )


def _check_single(make: MakeVec, single: Callable[[], gym.Env]) -> None:
    """Check that row i of a batch seeded s is the single environment seeded s + i.

    The actions are alike, over several episodes.
    """
    seed = 5
    env = make(autoreset_mode=AutoresetMode.NEXT_STEP)
    singles = [single() for _ in range(env.num_envs)]
    first, *later = live(env, seed=seed)
    for i, one in enumerate(singles):
        obs, _ = one.reset(seed=seed + i)
        assert_same(row(first["obs"], i), obs, _pair(0, i, seed))
    ended = [False] * env.num_envs
    for t, call in enumerate(later, start=1):
        # a batch of actions is no sequence of single ones where they are dicts
        actions = iterate(env.action_space, call["actions"])
        for i, (one, action) in enumerate(zip(singles, actions, strict=True)):
            expected = _single_step(one, action, ended[i])
            ended[i] = bool(expected[2] or expected[3])
            ours = [row(call["obs"], i), *(call[key][i] for key in STEP)]
            assert_same(ours, expected, _pair(t, i, seed))
    for one in (env, *singles):
        one.close()


STEP = ("reward", "terminated", "truncated")
"""The parts of a step beside its observation and info."""


def _single_step(env: gym.Env, action: Any, ended: bool) -> list[Any]:
    """The observation, reward and ends of a step as a NEXT_STEP batch has them."""
    if ended:
        obs, _ = env.reset()
        return [obs, 0.0, False, False]
    obs, reward, terminated, truncated, _ = env.step(action)
    return [obs, reward, terminated, truncated]


def _pair(t: int, i: int, seed: int) -> str:
    """Names of a row and its single environment, for a message."""
    return f"call {t}: row {i} and the single environment seeded {seed + i}"
