"""The base of worlds made of trials: randomness drawn episode by episode, pictures, observers.

Everything random of an episode is drawn at its start, by the row's own generator: a row is then the
same alone and in a batch, and a step of a thousand rows needs no loop over them.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from bio_rl.vector.infos import Info
from bio_rl.vector.native import ALL, NativeVectorEnv, Rows

Drawn = dict[str, np.ndarray]
"""Random arrays of one episode, or of n of them, [n, ...]."""
Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(observations [N, *obs], begun bool [N]: rows whose observation starts an episode) to actions
[N].
"""

CELL = 6  # pixels per step and channel of a picture
TALLEST = 360  # pixels of a picture's height, unless it has more channels
SHOWN = 64  # steps in a picture


class TrialVectorEnv(NativeVectorEnv):
    """N episodes of `trials` trials each; an episode terminates with its last trial.

    A subclass must write two hooks: `react` says what actions are worth and which trials they end,
    `sense` what is observed. They read the moment, `trial` [N] (from 0) and `t` [N] (steps since
    the trial began), and the episode's random numbers, `drawn[name]` [N, ...] or `now(name)`. These
    come from one or both of `decode` (from `numbers` uniform numbers, for many episodes at once)
    and `draw` (by the generator, for one episode). `ideal` is the best policy that is known.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    carried = (*NativeVectorEnv.carried, "_past")

    def __init__(self, num_envs: int = 1, *, trials: int, numbers: int = 0, **kwargs: Any) -> None:
        """numbers: uniform numbers that `decode` takes for an episode. kwargs: those of
        NativeVectorEnv.
        """
        super().__init__(num_envs, **kwargs)
        if trials < 1:
            raise ValueError(f"trials is {trials}, expected at least 1")
        self.trials = trials
        self.numbers = numbers
        self.rows = np.arange(num_envs)
        self.trial = self.state_array("trial", dtype=np.int64)
        self.t = self.state_array("t", dtype=np.int64)
        self.drawn: Drawn = {}
        self._rewards = np.zeros(num_envs)
        self._infos: Info = {}
        # Observations of the last steps, for the pictures.
        self._past: list[np.ndarray] = []

    def set_spaces(self, observation: gym.Space, action: gym.Space) -> None:
        """Finish the construction; the settings that `decode` and `draw` need are there by now."""
        super().set_spaces(observation, action)
        # An example tells the shapes and dtypes.
        rng = np.random.default_rng(0)
        decoded = self.decode(rng.random((1, self.numbers)))
        example = {name: x[0] for name, x in decoded.items()}
        example |= self.draw(rng)
        for name, x in example.items():
            self.drawn[name] = np.zeros((self.num_envs, *x.shape), x.dtype)

    # hooks that a world must write

    @abstractmethod
    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Rewards float [N], whether the trial is over bool [N], and infos, of actions at the
        moment (`trial`, `t`).
        """

    @abstractmethod
    def sense(self) -> np.ndarray:
        """Observations [N, *obs] at the moment (`trial`, `t`); `trial` is `trials` where an
        episode is over.
        """

    # hooks that a world may write

    def decode(self, u: np.ndarray) -> Drawn:
        """Random arrays [n, ...] of n episodes, from u [n, numbers], uniform in [0, 1)."""
        return {}

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Random arrays of one episode, of the same shapes in each."""
        return {}

    def ideal(self) -> Policy:
        """The ideal observer: a policy that sees observations only, and is the best that can be
        done, or as near to it as the world says.
        """
        raise NotImplementedError(f"{type(self).__name__} knows no ideal observer")

    # for worlds

    def now(self, name: str) -> np.ndarray:
        """drawn[name], [N, trials, ...], of the present trial; of the last one where an episode is
        over.
        """
        trial = self.present_trial()
        # One entry of each row: [N] and [N] index the first two axes together.
        return self.drawn[name][self.rows, trial]

    def present_trial(self) -> np.ndarray:
        """The trial [N]; the last one where an episode is over."""
        last = self.trials - 1
        return np.minimum(self.trial, last)

    def going_on(self) -> np.ndarray:
        """Whether the episode is not over yet, bool [N]."""
        return self.trial < self.trials

    def passed(self) -> np.ndarray:
        """The share of the episode's trials that are over, float32 [N]."""
        share = self.trial / self.trials
        return share.astype(np.float32)

    # the hooks of NativeVectorEnv

    def reset_rows(self, rows: np.ndarray) -> None:
        """Draw everything random of the new episodes of rows, int [n]."""
        u = np.empty((len(rows), self.numbers))
        # Only what a row draws from its own generator is done row by row.
        for k, i in enumerate(rows.tolist()):
            rng = self.rngs[i]
            if self.numbers:
                rng.random(out=u[k])
            for name, x in self.draw(rng).items():
                self.drawn[name][i] = x
        for name, x in self.decode(u).items():
            self.drawn[name][rows] = x

    def advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        """Let the world react, and go on to the next moment."""
        self._rewards, over, self._infos = self.react(actions)
        self.trial += over
        self.t = np.where(over, 0, self.t + 1)
        self._over = self.trial >= self.trials

    def outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """The rewards of `react`; an episode terminates with its last trial."""
        rewards = self._rewards.astype(np.float64)
        return rewards, self._over.copy(), self._infos

    def observe(self, rows: Rows) -> np.ndarray:
        """The observations of `sense`, remembered for the pictures if there are any."""
        obs = self.sense()
        if not isinstance(rows, slice):
            return obs[rows]
        if self.render_mode is not None:
            present = obs.reshape(self.num_envs, -1).copy()
            self._past = [*self._past[-SHOWN + 1 :], present]

        return obs

    def world_state(self) -> dict[str, np.ndarray]:
        """The arrays of the state, trial and t among them; drawn_* [N, ...]."""
        drawn = {f"drawn_{name}": x for name, x in self.drawn.items()}
        return super().world_state() | drawn

    def set_world_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `world_state` returned."""
        super().set_world_state(state)
        self.drawn = {name: np.array(state[f"drawn_{name}"]) for name in self.drawn}

    def frames(self) -> tuple[np.ndarray, ...]:
        """The last observations, channels down and time across, bright where active; the present is
        the right edge.
        """
        if not self._past:
            self.observe(ALL)
        space = self.single_observation_space
        assert isinstance(space, gym.spaces.Box)
        low = np.ravel(space.low)[:, None].astype(float)
        high = np.ravel(space.high)[:, None].astype(float)

        # Axes: [N, channels, steps].
        past = np.stack(self._past, 2)
        channels = past.shape[1]
        bright = np.zeros((self.num_envs, channels, SHOWN))
        bright[:, :, SHOWN - past.shape[2] :] = (past - low) / (high - low)
        pixels = (255 * bright.clip(0, 1)).astype(np.uint8)
        tall = max(1, min(CELL, TALLEST // channels))
        large = pixels.repeat(tall, 1).repeat(CELL, 2)

        return tuple(np.repeat(frame[:, :, None], 3, 2) for frame in large)


def one_hot(index: np.ndarray, n: int) -> np.ndarray:
    """A float32 array [N, n] with a 1 at index [N]; all zero where the index is negative."""
    # A column of indices against a row of classes.
    hits = index[:, None] == np.arange(n)
    return hits.astype(np.float32)


class Periods:
    """The course of a trial: named periods that follow one another, each of a fixed or a uniformly
    drawn length in ms.
    """

    def __init__(self, dt: float, **ms: float | tuple[float, float]) -> None:
        """dt: ms per step. Raises ValueError for a period shorter than a step."""
        self.dt = dt
        self.names = tuple(ms)
        pairs = [(length, length) if np.isscalar(length) else length for length in ms.values()]
        steps = np.round(np.array(pairs, float) / dt).astype(int)
        self.low, self.high = steps.T
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not 1 <= low <= high:
                raise ValueError(
                    f"period {name} lasts {ms[name]} ms, expected at least one step of {dt} ms, "
                    "and low <= high"
                )
        self.longest = int(self.high.sum())

    def draw(self, rng: np.random.Generator, trials: int) -> np.ndarray:
        """The steps at which the periods end, int [trials, P], counted from the trial's start."""
        shape = (trials, len(self.names))
        lengths = rng.integers(self.low, self.high + 1, shape)
        return lengths.cumsum(1)

    def phase(self, t: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Index of the period [N] that step t [N] lies in; ends: [N, P]."""
        # As many periods are over as have ended by t.
        over = t[:, None] >= ends
        return over.sum(1)

    def at(self, name: str) -> int:
        """Index of a period."""
        return self.names.index(name)


def scores(env: NativeVectorEnv, policy: Policy, episodes: int, seed: int = 0) -> np.ndarray:
    """Returns [episodes] of the first episodes that a policy ends in env, the same number in every
    row.

    env needs the mode NEXT_STEP, and num_envs must divide episodes: taking what ends first would
    favour short episodes.
    """
    n = env.num_envs
    per_row, rest = divmod(episodes, n)
    if rest or env.autoreset_mode is not AutoresetMode.NEXT_STEP:
        raise ValueError(
            f"{episodes} episodes in {n} environments, {env.autoreset_mode}: expected a multiple, "
            "NEXT_STEP"
        )
    # The last column takes what comes after a row's last episode.
    returns = np.zeros((n, per_row + 1))
    count = np.zeros(n, int)
    rows = np.arange(n)
    obs, _ = env.reset(seed=seed)
    begun = np.ones(n, bool)
    done = np.zeros(n, bool)
    while (count < per_row).any():
        obs, rewards, terminated, truncated, _ = env.step(policy(obs, begun))
        begun = done  # rows that had ended were reset in this step
        done = terminated | truncated
        returns[rows, np.minimum(count, per_row)] += rewards
        count += done
    return returns[:, :per_row].ravel()
