"""Harlow-v0: learning to learn: of two objects never seen before one pays, and one look is enough
to know which.
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
    "bio_rl/Harlow-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":Harlow",
        "max_episode_steps": 6,
    }
}


class Harlow(TrialVectorEnv):
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
        **TrialVectorEnv.metadata,
        "actions": ("left", "right"),
        "reference": {"random": 0.0, "ideal": 5.0},
    }

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
        super().__init__(num_envs, trials=trials, numbers=3 + trials, **kwargs)
        self.size = size
        self.last_action = self.state_array("last_action", start=-1, dtype=np.int64)
        self.last_reward = self.state_array("last_reward", dtype=np.float32)
        space = gym.spaces.Box(-1.0, 1.0, (2 * size + 3,), np.float32)
        # both codes have the same signs: the side tells them apart
        objects = (*numbered("left object", size), *numbered("right object", size))
        last = ("last choice left", "last choice right", "last reward")
        self.metadata["channels"] = (*objects, *last)
        self.set_spaces(space, gym.spaces.Discrete(2))

    def decode(self, u: np.ndarray) -> Drawn:
        """codes [n, 2, size], ±1; good [n]: the object that pays; left [n, trials]: the object on
        the left.
        """
        n_codes = 2**self.size
        one = (u[:, 0] * n_codes).astype(np.int64)

        # XOR with a number from 1 on gives any code but the first one, all alike.
        difference = 1 + (u[:, 1] * (n_codes - 1)).astype(np.int64)
        other = one ^ difference

        powers = 2 ** np.arange(self.size)
        bits = np.stack((one, other), 1)[:, :, None] & powers
        return {
            "codes": np.where(bits, np.int8(1), np.int8(-1)),
            "good": u[:, 2] < 0.5,
            "left": u[:, 3:] < 0.5,
        }

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Pay for the good object; each choice is a trial."""
        taken = self.now("left") ^ (actions == 1)
        good = taken == self.drawn["good"]

        self.last_action = actions.astype(np.int64)
        self.last_reward = np.where(good, np.float32(1), np.float32(-1))
        over = np.ones(self.num_envs, bool)

        return self.last_reward, over, {}

    def sense(self) -> np.ndarray:
        """The objects on both sides, the last action and reward."""
        left = self.now("left")[:, None]
        codes = self.drawn["codes"]
        one = codes[:, 0]
        other = codes[:, 1]

        on_the_left = np.where(left, other, one)
        on_the_right = np.where(left, one, other)
        action = one_hot(self.last_action, 2)
        obs = np.column_stack((on_the_left, on_the_right, action, self.last_reward))

        return obs.astype(np.float32)

    def ideal(self) -> Policy:
        """The object that has shown itself to be the good one."""
        return remembered_object(self.size)


def remembered_object(size: int) -> Policy:
    """The side where the object lies that paid at the first trial, or that did not lie where it
    cost.
    """
    # Codes of the good object [N, size], and of both sides at the trial before [N, 2, size].
    good: np.ndarray | None = None
    before: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal good, before
        sides = obs[:, : 2 * size].reshape(-1, 2, size)
        reward = obs[:, -1]
        if good is None or before is None:
            good = np.zeros_like(sides[:, 0])
        else:
            went_right = obs[:, -2] > 0
            good_was_right = went_right == (reward > 0)
            left = before[:, 0]
            right = before[:, 1]
            paid = np.where(good_was_right[:, None], right, left)
            good = np.where((reward != 0)[:, None], paid, good)
        good = np.where(begun[:, None], 0, good)
        before = sides

        is_right = (sides[:, 1] == good).all(1)
        return is_right.astype(np.int64)

    return policy


make = partial(SingleEnv, Harlow)
