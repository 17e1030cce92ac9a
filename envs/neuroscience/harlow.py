"""Harlow-v0: learning to learn: of two objects never seen before one pays, and one look is enough
to know which.
"""

from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.native import Info, SingleEnv
from bio_rl.vector.trials import Policy, one_hot
from bio_rl.vector.uniform_trials import Drawn, UniformTrialVectorEnv

ENV_IDS = {
    "bio_rl/Harlow-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":Harlow",
        "max_episode_steps": 6,
    }
}


class Harlow(UniformTrialVectorEnv):
    """Choose the side where the good one of two objects lies: find out which it is at the first
    trial, then stay with it.

    A trial is one choice. The two objects, codes of `size` signs that differ in at least one, and
    which of them is the good one are drawn for the episode; which lies left is drawn for each
    trial. Reward: 1 for the good object, -1 for the other.

    Observations, float32 [N, 2 size + 3]: the code of the left object and of the right, ±1 each;
    the last action one-hot; the last reward. The last three are 0 at first. Actions, int [N]: left
    (0) or right (1). The ideal observer guesses once, then takes the object that paid, or not the
    one that cost. Harlow 1949, Psychological Review 56; in the form of Wang et al. 2018, Nature
    Neuroscience 21.
    """

    # both exact: a guess is worth 0, then 1 a trial
    metadata: ClassVar[dict[str, Any]] = {
        **UniformTrialVectorEnv.metadata,
        "reference": {"random": 0.0, "ideal": 5.0},
    }
    memory_fields = ("last_action", "last_reward")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        trials: int = 6,
        size: int = 8,
        **kwargs: Any,
    ) -> None:
        """size: signs in an object's code, from 1 to 32."""
        if not 1 <= size <= 32:
            raise ValueError(f"size is {size}, expected 1 to 32 signs in an object's code")
        self.size, self.numbers = size, 3 + trials
        super().__init__(num_envs, trials=trials, **kwargs)
        self._set_spaces(
            gym.spaces.Box(-1.0, 1.0, (2 * size + 3,), np.float32), gym.spaces.Discrete(2)
        )

    def _decode(self, u: np.ndarray) -> Drawn:
        """codes [n, 2, size], ±1; good [n]: the object that pays; left [n, trials]: the object on
        the left.
        """
        n_codes, powers = 2**self.size, 2 ** np.arange(self.size)
        one = (u[:, 0] * n_codes).astype(np.int64)
        other = one ^ (
            1 + (u[:, 1] * (n_codes - 1)).astype(np.int64)
        )  # any code but the first, all alike
        bits = np.stack((one, other), 1)[:, :, None] & powers
        return {
            "codes": np.where(bits, np.int8(1), np.int8(-1)),
            "good": u[:, 2] < 0.5,
            "left": u[:, 3:] < 0.5,
        }

    def _forget(self, rows: np.ndarray) -> None:
        if not hasattr(self, "last_action"):
            self.last_action, self.last_reward = (
                np.zeros(self.num_envs, np.int64),
                np.zeros(self.num_envs, np.float32),
            )
        self.last_action[rows], self.last_reward[rows] = -1, 0.0

    def _react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        taken = self.now("left") ^ (actions == 1)
        self.last_action = actions.astype(np.int64)
        self.last_reward = np.where(taken == self.drawn["good"], np.float32(1), np.float32(-1))
        return self.last_reward, np.ones(self.num_envs, bool), {}

    def _sense(self) -> np.ndarray:
        left, codes = self.now("left")[:, None], self.drawn["codes"]
        one, other = codes[:, 0], codes[:, 1]
        sides = (np.where(left, other, one), np.where(left, one, other))
        return np.column_stack((*sides, one_hot(self.last_action, 2), self.last_reward)).astype(
            np.float32
        )

    def ideal(self) -> Policy:
        return remembered_object(self.size)


def remembered_object(size: int) -> Policy:
    """The side where the object lies that paid at the first trial, or that did not lie where it
    cost.
    """
    good: np.ndarray | None = None
    before: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal good, before
        sides, right, reward = obs[:, : 2 * size].reshape(-1, 2, size), obs[:, -2] > 0, obs[:, -1]
        good = np.zeros_like(sides[:, 0]) if good is None or before is None else good
        if before is not None:
            good_right = right == (reward > 0)
            seen = np.where(good_right[:, None], before[:, 1], before[:, 0])
            good = np.where((reward != 0)[:, None], seen, good)
        good, before = np.where(begun[:, None], 0, good), sides
        return (sides[:, 1] == good).all(1).astype(np.int64)

    return policy


make = partial(SingleEnv, Harlow)
