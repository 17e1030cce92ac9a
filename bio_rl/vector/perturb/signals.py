"""Perturbations of what is sensed and of what reaches the actuators, for any world with a flat Box
observation.
"""

import gymnasium as gym
import numpy as np

from bio_rl.vector.perturb.effect import Effect, columns
from bio_rl.vector.perturb.text import Perturbation
from bio_rl.vector.perturb.world import World

MAX_DELAY = 1000  # steps; a buffer of this length is kept for each row


class _Sensor(Effect):
    """Acts on channels of the observation; the target is a channel, a range or several: `3`, `0-7`,
    `0-2+5`.
    """

    neutral = 0.0

    def __init__(self, world: World, spec: Perturbation) -> None:
        super().__init__(world, spec)
        space = world.single_observation_space
        is_box = isinstance(space, gym.spaces.Box)
        if not is_box or len(space.shape) != 1 or space.dtype.kind != "f":
            raise ValueError(
                f"{self.name} acts on flat vectors of sensors, but observations are {space}"
            )
        self.channels = channels(self.target, space.shape[0])
        self.low = space.low[self.channels]
        self.high = space.high[self.channels]


class Noise(_Sensor):
    """obs_noise[:CHANNELS]=σ: white Gaussian noise of deviation σ, in the sensor's unit, clipped to
    its bounds.
    """

    bounds = (0.0, np.inf)

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Add noise to the channels, row by row, since each draws from its own generator."""
        for k, i in enumerate(rows.tolist()):
            if self.amount[i]:
                rng = self.world.rngs[i]
                normal = rng.standard_normal(len(self.channels))
                noisy = obs[k, self.channels] + self.amount[i] * normal
                obs[k, self.channels] = np.clip(noisy, self.low, self.high)
        return obs


class Dropout(_Sensor):
    """`obs_dropout[:CHANNELS][=p]`: each channel reads 0 with probability p at each step; without
    a value it is dead.
    """

    default = 1.0
    bounds = (0.0, 1.0)

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Set the channels that chance has chosen to 0."""
        for k, i in enumerate(rows.tolist()):
            if self.amount[i]:
                rng = self.world.rngs[i]
                lost = rng.random(len(self.channels)) < self.amount[i]
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
    past: np.ndarray

    def _buffer(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An empty past, long enough for the longest delay that can be drawn."""
        longest = int(self.range.high)
        return np.zeros((self.world.num_envs, longest + 1, *shape), dtype)

    def _remember(self, now: np.ndarray, rows: np.ndarray) -> None:
        # The right side is a copy, since rows is an index array: nothing is overwritten too soon.
        self.past[rows, 1:] = self.past[rows, :-1]
        self.past[rows, 0] = now

    def state(self) -> dict[str, np.ndarray]:
        """As in Effect, and the past."""
        return super().state() | {"past": self.past}


class ObsDelay(_Delay):
    """obs_delay=k: what is sensed is k steps old; the episode's first observation where it is
    younger than that.
    """

    def __init__(self, world: World, spec: Perturbation) -> None:
        super().__init__(world, spec)
        self.no_target()
        space = world.single_observation_space
        if not isinstance(space, gym.spaces.Box):
            raise ValueError(f"{self.name} acts on arrays, but observations are {space}")
        self.past = self._buffer(space.shape, space.dtype)

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """The observations of `amount` steps ago."""
        # A first observation fills its row's whole past.
        self.past[rows[fresh]] = obs[fresh][:, None]
        self._remember(obs[~fresh], rows[~fresh])
        return self.past[rows, self.amount[rows].astype(np.int64)]


class ActionDelay(_Delay):
    """action_delay=k: actuators receive the action of k steps ago; before the first arrives a Box
    is 0, a choice the first.
    """

    def __init__(self, world: World, spec: Perturbation) -> None:
        super().__init__(world, spec)
        self.no_target()
        space = world.single_action_space
        self.choice = isinstance(space, gym.spaces.Discrete)

        # float64 holds any float32 action exactly.
        kind = np.dtype(np.int64) if self.choice else np.dtype(np.float64)
        self.past = self._buffer(space.shape or (), kind)

    def begin(self, rows: np.ndarray) -> None:
        """Forget the actions of the episode before."""
        self.past[rows] = 0

    def act(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The actions of `amount` steps ago."""
        if self.choice:
            # No choice does nothing: the first one stands for those before it.
            first = rows[self.world.elapsed[rows] == 1]
            self.past[first] = actions[first, None]
        self._remember(actions[rows], rows)
        everyone = np.arange(len(actions))
        late = self.past[everyone, self.amount.astype(np.int64)]

        return late.astype(actions.dtype)


class _Permutation(Effect):
    """One permutation for each episode and row, drawn from its generator: `index` [N, n]."""

    neutral = 0.0
    default = 1.0
    bounds = (0.0, 1.0)
    whole = True
    gradual = False
    index: np.ndarray

    def _permute(self, n: int) -> None:
        """Begin with every one of n channels in its place."""
        if n < 2:
            raise ValueError(f"{self.name} needs at least two channels, here there is {n}")
        self.index = np.tile(np.arange(n), (self.world.num_envs, 1))

    def begin(self, rows: np.ndarray) -> None:
        """Draw a permutation for each row."""
        n = self.index.shape[1]
        for i in rows.tolist():
            self.index[i] = self.world.rngs[i].permutation(n)

    def state(self) -> dict[str, np.ndarray]:
        """As in Effect, and the permutations."""
        return super().state() | {"index": self.index}


class ObsPermutation(_Permutation, _Sensor):
    """obs_permutation[:CHANNELS]: the channels come in another order (sensory substitution),
    clipped to their bounds.
    """

    def __init__(self, world: World, spec: Perturbation) -> None:
        super().__init__(world, spec)
        self._permute(len(self.channels))

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """The observations with their channels in another order."""
        on = np.flatnonzero(self.amount[rows])  # places in rows
        if len(on):
            # sources [n, k]: the channel that each of the k channels shows, row by row.
            sources = self.channels[self.index[rows[on]]]
            moved = obs[on[:, None], sources]
            obs[columns(on, self.channels)] = np.clip(moved, self.low, self.high)
        return obs


class ActionPermutation(_Permutation):
    """action_permutation: action channel j drives actuator index[j]; of choices, choice j does what
    index[j] did.
    """

    def __init__(self, world: World, spec: Perturbation) -> None:
        super().__init__(world, spec)
        self.no_target()
        space = world.single_action_space
        if isinstance(space, gym.spaces.Discrete):
            self.choice = True
            self._permute(int(space.n))
        elif isinstance(space, gym.spaces.Box):
            self.choice = False
            self._permute(space.shape[0])
        else:
            raise ValueError(f"{self.name} acts on vectors and choices, but actions are {space}")

    def act(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The actions, each sent to another actuator, or taken for another choice."""
        on = np.flatnonzero(self.amount)
        actions = actions.copy()
        if self.choice:
            actions[on] = self.index[on, actions[on]]
        else:
            # Row by row: channel j goes to index[j].
            actions[on[:, None], self.index[on]] = actions[on]

        return actions


def channels(target: str, n: int) -> np.ndarray:
    """The channels, int [k], that `3`, `0-7` or `0-2+5` means; all n of them if it is empty."""
    chosen: set[int] = set()
    for part in filter(None, target.split("+")):
        first, _, last = part.partition("-")
        last = last or first
        if not (first.isdigit() and last.isdigit() and int(first) <= int(last) < n):
            raise ValueError(f"no channels {part!r}; there are 0 to {n - 1}: write 3, 0-7 or 0-2+5")
        chosen |= set(range(int(first), int(last) + 1))
    return np.array(sorted(chosen) if chosen else range(n), np.int64)


KINDS: dict[str, type[Effect]] = {
    "obs_noise": Noise,
    "obs_dropout": Dropout,
    "obs_delay": ObsDelay,
    "obs_permutation": ObsPermutation,
    "action_delay": ActionDelay,
    "action_permutation": ActionPermutation,
}
