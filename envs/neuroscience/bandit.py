"""Bandits: arms that pay with unknown probabilities, fixed (Bandit-v0) or swapped now and then (BanditReversal-v0)."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from bio_rl.envs._vector import Info, SingleEnv
from bio_rl.envs.neuroscience._trials import Drawn, Policy, TrialVectorEnv, one_hot

ENV_IDS = {
    "bio_rl/Bandit-v0": {"entry_point": ":make", "vector_entry_point": ":Bandit", "max_episode_steps": 100},
    "bio_rl/BanditReversal-v0": {
        "entry_point": ":make_reversal",
        "vector_entry_point": ":BanditReversal",
        "max_episode_steps": 200,
    },
}


class Bandit(TrialVectorEnv):
    """Choose among arms that pay 1 or 0, each with its own probability p ~ U(0, 1) that holds for the episode.

    A trial is one pull. Observations, float32 [N, arms + 2]: the last action one-hot, the last reward, and the share of the
    episode that has passed (all 0 at first). Actions, int [N]: the arm. The ideal observer is Thompson's (1933) rule.
    """

    # random, ideal: means over 100,000 episodes, ± 0.05 (standard error)
    metadata: ClassVar[dict[str, Any]] = {**TrialVectorEnv.metadata, "reference": {"random": 50.0, "ideal": 63.1}}
    memory_fields = ("last_action", "last_reward")

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        *,
        arms: int = 2,
        pulls: int = 100,
    ) -> None:
        if arms < 2:
            raise ValueError(f"arms is {arms}, expected at least 2")
        self.arms = arms
        super().__init__(num_envs, max_episode_steps, render_mode, autoreset_mode, trials=pulls)
        space = gym.spaces.Box(0.0, 1.0, (arms + 2,), np.float32)
        self._set_spaces(space, gym.spaces.Discrete(arms))

    def _draw(self, rng: np.random.Generator) -> Drawn:
        """pays [trials, arms]: whether each arm would pay at each pull."""
        p, luck = np.split(rng.random((self.trials + 1, self.arms), np.float32), [1])
        return {"pays": luck < p}

    def _forget(self, rows: np.ndarray) -> None:
        if not hasattr(self, "last_action"):
            self.last_action, self.last_reward = np.zeros(self.num_envs, np.int64), np.zeros(self.num_envs, np.float32)
        self.last_action[rows], self.last_reward[rows] = -1, 0.0

    def _react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        self.last_action = actions.astype(np.int64)
        self.last_reward = self.now("pays")[self.rows, actions].astype(np.float32)
        return self.last_reward, np.ones(self.num_envs, bool), {}

    def _sense(self) -> np.ndarray:
        passed = (self.trial / self.trials).astype(np.float32)
        return np.column_stack((one_hot(self.last_action, self.arms), self.last_reward, passed))

    def ideal(self) -> Policy:
        return thompson(self.arms, np.random.default_rng(0))


class BanditReversal(Bandit):
    """One arm pays with probability 0.8, the other with 0.2; before each pull they swap with probability 1/40.

    Observations and actions as in Bandit-v0. The ideal observer is the Bayes filter of the better arm.
    """

    # random, ideal: means over 100,000 episodes, ± 0.05 (standard error)
    metadata: ClassVar[dict[str, Any]] = {**TrialVectorEnv.metadata, "reference": {"random": 100.0, "ideal": 147.0}}

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        *,
        pulls: int = 200,
        p_good: float = 0.8,
        hazard: float = 1 / 40,
    ) -> None:
        """p_good: the better arm's probability to pay; the other's is 1 - p_good. hazard: of a swap, per pull."""
        if not (0.5 <= p_good <= 1 and 0 <= hazard <= 1):
            raise ValueError(f"p_good is {p_good} and hazard {hazard}, expected p_good from 0.5 to 1, hazard from 0 to 1")
        self.p_good, self.hazard = p_good, hazard
        super().__init__(num_envs, max_episode_steps, render_mode, autoreset_mode, arms=2, pulls=pulls)

    def _draw(self, rng: np.random.Generator) -> Drawn:
        luck = rng.random((self.trials, 3), np.float32)
        swaps = luck[:, 0] < self.hazard
        swaps[0] = luck[0, 0] < 0.5  # either arm may be the better one at first
        better = np.logical_xor.accumulate(swaps)
        p = np.where(better[:, None] == [False, True], self.p_good, 1 - self.p_good)
        return {"pays": luck[:, 1:] < p}

    def ideal(self) -> Policy:
        return better_arm(self.p_good, self.hazard)


def thompson(arms: int, rng: np.random.Generator) -> Policy:
    """Thompson sampling: the arm whose draw from its posterior Beta(1 + wins, 1 + losses) is highest.    Thompson 1933"""
    counts: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal counts
        chosen, reward = obs[:, :arms], obs[:, arms, None]
        counts = np.zeros((len(obs), arms, 2)) if counts is None else counts
        counts += np.stack((chosen * reward, chosen * (1 - reward)), 2)
        counts[begun] = 0.0
        return rng.beta(1 + counts[:, :, 0], 1 + counts[:, :, 1]).argmax(1)

    return policy


def better_arm(p_good: float, hazard: float) -> Policy:
    """The arm that is more probably the better one, b = P(arm 1 is), after each pull and a possible swap:

    b ← b P(r | arm 1) / Σ,   b ← (1 - h) b + h (1 - b)      Bayes filter of a two-state hidden Markov model
    """
    belief: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal belief
        belief = np.full(len(obs), 0.5) if belief is None else belief
        supports_1 = (obs[:, 1] > 0) == (obs[:, 2] > 0)  # arm 1 paid, or arm 0 did not
        likelihood = np.where(supports_1, p_good, 1 - p_good)
        belief = belief * likelihood / (belief * likelihood + (1 - belief) * (1 - likelihood))
        belief = (1 - hazard) * belief + hazard * (1 - belief)
        belief[begun] = 0.5
        return (belief > 0.5).astype(np.int64)

    return policy


make: Callable[..., gym.Env] = partial(SingleEnv, Bandit)
make_reversal: Callable[..., gym.Env] = partial(SingleEnv, BanditReversal)
