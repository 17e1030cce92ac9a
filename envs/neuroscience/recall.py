"""Recall-v0: pairs of a key and a value are shown once; then a key comes back and its value is
asked for.
"""

from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.infos import Info
from bio_rl.vector.labels import numbered
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Policy, TrialVectorEnv, one_hot

ENV_IDS = {
    "bio_rl/Recall-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":Recall",
        "max_episode_steps": 7,
    }
}


class Recall(TrialVectorEnv):
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
        **TrialVectorEnv.metadata,
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
                f"pairs is {pairs}, expected 1 to keys = {keys}: the keys of an episode are all "
                "different"
            )
        super().__init__(num_envs, trials=1, numbers=keys + pairs + 1, **kwargs)
        self.pairs = pairs
        self.keys = keys
        self.values = values
        self.query = 2 * pairs
        """The step of the query."""
        space = gym.spaces.Box(0.0, 1.0, (keys + values + 1,), np.float32)
        # the answer is one of the values, so that both have the same words
        pairs_seen = (*numbered("key", keys), *numbered("value", values))
        self.metadata["channels"] = (*pairs_seen, "query")
        self.metadata["actions"] = numbered("value", values)
        self.set_spaces(space, gym.spaces.Discrete(values))

    def decode(self, u: np.ndarray) -> Drawn:
        """key [n, 2 pairs + 2]: at each step, -1 for none, and none when it is over; value
        likewise; answer [n].
        """
        rows = np.arange(len(u))
        steps = self.query + 2
        key = np.full((len(u), steps), -1)
        value = np.full((len(u), steps), -1)

        # The order of random numbers is a random order of the keys.
        key[:, 0 : self.query : 2] = u[:, : self.keys].argsort(1)[:, : self.pairs]
        value[:, 1 : self.query : 2] = u[:, self.keys : -1] * self.values
        asked = 2 * (u[:, -1] * self.pairs).astype(np.int64)  # the step at which it was shown
        key[:, self.query] = key[rows, asked]

        return {"key": key, "value": value, "answer": value[rows, asked + 1]}

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Judge the answer to the query."""
        query = self.t == self.query
        correct = actions == self.drawn["answer"]
        return query & correct, query, {}

    def sense(self) -> np.ndarray:
        """The key, the value and the flag of the query."""
        t = np.where(self.trial > 0, self.query + 1, self.t)
        key = one_hot(self.drawn["key"][self.rows, t], self.keys)
        value = one_hot(self.drawn["value"][self.rows, t], self.values)
        flag = (t == self.query).astype(np.float32)

        return np.column_stack((key, value, flag))

    def ideal(self) -> Policy:
        """A table of what was shown."""
        return table(self.keys)


def table(keys: int) -> Policy:
    """The value last shown after each key."""
    # Values one-hot for each key, [N, keys, values], and the last observation's key, [N, keys].
    entries: np.ndarray | None = None
    last_key: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal entries, last_key
        key = obs[:, :keys]
        value = obs[:, keys:-1]
        if entries is None or last_key is None:
            entries = np.zeros((len(obs), keys, value.shape[1]))
            last_key = np.zeros_like(key)
        shown = value.any(1)
        is_key = last_key[shown, :, None] > 0
        entries[shown] = np.where(is_key, value[shown, None], entries[shown])
        entries[begun] = 0.0
        last_key = key

        # The entry of the present key: the others are multiplied by 0.
        return (key[:, :, None] * entries).sum(1).argmax(1)

    return policy


make = partial(SingleEnv, Recall)
