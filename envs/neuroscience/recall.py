"""Recall-v0: pairs of a key and a value are shown once; then a key comes back and its value is
asked for.
"""

from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.native import Info, SingleEnv
from bio_rl.vector.trials import Policy, one_hot
from bio_rl.vector.uniform_trials import Drawn, UniformTrialVectorEnv

ENV_IDS = {
    "bio_rl/Recall-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":Recall",
        "max_episode_steps": 7,
    }
}


class Recall(UniformTrialVectorEnv):
    """Remember which value followed which key, and name the value of the key that is asked for at
    the end.

    An episode is 2 pairs + 1 steps: the keys, all different, at steps 0, 2, 4, ..., each one's
    value at the step after it, and at the last step the query: one of the keys again, with the
    flag. The action at the query is the answer; others do not count. Reward: 1 for the value of
    that key, else 0.

    Observations, float32 [N, keys + values + 1]: the key one-hot, the value one-hot, the flag.
    Actions, int [N]: a value. The ideal observer keeps a table. How many pairs a network can hold
    is its capacity. The task of Ba et al. 2016 (Using Fast Weights to Attend to the Recent Past,
    §4.1), with drawn values.
    """

    # both exact: a guess among 4 values; a perfect memory
    metadata: ClassVar[dict[str, Any]] = {
        **UniformTrialVectorEnv.metadata,
        "reference": {"random": 0.25, "ideal": 1.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        pairs: int = 3,
        keys: int = 6,
        values: int = 4,
        **kwargs: Any,
    ) -> None:
        """pairs: shown in an episode, at most `keys`. keys, values: how many there are of each."""
        if values < 2:
            raise ValueError(f"values is {values}, expected at least 2")
        if not 1 <= pairs <= keys:
            raise ValueError(
                f"pairs is {pairs}, expected 1 to keys = {keys}: the keys of an episode are all different"
            )
        self.pairs, self.keys, self.values, self.numbers = pairs, keys, values, keys + pairs + 1
        super().__init__(num_envs, trials=1, **kwargs)
        self._set_spaces(
            gym.spaces.Box(0.0, 1.0, (keys + values + 1,), np.float32), gym.spaces.Discrete(values)
        )

    def _decode(self, u: np.ndarray) -> Drawn:
        """key [n, 2 pairs + 2]: at each step, -1 for none, and none when it is over; value
        likewise; answer [n].
        """
        key, value = np.full((2, len(u), 2 * self.pairs + 2), -1)
        key[:, : 2 * self.pairs : 2] = u[:, : self.keys].argsort(1)[:, : self.pairs]
        value[:, 1 : 2 * self.pairs : 2] = u[:, self.keys : -1] * self.values
        asked, rows = 2 * (u[:, -1] * self.pairs).astype(np.int64), np.arange(len(u))
        key[:, 2 * self.pairs] = key[rows, asked]
        return {"key": key, "value": value, "answer": value[rows, asked + 1]}

    def _react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        asked = self.t == 2 * self.pairs
        return asked & (actions == self.drawn["answer"]), asked, {}

    def _sense(self) -> np.ndarray:
        t = np.where(self.trial > 0, 2 * self.pairs + 1, self.t)
        key, value = (self.drawn[name][self.rows, t] for name in ("key", "value"))
        return np.column_stack(
            (
                one_hot(key, self.keys),
                one_hot(value, self.values),
                (t == 2 * self.pairs).astype(np.float32),
            )
        )

    def ideal(self) -> Policy:
        return table(self.keys)


def table(keys: int) -> Policy:
    """The value last seen after each key."""
    held: np.ndarray | None = None
    last: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal held, last
        key, value = obs[:, :keys], obs[:, keys:-1]
        if held is None or last is None:
            held, last = np.zeros((len(obs), keys, value.shape[1])), np.zeros_like(key)
        shown = value.any(1)
        held[shown] = np.where(last[shown, :, None] > 0, value[shown, None], held[shown])
        held[begun], last = 0.0, key
        return (key[:, :, None] * held).sum(1).argmax(1)

    return policy


make = partial(SingleEnv, Recall)
