"""Public checkers: hold your own environments and local learners to the contracts that the rest
relies on.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

from bio_rl.training.runner import Runner, collect

MakeVec = Callable[..., VectorEnv]
STEPS = 30  # of a recorded life


def check_vector_env(
    make: str | MakeVec,
    *,
    single: Callable[[], gym.Env] | None = None,
    num_envs: int = 3,
    max_episode_steps: int = 12,
    stochastic: bool = True,
    **kwargs: Any,
) -> None:
    """Raise an AssertionError that says what is wrong with a vector environment; return None where
    all is well.

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


def _check_returns(make: MakeVec, mode: AutoresetMode) -> None:
    env = make(autoreset_mode=mode)
    got = env.metadata.get("autoreset_mode")
    assert got is mode, (
        f"metadata['autoreset_mode'] is {got!r}, expected the {mode!r} that was asked for"
    )
    for name in ("observation_space", "action_space"):
        expected = batch_space(getattr(env, f"single_{name}"), env.num_envs)
        assert getattr(env, name) == expected, (
            f"{name} is {getattr(env, name)}, expected {expected}"
        )
    for call in _life(env, seed=0):
        _check_obs(env, call["obs"])
        _check_info(call["info"], env.num_envs)
        if "reward" in call:
            _check_rows(env.num_envs, "f", reward=call["reward"])
            _check_rows(
                env.num_envs, "b", terminated=call["terminated"], truncated=call["truncated"]
            )
            assert np.isfinite(call["reward"]).all(), f"rewards are not finite: {call['reward']}"
    env.close()
    env.close()  # twice is allowed


def _check_obs(env: VectorEnv, obs: Any) -> None:
    for (path, value), (_, sample) in zip(
        _arrays(obs), _arrays(env.observation_space.sample()), strict=True
    ):
        assert value.shape == sample.shape, (
            f"obs{path} has shape {value.shape}, expected {sample.shape}"
        )
        assert value.dtype == sample.dtype, (
            f"obs{path} has dtype {value.dtype}, expected {sample.dtype}"
        )
    assert obs in env.observation_space, f"an observation lies outside observation_space: {obs!r}"


def _check_info(info: dict[str, Any], n: int) -> None:
    for key, value in info.items():
        if key.startswith("_"):
            continue
        assert f"_{key}" in info, f"info[{key!r}] has no mask info['_{key}']"
        _check_rows(n, "b", **{f"_{key}": info[f"_{key}"]})
        assert info[f"_{key}"].any(), (
            f"info[{key!r}] is there although its mask is False everywhere"
        )
        assert isinstance(value, dict) or len(value) == n, (
            f"info[{key!r}] has {len(value)} rows, expected {n}"
        )


def _check_rows(n: int, kind: str, **values: np.ndarray) -> None:
    for name, value in values.items():
        assert isinstance(value, np.ndarray), (
            f"{name} is a {type(value).__name__}, expected a numpy array"
        )
        assert value.shape == (n,), f"{name} has shape {value.shape}, expected (num_envs,) = ({n},)"
        assert value.dtype.kind == kind, f"{name} has dtype {value.dtype}, expected kind {kind!r}"


def _check_episodes(make: MakeVec, mode: AutoresetMode, limit: int) -> None:
    """Count every row's steps: a truncation comes at the limit and nowhere else."""
    env = make(autoreset_mode=mode)
    length, ended = np.zeros(env.num_envs, int), np.zeros(env.num_envs, np.bool_)
    truncations = 0
    for call in _life(env, seed=0, steps=4 * limit + 4):
        if "reward" not in call:
            continue
        done = call["terminated"] | call["truncated"]
        length = np.where(ended, 0, length) + 1
        if (
            mode is AutoresetMode.NEXT_STEP
        ):  # the step after an episode's end is the reset of the next
            length[ended] = 0
            assert not call["reward"][ended].any(), (
                f"NEXT_STEP: rows that reset have rewards: {call['reward'][ended]}"
            )
            assert not done[ended].any(), "NEXT_STEP: rows that reset are reported as ended again"
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


def _check_final(call: dict[str, Any], done: np.ndarray) -> None:
    """final_obs is a dense batch like obs; rows that did not end hold the same observation in both."""
    info = call["info"]
    assert ("final_obs" in info) == bool(done.any()), (
        "SAME_STEP: info['final_obs'] must be there when an episode ended"
    )
    if not done.any():
        return
    assert np.array_equal(info["_final_obs"], done), (
        f"_final_obs is {info['_final_obs']}, but {done} ended"
    )
    for (path, last), (_, new) in zip(
        _arrays(info["final_obs"]), _arrays(call["obs"]), strict=True
    ):
        assert last.dtype == new.dtype and last.shape == new.shape, (
            f"final_obs{path} is {last.dtype} {last.shape}, expected a dense array {new.dtype} {new.shape} like obs"
        )
        assert np.array_equal(last[~done], new[~done]), (
            f"final_obs{path} differs from obs in rows that did not end"
        )


def _check_aliasing(make: MakeVec, mode: AutoresetMode) -> None:
    env = make(autoreset_mode=mode)
    kept: list[tuple[str, np.ndarray]] = []
    for t, call in enumerate(_life(env, seed=0, steps=14)):
        for path, value in _arrays(call, f"call {t}: "):
            for other_path, other in kept:
                shared = np.shares_memory(value, other)
                assert not shared, (
                    f"{mode}: two returned arrays share memory ({other_path} and {path}): return copies"
                )
            kept.append((path, value))
    env.close()


def _check_seeds(make: MakeVec, mode: AutoresetMode, stochastic: bool) -> None:
    one, two = make(autoreset_mode=mode), make(autoreset_mode=mode)
    lives = [list(_life(env, seed=1)) for env in (one, two, one)]
    _assert_same(lives[0], lives[1], f"{mode}: two environments with the same seed and actions")
    _assert_same(lives[0], lives[2], f"{mode}: one environment, reset twice with the same seed")
    if stochastic:
        lives = [
            [(call["obs"], call.get("reward", 0)) for call in _life(one, seed=None, alike=True)]
            for _ in range(2)
        ]
        assert not _same(*lives), f"{mode}: two resets without a seed give the same episodes"
        rows = [[_row(obs, i) for obs, _ in lives[0]] for i in (0, 1)]
        assert not _same(*rows), f"{mode}: environments 0 and 1 of a batch live the same episodes"
    one.close()
    two.close()


def _check_state_dict(make: MakeVec, mode: AutoresetMode) -> None:
    env, copy = make(autoreset_mode=mode), make(autoreset_mode=mode)
    if hasattr(env.unwrapped, "state_dict"):
        actions = [call["actions"] for call in _life(env, seed=7) if "actions" in call]
        state = env.unwrapped.state_dict()
        for name, value in state.items():
            plain = isinstance(value, np.ndarray) and value.dtype != object
            assert plain, (
                f"state_dict()[{name!r}] is {type(value).__name__}, expected a numpy array without objects"
            )
        before = {name: value.copy() for name, value in state.items()}
        copy.unwrapped.load_state_dict(state)
        lives = [list(_play(e, actions)) for e in (env, copy)]
        _assert_same(*lives, f"{mode}: an environment and a new one that loaded its state_dict()")
        _assert_same(
            state,
            before,
            f"{mode}: a state_dict() before and after later steps (it must hold copies)",
        )
    env.close()
    copy.close()


def _check_single(make: MakeVec, single: Callable[[], gym.Env]) -> None:
    """Row i of a batch seeded s is the single environment seeded s + i, the actions alike, over
    several episodes.
    """
    env = make(autoreset_mode=AutoresetMode.NEXT_STEP)
    singles = [single() for _ in range(env.num_envs)]
    ended: list[bool | None] = [None] * env.num_envs
    for t, call in enumerate(_life(env, seed=5)):
        actions = iterate(env.action_space, call["actions"]) if t else singles
        for i, (one, action) in enumerate(zip(singles, actions, strict=True)):
            got: list[Any] = [_row(call["obs"], i)]
            got += [call[key][i] for key in ("reward", "terminated", "truncated")] if t else []
            if t == 0:
                expected = [one.reset(seed=5 + i)[0]]
            else:
                expected = (
                    [one.reset()[0], 0.0, False, False] if ended[i] else list(one.step(action)[:4])
                )
                ended[i] = bool(expected[2] or expected[3])
            _assert_same(
                got, expected, f"call {t}: row {i} and the single environment seeded {5 + i}"
            )
    for one in (env, *singles):
        one.close()


# lives: everything an environment returned, call by call


def _life(
    env: VectorEnv, seed: int | None, steps: int = STEPS, alike: bool = False
) -> Iterator[dict[str, Any]]:
    """A reset and steps with random actions that depend on nothing but the seed; alike: the same in
    every row.
    """
    obs, info = env.reset(seed=seed)
    yield {"obs": obs, "info": info}
    env.action_space.seed(seed or 0)
    actions = [env.action_space.sample() for _ in range(steps)]
    if alike and isinstance(actions[0], np.ndarray):
        actions = [np.repeat(a[:1], env.num_envs, axis=0) for a in actions]
    yield from _play(env, actions)


def _play(env: VectorEnv, actions: list[Any]) -> Iterator[dict[str, Any]]:
    """Steps; where autoreset is off, the resets of ended rows follow as calls of their own."""
    for a in actions:
        obs, reward, terminated, truncated, info = env.step(a)
        ended = {"terminated": terminated, "truncated": truncated}
        yield {"actions": a, "obs": obs, "reward": reward, **ended, "info": info}
        done = terminated | truncated
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
            obs, info = env.reset(options={"reset_mask": done})
            yield {"obs": obs, "info": info}


# nested observations, infos and lists of them


def _arrays(value: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every leaf as an array, with its path."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _arrays(value[key], f"{path}[{key!r}]")
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            yield from _arrays(item, f"{path}[{i}]")
    else:
        yield path, np.asarray(value)


def _row(obs: Any, i: int) -> Any:
    """Row i of a batched observation."""
    if isinstance(obs, dict):
        return {key: _row(value, i) for key, value in obs.items()}
    return tuple(_row(value, i) for value in obs) if isinstance(obs, tuple) else obs[i]


def _same(a: Any, b: Any) -> bool:
    left, right = list(_arrays(a)), list(_arrays(b))
    paths_match = [path for path, _ in left] == [path for path, _ in right]
    return paths_match and all(_equal(x, y) for (_, x), (_, y) in zip(left, right, strict=True))


def _equal(x: np.ndarray, y: np.ndarray) -> bool:
    return np.array_equal(x, y, equal_nan=x.dtype.kind == "f" and y.dtype.kind == "f")


def _assert_same(a: Any, b: Any, what: str) -> None:
    """Equal to the last bit, leaf by leaf."""
    left, right = dict(_arrays(a)), dict(_arrays(b))
    assert left.keys() == right.keys(), (
        f"{what} differ in their keys: {sorted(left.keys() ^ right.keys())}"
    )
    for path, value in left.items():
        assert _equal(value, right[path]), f"{what} differ at {path}: {value} and {right[path]}"


@contextmanager
def no_autograd() -> Iterator[None]:
    """Within it, a computation that a gradient could flow back through raises AssertionError: a
    local learner prepares none.
    """

    def refuse(_: Any) -> Any:
        raise AssertionError(
            "autograd keeps a tensor for a backward pass; a local rule has no use for one"
        )

    with torch.autograd.graph.saved_tensors_hooks(refuse, refuse):
        yield


Entries = Mapping[str, Any]
"""Names of tensors, each with an index of some of its entries; `...` for all of them."""


def check_local(
    make: Callable[[], Any],
    env: Any,
    own: Entries,
    told: Entries,
    *,
    updates: int = 30,
    seed: int = 0,
) -> None:
    """Raise an AssertionError where what one synapse learns depends on anything foreign to it;
    return None where it does not.

    A whole training of `updates` updates is watched. Before each, the agent's weights, its state
    and what its decisions left behind are copied twice, and in the second copy every number is
    another, but for those that the synapse may know. After the update its weight and its traces
    must be the same in both.

    make: the agent, each time with the same settings. env: the `vector.Vector` in which it lives.
    own: what is the synapse's: its weight, the first one, its traces, the activity of its two
    neurons. told: the signal of its neuron and the modulators, with whatever they are made of.
    Names are those of `agent.state_dict()`, of the state and of `ActOut.extras`, with dots:
    `agent.modules.network.weight`, `state.hidden.e_bar`, `extras.psi`. What comes from the world
    reaches every synapse.
    """
    generator = torch.Generator().manual_seed(seed)
    runner = Runner(make(), env)
    runner.start(seed)
    learned = felt = 0
    for update in range(updates):
        rollout, life = collect(runner.agent, env, runner.life)
        given = {
            "agent": runner.agent.state_dict(),
            "state": life.state,
            "extras": rollout.steps.extras,
        }
        names = {name for name, _ in _named(given)}
        unknown = [
            name for name in {**own, **told} if update and name not in names
        ]  # an optimiser has nothing at first
        assert not unknown, (
            f"nothing is called {', '.join(unknown)}; there are {', '.join(sorted(names))}"
        )
        after = []
        for x in (given, _altered(given, (own, told), generator)):
            learner = make()
            learner.load_state_dict(x["agent"])
            state, _ = learner.update(
                rollout._replace(steps=rollout.steps._replace(extras=x["extras"])), x["state"]
            )
            after.append(dict(_named({"agent": learner.state_dict(), "state": state})))
        for name, entries in own.items():
            one, other = (x[name][entries] if name in x else torch.zeros(()) for x in after)
            same = torch.allclose(one, other, rtol=1e-4, atol=1e-7)
            assert same, (
                f"update {update}: {name} at {entries} depends on what is foreign to the synapse: {one} and {other}"
            )
        weight, entries = next(iter(own.items()))
        learned += int(
            not torch.equal(dict(_named(given))[weight][entries], after[0][weight][entries])
        )
        felt += int(not torch.equal(after[0][weight], after[1][weight]))
        state, _ = runner.agent.update(rollout, life.state)
        alive = [name for name, x in _named({"state": state}) if x.requires_grad]
        assert not alive, (
            f"update {update}: autograd keeps the history of {', '.join(alive)}; a local learner "
            "has no use for one"
        )
        runner.life = life._replace(state=state)
    assert learned > 0, f"{next(iter(own))} never changed: nothing was checked"
    assert felt == updates, "nothing foreign was altered: nothing was checked"


def _named(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of real numbers in nested dicts and tuples, with its name."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield path, value
    elif isinstance(value, dict | tuple | list):
        for key, item in _items(value):
            yield from _named(item, f"{path}.{key}" if path else str(key))


def _altered(
    value: Any, kept: tuple[Entries, ...], generator: torch.Generator, path: str = ""
) -> Any:
    """A copy in which every real number is another, no less than none, but for the entries that are
    kept.
    """
    if isinstance(value, torch.Tensor):
        if not value.is_floating_point():
            return value.clone()
        new = value * (0.5 + torch.rand(value.shape, generator=generator)) + 0.1 * torch.rand(
            value.shape, generator=generator
        )
        for entries in kept:
            if path in entries:
                new[entries[path]] = value[entries[path]]
        return new
    if not isinstance(value, dict | tuple | list):
        return value
    new = {
        key: _altered(item, kept, generator, f"{path}.{key}" if path else str(key))
        for key, item in _items(value)
    }
    if isinstance(value, dict):
        return new
    return type(value)(*new.values()) if hasattr(value, "_fields") else type(value)(new.values())


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return (
        list(zip(value._fields, value, strict=True))
        if hasattr(value, "_fields")
        else list(enumerate(value))
    )
