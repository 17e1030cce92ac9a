"""What the trial-based worlds share: trials, periods in ms, randomness drawn episode by episode,
pictures, ideal observers.

Everything random of an episode is drawn at its start by `_draw`, in one or two calls of the row's
own generator: a row is then the same alone and in a batch, and a step of a thousand rows needs no
loop over them.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode

from bio_rl.vector.native import Info, NativeVectorEnv, Rows

Drawn = dict[str, np.ndarray]
Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(observations [N, *obs], begun bool [N]: rows whose observation starts an episode) to actions
[N].
"""

CELL = 6  # pixels per step and channel of a picture
SHOWN = 64  # steps in a picture


class TrialVectorEnv(NativeVectorEnv):
    """N episodes of `trials` trials each; an episode terminates with its last trial.

    A subclass calls this constructor, then `_set_spaces`. It reads `trial` [N] (from 0), `t` [N]
    (steps since the trial began) and `drawn[name]` [N, ...], and gives `_draw`, `_react` and
    `_sense`. Arrays of its own that the next step depends on are named in `memory_fields`, and made
    in `_forget`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    memory_fields: ClassVar[tuple[str, ...]] = ()
    carried = (*NativeVectorEnv.carried, "_past")

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        *,
        trials: int,
    ) -> None:
        super().__init__(num_envs, max_episode_steps, render_mode, autoreset_mode)
        if trials < 1:
            raise ValueError(f"trials is {trials}, expected at least 1")
        self.trials = trials
        self.rows = np.arange(num_envs)
        self.trial, self.t = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self._rewards = np.zeros(num_envs)
        example = self._draw(np.random.default_rng(0))
        self.drawn: Drawn = {
            name: np.zeros((num_envs, *x.shape), x.dtype) for name, x in example.items()
        }
        self._forget(self.rows)
        self._past: list[np.ndarray] = []

    # hooks of a world

    def _draw(self, rng: np.random.Generator) -> Drawn:
        """Everything random of one episode, arrays of fixed shapes."""
        raise NotImplementedError

    def _react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Rewards float [N], whether the trial is over bool [N], and infos, of actions at the
        moment (`trial`, `t`).
        """
        raise NotImplementedError

    def _sense(self) -> np.ndarray:
        """Observations [N, *obs] at the moment (`trial`, `t`); `trial` may be `trials` where an
        episode is over.
        """
        raise NotImplementedError

    def _forget(self, rows: np.ndarray) -> None:
        """Set the world's own arrays, where it has any, to the start of an episode in rows, int
        [n].
        """

    def ideal(self) -> Policy:
        """The ideal observer: a policy that sees observations only, and is the best that can be
        done, or as near to it as the world says.
        """
        raise NotImplementedError

    # for worlds

    def now(self, name: str) -> np.ndarray:
        """drawn[name], [N, trials, ...], of the trial at hand; of the last one where an episode is
        over.
        """
        return self.drawn[name][self.rows, np.minimum(self.trial, self.trials - 1)]

    # the hooks of NativeVectorEnv

    def _reset_rows(self, rows: np.ndarray) -> None:
        for i in rows.tolist():
            for name, x in self._draw(self._rngs[i]).items():
                self.drawn[name][i] = x
        self.trial[rows] = self.t[rows] = 0
        self._forget(rows)

    def _advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        self._rewards, over, self._infos = self._react(actions)
        self.trial += over
        self.t = np.where(over, 0, self.t + 1)
        self._over = self.trial >= self.trials

    def _outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        return self._rewards.astype(np.float64), self._over.copy(), self._infos

    def _observe(self, rows: Rows) -> np.ndarray:
        obs = self._sense()
        if self.render_mode is not None and isinstance(rows, slice):
            self._past = [*self._past[-SHOWN + 1 :], obs.reshape(self.num_envs, -1).copy()]
        return obs[rows] if not isinstance(rows, slice) else obs

    def _world_state(self) -> dict[str, np.ndarray]:
        """trial, t [N]; drawn_* [N, ...]; and the world's own `memory_fields`."""
        own = {name: getattr(self, name) for name in self.memory_fields}
        return {
            "trial": self.trial,
            "t": self.t,
            **{f"drawn_{k}": x for k, x in self.drawn.items()},
            **own,
        }

    def _set_world_state(self, state: dict[str, np.ndarray]) -> None:
        self.trial, self.t = np.array(state["trial"]), np.array(state["t"])
        self.drawn = {name: np.array(state[f"drawn_{name}"]) for name in self.drawn}
        for name in self.memory_fields:
            setattr(self, name, np.array(state[name]))

    def _frames(self) -> tuple[np.ndarray, ...]:
        """The last observations, channels down and time across, bright where active; the present is
        the right edge.
        """
        past = np.stack(
            self._past or [self._observe(slice(None)).reshape(self.num_envs, -1)], 2
        )  # [N, channels, steps]
        space = self.single_observation_space
        low, high = (np.ravel(x)[:, None].astype(float) for x in (space.low, space.high))
        bright = np.zeros((self.num_envs, past.shape[1], SHOWN))
        bright[:, :, SHOWN - past.shape[2] :] = (past - low) / (high - low)
        pixels = (255 * bright.clip(0, 1)).astype(np.uint8)
        large = pixels.repeat(max(1, min(CELL, 360 // past.shape[1])), 1).repeat(CELL, 2)
        return tuple(np.repeat(frame[:, :, None], 3, 2) for frame in large)


def one_hot(index: np.ndarray, n: int) -> np.ndarray:
    """[N] to float32 [N, n]; all zero where the index is negative."""
    return (index[:, None] == np.arange(n)).astype(np.float32)


class Periods:
    """The course of a trial: named periods that follow one another, each of a fixed or a uniformly
    drawn length in ms.
    """

    def __init__(self, dt: float, **ms: float | tuple[float, float]) -> None:
        """dt: ms per step. Raises ValueError for a period shorter than a step."""
        self.dt, self.names = dt, tuple(ms)
        bounds = np.array([(x, x) if np.isscalar(x) else x for x in ms.values()], float)
        self.low, self.high = np.round(bounds / dt).astype(int).T
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not 1 <= low <= high:
                raise ValueError(
                    f"period {name} lasts {ms[name]} ms, expected at least one step of {dt} ms, and low <= high"
                )
        self.longest = int(self.high.sum())

    def draw(self, rng: np.random.Generator, trials: int) -> np.ndarray:
        """The steps at which the periods end, int [trials, P], counted from the trial's start."""
        return rng.integers(self.low, self.high + 1, (trials, len(self.names))).cumsum(1)

    def phase(self, t: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Index of the period [N] that step t [N] lies in; ends: [N, P]."""
        return (t[:, None] >= ends).sum(1)

    def at(self, name: str) -> int:
        """Index of a period."""
        return self.names.index(name)


def scores(env: NativeVectorEnv, policy: Policy, episodes: int, seed: int = 0) -> np.ndarray:
    """Returns [episodes] of the first episodes that a policy ends in env, the same number in every
    row.

    env needs the mode NEXT_STEP, and num_envs must divide episodes: taking what ends first would
    favour short episodes.
    """
    each, rest = divmod(episodes, env.num_envs)
    if rest or env.autoreset_mode is not AutoresetMode.NEXT_STEP:
        raise ValueError(
            f"{episodes} episodes in {env.num_envs} environments, {env.autoreset_mode}: expected a multiple, NEXT_STEP"
        )
    returns, count, rows = (
        np.zeros((env.num_envs, each + 1)),
        np.zeros(env.num_envs, int),
        np.arange(env.num_envs),
    )
    obs, _ = env.reset(seed=seed)
    begun, done = np.ones(env.num_envs, bool), np.zeros(env.num_envs, bool)
    while (count < each).any():
        obs, rewards, terminated, truncated, _ = env.step(policy(obs, begun))
        begun, done = done, terminated | truncated  # rows that had ended were reset in this step
        returns[rows, np.minimum(count, each)] += rewards
        count += done
    return returns[:, :each].ravel()
