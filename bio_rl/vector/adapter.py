"""One adapter for every vector environment: native, Gymnasium's Sync and Async, any autoreset mode,
tensors in and out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from torch import Tensor

from bio_rl import seeding
from bio_rl.faults import DivergedError, EnvironmentCrashedError, FaultyEnvironmentError
from bio_rl.vector import third_party
from bio_rl.vector.arrays import as_tensors, dense_final, transfer
from bio_rl.vector.coding import all_finite, bad_rows, check_shapes, decoder, encoder, keys_of
from bio_rl.vector.interface import Ended, Step, TensorVectorEnv

FLOAT64 = np.dtype(np.float64)
BOOL = np.dtype(np.bool_)
PATIENCE = 5.0
"""Seconds in which a worker process that was told to end may do so."""
RED = "\x1b[31mERROR: "
PLAIN = "\x1b[0m"
"""How Gymnasium colours the traceback of a worker."""
CAUSED = "\nThe above exception"
"""Words of a traceback before the errors that the first one caused."""


@runtime_checkable
class Saves(Protocol):
    """A vector environment that can save its episodes."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Vector(TensorVectorEnv):
    """A `gymnasium.vector.VectorEnv` with tensors in and out.

    Actions of a bounded Box are given in half-ranges around its centre, clipped to [-1, 1] and
    scaled. Finished episodes are collected until the caller takes them with `take_episodes`.
    """

    def __init__(self, env: VectorEnv, device: torch.device | str = "cpu") -> None:
        self.env = env
        self.device = torch.device(device)
        self.num_envs = env.num_envs
        self.observation_space: gym.Space = env.single_observation_space
        self.action_space: gym.Space = env.single_action_space
        self.mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self.steps = 0
        self.infos: Mapping[str, Any] = {}
        """The infos of the last step, as the environments gave them."""
        self._encode = encoder(self.observation_space)
        self._decode = decoder(self.action_space)
        self._keys = keys_of(self.observation_space)
        self._row_shape = (self.num_envs,)
        one = self.observation_space.shape or ()
        self._obs_shape = None if self._keys is not None else (self.num_envs, *one)
        self._failed = False
        self._workers = isinstance(env.unwrapped, AsyncVectorEnv)
        self._transfer = transfer if self.device.type == "cuda" else as_tensors
        self._done = np.zeros(self.num_envs, bool)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._finished: list[Ended] = []

    def no_action(self) -> Tensor:
        space = self.action_space
        dtype = np.float32 if isinstance(space, gym.spaces.Box) else space.dtype
        zeros = np.zeros((self.num_envs, *(space.shape or ())), dtype)
        return torch.from_numpy(zeros).to(self.device)

    def reset(self, seed: int | None = None, stream: int = 0) -> Any:
        seeds = None if seed is None else seeding.world_seeds(seed, self.num_envs, stream)
        obs = self._begin(seed=self._seed_form(seeds))
        self._done[:] = False
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return self._join(self._transfer(self._observed(obs), self.device))

    def step(self, action: Tensor) -> Step:
        obs, reward, terminated, truncated, info = self._env_step(self._decided(action))
        self.steps += 1
        self.infos = info
        junk = self._done if self.mode is AutoresetMode.NEXT_STEP and self._done.any() else None
        done = terminated | truncated
        ended = bool(done.any())
        earned = self._earned(reward)
        observed = self._observed(obs)
        self._count(reward, done if ended else None, junk)
        final = observed
        reset = done
        if self.mode is AutoresetMode.NEXT_STEP:
            # Those that ended one step ago have begun anew in this one.
            reset = self._done
            self._done = done
        elif ended and self.mode is AutoresetMode.SAME_STEP:
            final = self._observed(self._final(obs, info, done))
        elif ended:
            observed = self._observed(self._begin(options={"reset_mask": done}))
        # One list, so that a GPU gets everything in one copy; the last observations and the mask of
        # junk rows are sent only where they say something.
        arrays = (earned, terminated, truncated, reset, *observed)
        if ended:
            arrays = (*arrays, *final)
        if junk is not None:
            arrays = (*arrays, ~junk)
        earned, term, trunc, start, *rest = self._transfer(arrays, self.device)
        valid = None if junk is None else rest.pop()
        current = self._join(rest)
        last = self._join(rest) if ended else current
        return Step(current, earned, term, trunc, last, start, valid)

    def take_episodes(self) -> list[Ended]:
        finished = self._finished
        self._finished = []
        return finished

    @property
    def exact(self) -> bool:
        """Whether `state_dict` holds the very episodes (else a resume starts new ones).

        A wrapper may have a state of its own, which nobody saves: a wrapped world is not exact.
        """
        return self.env is self.env.unwrapped and isinstance(self.env, Saves)

    def state_dict(self) -> dict[str, Any]:
        """Running returns and lengths; and the physics of an environment that can save it."""
        arrays = {"done": self._done, "returns": self._returns, "lengths": self._lengths}
        state: dict[str, Any] = {name: torch.from_numpy(x.copy()) for name, x in arrays.items()}
        state["steps"] = self.steps
        world = self.env.unwrapped
        state["env"] = world.state_dict() if self.exact and isinstance(world, Saves) else {}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the saved episodes. Only for an environment that is `exact`."""
        world = self.env.unwrapped
        if not isinstance(world, Saves):
            raise ValueError(f"{world} cannot go on with saved episodes: it has no load_state_dict")
        saved = state["env"].items()
        world.load_state_dict({k: x.numpy() if isinstance(x, Tensor) else x for k, x in saved})
        self._done = state["done"].numpy().copy()
        self._returns = state["returns"].numpy().copy()
        self._lengths = state["lengths"].numpy().copy()
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
            process.join(timeout=PATIENCE)
            if pipe is not None:
                pipe.close()
        # Else it would ask its processes once more when it is deleted.
        workers.closed = True

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
        if seeds is None or spec is None:
            return seeds
        package = third_party.family(spec.id)
        wants_array = package is not None and package.vector is not None
        return np.array(seeds, np.int32) if wants_array else seeds

    # ---------------------------------- calls of the world, checked

    def _decided(self, action: Tensor) -> np.ndarray:
        """The agent's decision as the world wants it. Raises DivergedError where it is NaN or
        infinite.
        """
        values = action.cpu().numpy()
        if not all_finite(values):
            row = int(bad_rows(values).argmax())
            raise DivergedError(
                f"the policy's action for environment {row} at step {self.steps} is "
                f"{values[row].tolist()}; it has diverged"
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
            several = isinstance(returned, tuple)
            got = f"{len(returned)} values" if several else f"a {type(returned).__name__}"
            raise FaultyEnvironmentError(
                f"step() returned {got}, "
                "expected (observations, rewards, terminated, truncated, infos)"
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
            copied = np.array(values, dtype)
        except (TypeError, ValueError) as error:
            raise FaultyEnvironmentError(
                f"{name} is {values!r:.60}, expected {self.num_envs} numbers"
            ) from error
        if copied.shape != self._row_shape:
            raise FaultyEnvironmentError(
                f"{name} has shape {list(copied.shape)}, expected [{self.num_envs}]"
            )
        return copied

    def _world(self, what: str, call: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        """The world's own result. Raises EnvironmentCrashedError for an error of its own, also of a
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
        # Gymnasium warns with the child's traceback, and raises only then.
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                return call(*arguments, **settings)
            except Exception as error:
                self._failed = True
                texts = [str(warning.message) for warning in warned]
                self._raise_of_worker(what, error, [text for text in texts if "Traceback" in text])

    def _raise_of_worker(self, what: str, error: Exception, traces: list[str]) -> NoReturn:
        """Raise what a worker's error means. traces: the tracebacks that were printed for it."""
        where = f"an environment's worker failed in {what}() at step {self.steps}"
        if isinstance(error, EnvironmentCrashedError) and traces:
            raise EnvironmentCrashedError(f"{where}:\n{_users_part(traces[0])}") from error
        if isinstance(error, FaultyEnvironmentError):
            raise FaultyEnvironmentError(f"{where}: {error}") from error
        gone = isinstance(error, EOFError | BrokenPipeError)
        reason = "its process ended" if gone else repr(error)
        raise EnvironmentCrashedError(f"{where}: {reason}") from None

    # ---------------------------------- what the world returned, checked

    def _earned(self, reward: np.ndarray) -> np.ndarray:
        """Rewards float32 [B]. Raises FaultyEnvironmentError where one is not finite."""
        if not all_finite(reward):
            self._not_finite("reward", reward)
        return reward.astype(np.float32)

    def _observed(self, obs: Any) -> tuple[np.ndarray, ...]:
        """Observations as arrays of our own. Raises FaultyEnvironmentError for another form, or a
        value that is not finite.
        """
        plain = type(obs) is np.ndarray and obs.shape == self._obs_shape
        if not plain or obs.dtype.kind not in "fiub":
            check_shapes(obs, self.observation_space, self.num_envs)
        try:
            arrays = self._encode(obs)
        except FaultyEnvironmentError as fault:
            raise FaultyEnvironmentError(f"{fault}, at step {self.steps}") from fault
        for i, values in enumerate(arrays):
            if not all_finite(values):
                key = "" if self._keys is None else f" {self._keys[i]!r}"
                self._not_finite(f"observation{key}", values)
        return arrays

    def _not_finite(self, name: str, values: np.ndarray) -> NoReturn:
        bad = bad_rows(values)
        raise FaultyEnvironmentError(
            f"the {name} of environment {int(bad.argmax())} is NaN or infinite at its step "
            f"{self.steps} ({int(bad.sum())} of {self.num_envs} environments); "
            "training stopped before learning from it"
        )

    def _final(self, obs: Any, info: Mapping[str, Any], done: np.ndarray) -> Any:
        """The observations before the reset, [B, *obs]."""
        if not isinstance(info, Mapping) or "final_obs" not in info:
            raise FaultyEnvironmentError(
                "episodes ended, but the infos have no 'final_obs', which the autoreset mode "
                f"SAME_STEP promises; at step {self.steps}"
            )
        return dense_final(obs, info, done)

    def _count(self, reward: np.ndarray, done: np.ndarray | None, junk: np.ndarray | None) -> None:
        """Add a step to the running episodes, and put those that ended on the list."""
        self._returns += reward
        self._lengths += 1
        if junk is not None:
            self._returns[junk] = 0.0
            self._lengths[junk] = 0
        if done is None:
            return
        rows = done.nonzero()[0]
        returns = self._returns[rows].tolist()
        lengths = self._lengths[rows].tolist()
        self._finished += map(Ended, rows.tolist(), returns, lengths)
        self._returns[done] = 0.0
        self._lengths[done] = 0


def _users_part(trace: str) -> str:
    """The traceback of the user's own error, of a worker's whole one, which goes on with those that
    it caused in our code.
    """
    text = trace.replace(RED, "").replace(PLAIN, "").partition(CAUSED)[0]
    return text[text.find("Traceback") :].strip()
