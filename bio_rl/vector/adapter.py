"""One adapter for every vector environment: native, Gymnasium's Sync and Async, any autoreset mode,
tensors in and out.
"""

from __future__ import annotations

import re
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, NoReturn

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from torch import Tensor

from bio_rl import discovery, seeding
from bio_rl.faults import DivergedError, EnvironmentCrashedError, FaultyEnvironmentError
from bio_rl.machine import trust
from bio_rl.state import tree_map
from bio_rl.vector import third_party
from bio_rl.vector.coding import all_finite, bad_rows, check_shapes, keys_of
from bio_rl.vector.coding import decoder as _decoder
from bio_rl.vector.coding import encoder as _encoder
from bio_rl.vector.guard import Guarded


class Ended(NamedTuple):
    """An episode that ended."""

    row: int
    """Of its environment."""
    ret: float
    """Undiscounted return."""
    length: int


class Step(NamedTuple):
    """What B environments return for one decision."""

    obs: Any
    """[B, *obs] what is seen next: the new episode's first observation where `reset`."""
    reward: Tensor
    """[B] float32."""
    terminated: Tensor
    truncated: Tensor
    """[B] bool."""
    final_obs: Any
    """[B, *obs] the true next observation, before any reset."""
    reset: Tensor
    """[B] bool, obs starts an episode."""
    valid: Tensor | None
    """[B] bool, False where a NEXT_STEP environment only reset itself; None where all rows are
    valid.
    """


def find_id(env: str) -> str:
    """The registered id for a name: `HalfCheetah-v5` is `bio_rl/HalfCheetah-v5`; `my_module:Id-v0`
    is what it registered.

    my_module must have been imported before (`trust.import_named`). The package that brings a known
    id is imported here (`third_party`). Raises ValueError with the nearest ids for an unknown one.
    """
    trust.check_named(env)
    module, _, name = env.rpartition(":")
    third_party.register(name, module)
    if f"bio_rl/{name}" in gym.registry and not (module and name in gym.registry):
        return f"bio_rl/{name}"
    if name in gym.registry:
        return name
    ids = [i for i in gym.registry if not i.startswith(("phys2d/", "tabular/", "GymV2"))]
    known = sorted(ids, key=lambda i: (not i.startswith("bio_rl/"), i))
    near = discovery.suggestion(
        name.removeprefix("bio_rl/"), [i.removeprefix("bio_rl/") for i in known]
    )
    raise ValueError(
        f"no environment called {env!r}; {near.partition(' known:')[0]} (see: train.py list envs)"
    )


def make(
    env: str,
    num_envs: int,
    *,
    device: torch.device | str = "cpu",
    workers: bool = False,
    perturb: Sequence[str] = (),
    **kwargs: Any,
) -> Vector:
    """`num_envs` copies of an environment behind the adapter, in SAME_STEP mode where it can be
    asked for.

    env: an id, `HalfCheetah-v5` or `my_module:Id-v0`. workers: one process per environment
    (Gymnasium's AsyncVectorEnv) for ids that have no vectorised form of their own. perturb: what is
    done to the world (docs/perturbations.md). A module that `env` names is imported: give no text
    from a stranger's file (`trust.check_named` refuses it).
    """
    if not isinstance(env, str):
        raise ValueError(
            f"env is {env!r:.80}, expected the name of an environment, such as HalfCheetah-v5"
        )
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ValueError(f"--num-envs is {num_envs!r}, expected a whole number, at least 1")
    settings = {**kwargs, "perturb": list(perturb)} if perturb else kwargs
    if module := trust.module_of(env):
        trust.import_named(module)
    try:
        env_id = find_id(env)
    except gym.error.Error as error:
        raise ValueError(f"--env {env} cannot be made: {error}") from error
    opened: list[Guarded] = []
    try:
        made = _make(env_id, num_envs, workers, settings, opened)
        if made.num_envs != num_envs:
            raise FaultyEnvironmentError(
                f"--env {env} made {made.num_envs} environments where --num-envs {num_envs} were asked for"
            )
        return Vector(made, device)
    except Exception as error:
        for (
            single
        ) in opened:  # the next attempt may need what they hold: there may be one robot only
            with suppress(Exception):
                single.close()
        raise _refusal(error, env, env_id, settings) from error


def probe(env: Vector) -> None:
    """Reset and step once, to find what a world does against its space or Gymnasium before anything
    is written.

    Our own worlds are tested; others raise FaultyEnvironmentError here rather than after a folder
    was made.
    """
    if env.exact:
        return
    env.reset(0)
    env.step(env.no_action())
    env.take_episodes()
    env.steps = 0


def _refusal(error: Exception, env: str, env_id: str, settings: Mapping[str, Any]) -> Exception:
    """What the error that a constructor raised means: refused settings, or a crash in the user's
    own code.
    """
    if isinstance(error, FaultyEnvironmentError):
        return error
    if isinstance(error, MemoryError):
        return ValueError(
            f"--env {env}: so many environments do not fit into memory; fewer --num-envs or episodes do"
        )
    unknown = (
        re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if isinstance(error, TypeError)
        else None
    )
    if unknown and unknown[1] == "perturb":
        able = "CartPole-v1, Pendulum-v1 and the robots of MuJoCo, HalfCheetah-v5, Ant-v5, …"
        return ValueError(f"--perturb: {env} cannot be perturbed; these can: {able}")
    if unknown and unknown[1] in settings:
        return ValueError(f"--env-arg {unknown[1]}: {env} takes no argument of this name")
    at = traceback.extract_tb(error.__traceback__)[-1]
    reason = str(error) or f"{type(error).__name__} in {at.name}: {at.line}"
    ours = env_id.startswith("bio_rl/") and isinstance(error, ValueError)
    if ours or isinstance(error, gym.error.Error | ImportError | AssertionError):
        return ValueError(reason if ours else f"--env {env} cannot be made: {reason}")
    return EnvironmentCrashedError(
        f"--env {env} cannot be made: its constructor raised {type(error).__name__}: {error}"
    )


def _make(
    env_id: str, num_envs: int, workers: bool, settings: dict[str, Any], opened: list[Guarded]
) -> VectorEnv:
    """The vectorised environment; `opened` receives each single one, as soon as there is one."""
    package = third_party.family(env_id)
    if package is not None and package.vector is not None:
        settings = {"vectorization_mode": "vector_entry_point", **package.vector, **settings}
    elif not _has_vector_form(env_id):
        mode, own = "async" if workers else "sync", {"autoreset_mode": AutoresetMode.SAME_STEP}
        wrappers = (partial(Guarded, opened=opened), *(() if package is None else package.wrappers))
        with _deaf_to_ctrl_c(workers):
            return gym.make_vec(
                env_id,
                num_envs,
                vectorization_mode=mode,
                vector_kwargs=own,
                wrappers=wrappers,
                **settings,
            )
    try:
        return gym.make_vec(env_id, num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **settings)
    except TypeError:  # its constructor takes no autoreset mode: the adapter serves the one it has
        return gym.make_vec(env_id, num_envs, **settings)


def _has_vector_form(env_id: str) -> bool:
    """Whether an id is stepped by a vectorised form of its own: ours, or one of the user's.

    Gymnasium's few are left out: their resets and infos are not those of its single environments.
    """
    spec = gym.spec(env_id)
    entry = spec.vector_entry_point
    of_gymnasium = isinstance(entry, str) and entry.startswith("gymnasium.")
    return spec.entry_point is None or (entry is not None and not of_gymnasium)


FLOAT64, BOOL = np.dtype(np.float64), np.dtype(np.bool_)
WORKERS_SIGNALS = {"SIGINT": signal.SIG_IGN, "SIGHUP": signal.SIG_IGN, "SIGTERM": signal.SIG_DFL}
"""What signals do to worker processes: the main process, which answers Ctrl-C, saves and then ends
them.
"""


@contextmanager
def _deaf_to_ctrl_c(workers: bool) -> Iterator[None]:
    """Processes started inside inherit deafness to Ctrl-C, which the main process alone handles: it
    saves, then stops.
    """
    if not workers or threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = {
        name: handler
        for name, handler in WORKERS_SIGNALS.items()
        if name in signal.Signals.__members__
    }
    before = {name: signal.signal(signal.Signals[name], handler) for name, handler in ours.items()}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(signal.Signals[name], handler)


class Vector:
    """A `gymnasium.vector.VectorEnv` with tensors in and out.

    Actions of a bounded Box are given in half-ranges around its centre, clipped to [-1, 1] and
    scaled. Finished episodes are collected until the caller takes them with `take_episodes`.
    """

    def __init__(self, env: VectorEnv, device: torch.device | str = "cpu") -> None:
        self.env, self.device = env, torch.device(device)
        self.num_envs = env.num_envs
        self.observation_space, self.action_space = (
            env.single_observation_space,
            env.single_action_space,
        )
        self.mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._encode, self._keys = _encoder(self.observation_space), keys_of(self.observation_space)
        self._decode = _decoder(self.action_space)
        self._row_shape = (self.num_envs,)
        self._obs_shape = (
            None
            if self._keys is not None
            else (self.num_envs, *(self.observation_space.shape or ()))
        )
        self._failed = False
        self._workers = isinstance(env.unwrapped, AsyncVectorEnv)
        self._transfer = transfer if self.device.type == "cuda" else _as_tensors
        self._done = np.zeros(self.num_envs, bool)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._finished: list[Ended] = []
        self.steps = 0

    def no_action(self) -> Tensor:
        """Zeros in the form of an action [B] or [B, A]: what came before the first decision."""
        space, shape = self.action_space, (self.num_envs, *(self.action_space.shape or ()))
        floats = isinstance(space, gym.spaces.Box)
        return torch.from_numpy(np.zeros(shape, np.float32 if floats else space.dtype)).to(
            self.device
        )

    def reset(self, seed: int | None = None, stream: int = 0) -> Any:
        """The first observations [B, *obs]; starts all episodes anew.

        seed, stream: every environment gets a seed of its own from these (`random.world_seeds`).
        """
        seeds = None if seed is None else seeding.world_seeds(seed, self.num_envs, stream)
        obs = self._begin(seed=self._seed_form(seeds))
        self._done[:], self._returns[:], self._lengths[:] = False, 0.0, 0
        return self._join(self._transfer(self._seen(obs), self.device))

    def step(self, action: Tensor) -> Step:
        """Advance all environments by one decision, `action` [B] or [B, A]."""
        obs, reward, terminated, truncated, info = self._env_step(self._decided(action))
        self.steps += 1
        junk = self._done if self.mode is AutoresetMode.NEXT_STEP and self._done.any() else None
        done = terminated | truncated
        ended = bool(done.any())
        earned = self._earned(reward)
        seen = self._seen(obs)
        self._count(reward, done if ended else None, junk)
        final, reset = seen, done
        if self.mode is AutoresetMode.NEXT_STEP:
            reset, self._done = self._done, done
        elif ended and self.mode is AutoresetMode.SAME_STEP:
            final = self._seen(self._final(obs, info, done))
        elif ended:
            seen = self._seen(self._begin(options={"reset_mask": done}))
        arrays = (earned, terminated, truncated, reset, *seen)
        if ended:
            arrays = (*arrays, *final)
        if junk is not None:
            arrays = (*arrays, ~junk)
        earned, term, trunc, start, *rest = self._transfer(arrays, self.device)
        valid = None if junk is None else rest.pop()
        current = self._join(rest)
        return Step(
            current, earned, term, trunc, self._join(rest) if ended else current, start, valid
        )

    def take_episodes(self) -> list[Ended]:
        """The episodes that ended since the last call, in the order of their ends."""
        finished, self._finished = self._finished, []
        return finished

    @property
    def exact(self) -> bool:
        """Whether `state_dict` holds the very episodes (else a resume starts new ones).

        A wrapper may have a state of its own, which nobody saves: a wrapped world is not exact.
        """
        return self.env is self.env.unwrapped and hasattr(self.env, "state_dict")

    def state_dict(self) -> dict[str, Any]:
        """Running returns and lengths; and the physics of an environment that can save it."""
        state = {"done": self._done, "returns": self._returns, "lengths": self._lengths}
        state = {name: torch.from_numpy(x.copy()) for name, x in state.items()}
        return state | {
            "steps": self.steps,
            "env": self.env.unwrapped.state_dict() if self.exact else {},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the saved episodes. Only for an environment that is `exact`."""
        arrays = {
            name: x.numpy() if isinstance(x, Tensor) else x for name, x in state["env"].items()
        }
        self.env.unwrapped.load_state_dict(arrays)
        self._done, self._returns, self._lengths = (
            state[name].numpy().copy() for name in ("done", "returns", "lengths")
        )
        self.steps = state["steps"]

    def close(self) -> None:
        """Close the environments; worker processes of which one failed are ended, as they answer no
        more.
        """
        if not self._failed:
            self.env.close()
            return
        workers: Any = self.env.unwrapped
        for process in workers.processes:
            process.terminate()
        for process, pipe in zip(workers.processes, workers.parent_pipes, strict=True):
            process.join(timeout=5.0)
            if pipe is not None:
                pipe.close()
        workers.closed = True  # else it would ask them once more when it is deleted

    def _join(self, tensors: list[Tensor]) -> Any:
        """The observation that the first of `tensors` are, taken off the list."""
        if self._keys is None:
            return tensors.pop(0)
        return {key: tensors.pop(0) for key in self._keys}

    def _seed_form(self, seeds: list[int] | None) -> Any:
        """Seeds as the world wants them: Atari's own vectorised form takes an array of 32-bit
        integers.
        """
        spec = self.env.spec
        package = None if seeds is None or spec is None else third_party.family(spec.id)
        return (
            np.array(seeds, np.int32)
            if package is not None and package.vector is not None
            else seeds
        )

    def _decided(self, action: Tensor) -> np.ndarray:
        """The agent's decision as the world wants it. Raises DivergedError where it is NaN or
        infinite.
        """
        values = action.cpu().numpy()
        if not all_finite(values):
            row = int(bad_rows(values).argmax())
            raise DivergedError(
                f"the policy's action for environment {row} at step {self.steps} is {values[row].tolist()}; it has diverged"
            )
        return self._decode(values)

    def _begin(self, **settings: Any) -> Any:
        """The observations of a reset, in a checked form."""
        returned = self._world("reset", self.env.reset, **settings)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise FaultyEnvironmentError(
                f"reset() returned {type(returned).__name__}, expected (observations, infos)"
            )
        return returned[0]

    def _env_step(
        self, action: np.ndarray
    ) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Mapping[str, Any]]:
        """A step of the world: observations, rewards float64 [B], terminated and truncated bool
        [B], infos.

        Rewards and ends are copies: a world may go on to use its own arrays.
        """
        returned = self._world("step", self.env.step, action)
        if not isinstance(returned, tuple) or len(returned) != 5:
            got = (
                f"{len(returned)} values"
                if isinstance(returned, tuple)
                else f"a {type(returned).__name__}"
            )
            raise FaultyEnvironmentError(
                f"step() returned {got}, expected (observations, rewards, terminated, truncated, infos)"
            )
        obs, reward, terminated, truncated, info = returned
        earned = self._per_row("reward", reward, FLOAT64)
        ended = self._per_row("terminated", terminated, BOOL)
        return obs, earned, ended, self._per_row("truncated", truncated, BOOL), info

    def _per_row(self, name: str, values: Any, dtype: np.dtype) -> np.ndarray:
        """A copy [B] of what the world says of each row."""
        if type(values) is np.ndarray and values.dtype is dtype and values.shape == self._row_shape:
            return values.copy()
        try:
            own = np.array(values, dtype)
        except (TypeError, ValueError) as error:
            raise FaultyEnvironmentError(
                f"{name} is {values!r:.60}, expected {self.num_envs} numbers"
            ) from error
        if own.shape != (self.num_envs,):
            raise FaultyEnvironmentError(
                f"{name} has shape {list(own.shape)}, expected [{self.num_envs}]"
            )
        return own

    def _world(self, what: str, call: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        """What the world returns. Raises EnvironmentCrashedError for an error of its own, also of a
        worker's.
        """
        if self._workers:
            return self._in_workers(what, call, *arguments, **settings)
        try:
            return call(*arguments, **settings)
        except FaultyEnvironmentError as fault:
            raise type(fault)(f"{fault}, at step {self.steps}") from fault.__cause__
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise EnvironmentCrashedError(
                f"{what}() raised {reason}, at step {self.steps}"
            ) from error

    def _in_workers(
        self, what: str, call: Callable[..., Any], *arguments: Any, **settings: Any
    ) -> Any:
        with warnings.catch_warnings(
            record=True
        ) as said:  # Gymnasium warns with the child's traceback, then raises
            warnings.simplefilter("always")
            try:
                return call(*arguments, **settings)
            except Exception as error:
                self._failed = True
                traces = [text for w in said if "Traceback" in (text := str(w.message))]
                where = f"an environment's worker failed in {what}() at step {self.steps}"
                if isinstance(error, EnvironmentCrashedError) and traces:
                    raise EnvironmentCrashedError(f"{where}:\n{_users_part(traces[0])}") from error
                if isinstance(error, FaultyEnvironmentError):
                    raise FaultyEnvironmentError(f"{where}: {error}") from error
                reason = (
                    "its process ended"
                    if isinstance(error, EOFError | BrokenPipeError)
                    else repr(error)
                )
                raise EnvironmentCrashedError(f"{where}: {reason}") from None

    def _earned(self, reward: np.ndarray) -> np.ndarray:
        """Rewards float32 [B]. Raises FaultyEnvironmentError where one is not finite."""
        if not all_finite(reward):
            self._not_finite("reward", reward)
        return reward.astype(np.float32)

    def _seen(self, obs: Any) -> tuple[np.ndarray, ...]:
        """Observations as arrays of our own. Raises FaultyEnvironmentError for another form, or a
        value that is not finite.
        """
        if (
            type(obs) is not np.ndarray
            or obs.shape != self._obs_shape
            or obs.dtype.kind not in "fiub"
        ):
            check_shapes(obs, self.observation_space, self.num_envs)
        try:
            arrays = self._encode(obs)
        except FaultyEnvironmentError as fault:
            raise FaultyEnvironmentError(f"{fault}, at step {self.steps}") from fault
        for i, values in enumerate(arrays):
            if not all_finite(values):
                self._not_finite(
                    "observation" if self._keys is None else f"observation {self._keys[i]!r}",
                    values,
                )
        return arrays

    def _not_finite(self, name: str, values: np.ndarray) -> NoReturn:
        bad = bad_rows(values)
        raise FaultyEnvironmentError(
            f"the {name} of environment {int(bad.argmax())} is NaN or infinite at its step {self.steps} "
            f"({int(bad.sum())} of {self.num_envs} environments); training stopped before learning from it"
        )

    def _final(self, obs: Any, info: Mapping[str, Any], done: np.ndarray) -> Any:
        """The observations before the reset, [B, *obs]."""
        if not isinstance(info, Mapping) or "final_obs" not in info:
            raise FaultyEnvironmentError(
                "episodes ended, but the infos have no 'final_obs', which the autoreset mode SAME_STEP promises; "
                f"at step {self.steps}"
            )
        return _dense_final(obs, info, done)

    def _count(self, reward: np.ndarray, done: np.ndarray | None, junk: np.ndarray | None) -> None:
        self._returns += reward
        self._lengths += 1
        if junk is not None:
            self._returns[junk], self._lengths[junk] = 0.0, 0
        if done is not None:
            rows = done.nonzero()[0]
            ends = zip(
                rows.tolist(),
                self._returns[rows].tolist(),
                self._lengths[rows].tolist(),
                strict=True,
            )
            self._finished += (Ended(*end) for end in ends)
            self._returns[done], self._lengths[done] = 0.0, 0


def _users_part(trace: str) -> str:
    """The traceback of the user's own error, of a worker's whole one, which goes on with those that
    it caused in our code.
    """
    own = (
        trace.replace("\x1b[31mERROR: ", "")
        .replace("\x1b[0m", "")
        .partition("\nThe above exception")[0]
    )
    return own[own.find("Traceback") :].strip()


class SideBySide:
    """Vectors of one kind as one, in the interface that the runner uses: their rows one block after
    the other.

    Each has its own seed: `reset(seed)` starts the i-th as it would be alone with seed + i.
    """

    def __init__(self, vectors: Sequence[Vector]) -> None:
        self.vectors, first = list(vectors), vectors[0]
        self.device, self.mode, self.exact = first.device, first.mode, first.exact
        self.observation_space, self.action_space = first.observation_space, first.action_space
        self.num_envs = sum(v.num_envs for v in self.vectors)

    def no_action(self) -> Tensor:
        return torch.cat([v.no_action() for v in self.vectors])

    def reset(self, seed: int | None = None, stream: int = 0) -> Any:
        obs = [
            v.reset(None if seed is None else seed + i, stream) for i, v in enumerate(self.vectors)
        ]
        return tree_map(lambda *parts: torch.cat(parts), *obs)

    def step(self, action: Tensor) -> Step:
        steps = [
            v.step(part)
            for v, part in zip(self.vectors, action.chunk(len(self.vectors)), strict=True)
        ]
        valid = [s.valid if s.valid is not None else torch.ones_like(s.reset) for s in steps]
        joined = tree_map(
            lambda *parts: torch.cat(parts),
            *(s._replace(valid=v) for s, v in zip(steps, valid, strict=True)),
        )
        return joined if any(s.valid is not None for s in steps) else joined._replace(valid=None)

    def take_episodes(self) -> list[Ended]:
        each = self.vectors[0].num_envs
        return [
            e._replace(row=e.row + i * each)
            for i, v in enumerate(self.vectors)
            for e in v.take_episodes()
        ]

    def close(self) -> None:
        for v in self.vectors:
            v.close()


def _dense_final(obs: Any, info: Mapping[str, Any], done: np.ndarray) -> Any:
    """final_obs as [B, *obs]: in the rows that ended what `info` has, be it dense or an array of
    objects; in the others obs.
    """
    final = info["final_obs"]
    if not isinstance(obs, Mapping):
        return _with_rows(obs, done, final[done])
    if isinstance(final, Mapping):
        return {key: _with_rows(values, done, final[key][done]) for key, values in obs.items()}
    return {
        key: _with_rows(values, done, [row[key] for row in final[done]])
        for key, values in obs.items()
    }


def _with_rows(values: np.ndarray, at: np.ndarray, rows: Any) -> np.ndarray:
    """A copy of `values` with `rows` in the places `at`."""
    dense = values.copy()
    dense[at] = rows if isinstance(rows, np.ndarray) and rows.dtype != object else np.stack(rows)
    return dense


def _as_tensors(arrays: tuple[np.ndarray, ...], device: torch.device) -> list[Tensor]:
    return [torch.from_numpy(x) for x in arrays]


def transfer(arrays: tuple[np.ndarray, ...], device: torch.device) -> list[Tensor]:
    """The arrays as tensors on `device`, moved in one copy of their packed bytes (each aligned to
    16).
    """
    sizes = [-(-x.nbytes // 16) * 16 for x in arrays]
    packed = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=device.type == "cuda")
    raw, offset = packed.numpy(), 0
    for x, size in zip(arrays, sizes, strict=True):
        raw[offset : offset + x.nbytes] = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
        offset += size
    moved, tensors, offset = packed.to(device, non_blocking=True), [], 0
    for x, size in zip(arrays, sizes, strict=True):
        dtype = torch.from_numpy(np.empty(0, x.dtype)).dtype
        tensors.append(moved[offset : offset + x.nbytes].view(dtype).view(x.shape))
        offset += size
    return tensors
