"""Perturbations of what is sensed and of what reaches the actuators, for any world with a flat Box
observation.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from bio_rl.vector.perturb.effect import Effect, columns
from bio_rl.vector.perturb.text import Perturbation

MAX_DELAY = 1000  # steps; a buffer of this length is kept for each row


class _Sensor(Effect):
    """Acts on channels of the observation; the target is a channel, a range or several: `3`, `0-7`,
    `0-2+5`.
    """

    neutral = 0.0

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        space = world.single_observation_space
        if (
            not isinstance(space, gym.spaces.Box)
            or len(space.shape) != 1
            or space.dtype.kind != "f"
        ):
            raise ValueError(
                f"{self.name} acts on flat vectors of sensors, but observations are {space}"
            )
        self.channels = channels(self.target, space.shape[0])
        self.low, self.high = space.low[self.channels], space.high[self.channels]


class Noise(_Sensor):
    """obs_noise[:CHANNELS]=σ: white Gaussian noise of deviation σ, in the sensor's unit, clipped to
    its bounds.
    """

    bounds = (0.0, np.inf)

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        for k, i in enumerate(rows.tolist()):
            if self.amount[i]:
                noise = self.amount[i] * self.world._rngs[i].standard_normal(len(self.channels))
                obs[k, self.channels] = np.clip(obs[k, self.channels] + noise, self.low, self.high)
        return obs


class Dropout(_Sensor):
    """obs_dropout[:CHANNELS][=p]: each channel reads 0 with probability p at each step; without a
    value it is dead.
    """

    default = 1.0
    bounds = (0.0, 1.0)

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        for k, i in enumerate(rows.tolist()):
            if self.amount[i]:
                lost = self.world._rngs[i].random(len(self.channels)) < self.amount[i]
                obs[k, self.channels[lost]] = 0.0
        return obs


class _Delay(Effect):
    """The last steps of a signal, newest first: `past` [N, K + 1, ...]. amount is the delay in
    steps.
    """

    neutral = 0.0
    bounds = (0.0, MAX_DELAY)
    whole = True
    gradual = False

    def _remember(self, now: np.ndarray, rows: np.ndarray) -> None:
        self.past[rows, 1:] = self.past[rows, :-1]
        self.past[rows, 0] = now

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"past": self.past}


class ObsDelay(_Delay):
    """obs_delay=k: what is sensed is k steps old; the episode's first observation where it is
    younger than that.
    """

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        self.no_target()
        space = world.single_observation_space
        if not isinstance(space, gym.spaces.Box):
            raise ValueError(f"{self.name} acts on arrays, but observations are {space}")
        self.past = np.zeros((world.num_envs, int(self.range.high) + 1, *space.shape), space.dtype)

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        self.past[rows[fresh]] = obs[fresh][:, None]
        self._remember(obs[~fresh], rows[~fresh])
        return self.past[rows, self.amount[rows].astype(np.int64)]


class ActionDelay(_Delay):
    """action_delay=k: actuators receive the action of k steps ago; before the first arrives a Box
    is 0, a choice the first.
    """

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        self.no_target()
        space = world.single_action_space
        self.choice = isinstance(space, gym.spaces.Discrete)
        kind = (
            np.dtype(np.int64) if self.choice else np.dtype(np.float64)
        )  # holds any float32 action exactly
        self.past = np.zeros((world.num_envs, int(self.range.high) + 1, *space.shape), kind)

    def begin(self, rows: np.ndarray) -> None:
        self.past[rows] = 0

    def act(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        if self.choice:
            first = rows[self.world._elapsed[rows] == 1]
            self.past[first] = actions[first, None]
        self._remember(actions[rows], rows)
        late = self.past[np.arange(len(actions)), self.amount.astype(np.int64)]
        return late.astype(actions.dtype)


class _Permutation(Effect):
    """One permutation for each episode and row, drawn from its generator: `index` [N, n]."""

    neutral = 0.0
    default = 1.0
    bounds = (0.0, 1.0)
    whole = True
    gradual = False

    def _permute(self, n: int) -> None:
        if n < 2:
            raise ValueError(f"{self.name} needs at least two channels, here there is {n}")
        self.index = np.tile(np.arange(n), (self.world.num_envs, 1))

    def begin(self, rows: np.ndarray) -> None:
        for i in rows.tolist():
            self.index[i] = self.world._rngs[i].permutation(self.index.shape[1])

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"index": self.index}


class ObsPermutation(_Permutation, _Sensor):
    """obs_permutation[:CHANNELS]: the channels come in another order (sensory substitution),
    clipped to their bounds.
    """

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        self._permute(len(self.channels))

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        on = np.flatnonzero(self.amount[rows])
        if len(on):
            sources = self.channels[self.index[rows[on]]]
            obs[columns(on, self.channels)] = np.clip(
                obs[on[:, None], sources], self.low, self.high
            )
        return obs


class ActionPermutation(_Permutation):
    """action_permutation: action channel j drives actuator index[j]; of choices, choice j does what
    index[j] did.
    """

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        self.no_target()
        space = world.single_action_space
        if not isinstance(space, gym.spaces.Discrete | gym.spaces.Box):
            raise ValueError(f"{self.name} acts on vectors and choices, but actions are {space}")
        self.choice = isinstance(space, gym.spaces.Discrete)
        self._permute(int(space.n) if self.choice else space.shape[0])

    def act(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        on = np.flatnonzero(self.amount)
        actions = actions.copy()
        if self.choice:
            actions[on] = self.index[on, actions[on]]
        else:
            actions[on[:, None], self.index[on]] = actions[on]
        return actions


def channels(target: str, n: int) -> np.ndarray:
    """The channels, int [k], that `3`, `0-7` or `0-2+5` means; all n of them for an empty target."""
    found: list[int] = []
    for part in filter(None, target.split("+")):
        first, _, last = part.partition("-")
        if not (
            first.isdigit() and (last or first).isdigit() and int(first) <= int(last or first) < n
        ):
            raise ValueError(f"no channels {part!r}; there are 0 to {n - 1}: write 3, 0-7 or 0-2+5")
        found += range(int(first), int(last or first) + 1)
    return np.array(sorted(set(found)) if found else range(n), np.int64)


KINDS: dict[str, type[Effect]] = {
    "obs_noise": Noise,
    "obs_dropout": Dropout,
    "obs_delay": ObsDelay,
    "obs_permutation": ObsPermutation,
    "action_delay": ActionDelay,
    "action_permutation": ActionPermutation,
}
