"""Bandits: arms that pay with unknown probabilities, fixed (Bandit-v0) or swapped now and then
(BanditReversal-v0).
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np

from bio_rl.envs.neuroscience._filters import two_state_filter
from bio_rl.vector.infos import Info
from bio_rl.vector.labels import numbered
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Policy, TrialVectorEnv, one_hot

ENV_IDS = {
    "bio_rl/Bandit-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":Bandit",
        "max_episode_steps": 100,
    },
    "bio_rl/BanditReversal-v0": {
        "entry_point": ":make_reversal",
        "vector_entry_point": ":bandit_reversal",
        "max_episode_steps": 200,
    },
}

MOST_PULLS = 150  # of a table of optimal choices: 126 million states in 126 MB


class Swapping(NamedTuple):
    """Two arms of which one pays more, and that swap now and then."""

    p_good: float
    """The better arm's probability to pay; the other's is 1 - p_good."""
    hazard: float
    """Probability of a swap, per pull."""


class Bandit(TrialVectorEnv):
    """Choose among arms that pay 1 or 0, each with its own probability p ~ U(0, 1) that holds for
    the episode.

    A trial is one pull. Observations, float32 [N, arms + 2]: the last action one-hot, the last
    reward, and the share of the episode that has passed (all 0 at first). Actions, int [N]: the
    arm. The ideal observer is the Bayes-optimal policy of two arms (`optimal`), computed for at
    most `MOST_PULLS` pulls; of more arms or pulls Thompson's (1933) rule, which is close to the
    optimum and below it.
    """

    # random: exact; ideal: exact, the value that `bayes_optimal(100)` computes (Thompson: 63.70 ±
    # 0.08)
    metadata: ClassVar[dict[str, Any]] = {
        **TrialVectorEnv.metadata,
        "reference": {"random": 50.0, "ideal": 64.918},
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        arms: int = 2,
        pulls: int = 100,
        swapping: Swapping | None = None,
        **kwargs: Any,
    ) -> None:
        """swapping: of two arms, see `bandit_reversal`; None for arms that stay as they are."""
        if arms < 2:
            raise ValueError(f"arms is {arms}, expected at least 2")
        super().__init__(num_envs, trials=pulls, **kwargs)
        self.arms = arms
        self.swapping = swapping
        self.last_action = self.state_array("last_action", start=-1, dtype=np.int64)
        self.last_reward = self.state_array("last_reward", dtype=np.float32)
        space = gym.spaces.Box(0.0, 1.0, (arms + 2,), np.float32)
        self.metadata["actions"] = numbered("arm", arms)
        # a choice is seen one-hot in the step after it
        last = [f"last choice {arm}" for arm in range(arms)]
        self.metadata["channels"] = (*last, "last reward", "share of the episode")
        self.set_spaces(space, gym.spaces.Discrete(arms))

    def draw(self, rng: np.random.Generator) -> Drawn:
        """pays [trials, arms]: whether each arm would pay at each pull."""
        if self.swapping is not None:
            pays = swapping_pays(rng, self.trials, self.swapping)
            return {"pays": pays}

        # A number for the probability of each arm, then one for each arm and pull.
        luck = rng.random((self.trials + 1, self.arms), np.float32)
        p = luck[0]
        return {"pays": luck[1:] < p}

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Pay what the chosen arm pays; each pull is a trial."""
        over = np.ones(self.num_envs, bool)
        pays = self.now("pays")

        self.last_action = actions.astype(np.int64)
        self.last_reward = pays[self.rows, actions].astype(np.float32)

        return self.last_reward, over, {}

    def sense(self) -> np.ndarray:
        """The last action and reward, and the time."""
        action = one_hot(self.last_action, self.arms)
        reward = self.last_reward
        passed = self.passed()
        return np.column_stack((action, reward, passed))

    def ideal(self) -> Policy:
        """The best policy that is known for these settings."""
        if self.swapping is not None:
            return better_arm(*self.swapping)
        if self.arms == 2 and self.trials <= MOST_PULLS:
            return optimal(self.trials)
        rng = np.random.default_rng(0)
        return thompson(rng)


def bandit_reversal(
    num_envs: int = 1,
    *,
    pulls: int = 200,
    p_good: float = 0.8,
    hazard: float = 1 / 40,
    **kwargs: Any,
) -> Bandit:
    """One arm pays with probability 0.8, the other with 0.2; before each pull they swap with
    probability 1/40.

    Observations and actions as in Bandit-v0. The ideal observer is the Bayes filter of the better
    arm: what one arm pays says as much about the other, so that no pull is worth making for what it
    teaches, and the better bet is the best policy. p_good: the better arm's probability to pay; the
    other's is 1 - p_good. hazard: of a swap, per pull.
    """
    if not (0.5 <= p_good <= 1 and 0 <= hazard <= 1):
        raise ValueError(
            f"p_good is {p_good} and hazard {hazard}, expected p_good from 0.5 to 1, hazard from "
            "0 to 1"
        )
    # random: exact (100.03 ± 0.02 over 100,000 episodes); ideal: mean of 100,000 episodes, ± 0.025
    # (standard error)
    reference = {"random": 100.0, "ideal": 146.88}
    swapping = Swapping(p_good, hazard)
    return Bandit(num_envs, pulls=pulls, swapping=swapping, reference=reference, **kwargs)


def swapping_pays(rng: np.random.Generator, pulls: int, swapping: Swapping) -> np.ndarray:
    """Whether each of two arms that swap would pay at each pull, bool [pulls, 2]."""
    luck = rng.random((pulls, 3), np.float32)

    swaps = luck[:, 0] < swapping.hazard
    # Either arm may be the better one at first.
    swaps[0] = luck[0, 0] < 0.5
    better = np.logical_xor.accumulate(swaps)

    is_better = better[:, None] == [False, True]
    p = np.where(is_better, swapping.p_good, 1 - swapping.p_good)

    return luck[:, 1:] < p


@lru_cache(maxsize=2)
def bayes_optimal(pulls: int) -> tuple[float, np.ndarray, np.ndarray]:
    """The highest expected return of two arms, p ~ U(0, 1) each, and where it takes arm 1: dynamic
    programming.

    A state has w, l wins and losses of each arm; n = w0 + l0 + w1 + l1 pulls made, and arm a pays
    with (w + 1) / (w + l + 2):
        V_n = max over a of  p_a (1 + V_n+1[w_a + 1]) + (1 - p_a) V_n+1[l_a + 1],   V_pulls = 0
    Returns V_0, the choices bool, flat, stage after stage, each [n + 1, n + 1, n + 1] over w0, l0,
    w1, and the stages' first indices int [pulls + 1]. Impossible states (w0 + l0 + w1 > n) hold
    anything. Bellman 1956; Berry & Fristedt 1985.
    """
    value = np.zeros((pulls + 1,) * 3)
    choices = []
    for n in reversed(range(pulls)):
        # Axes of the grid: wins of arm 0, its losses, wins of arm 1.
        w0, l0, w1 = np.ogrid[: n + 1, : n + 1, : n + 1]
        pulls_of_1 = n - w0 - l0
        p0 = (w0 + 1) / (w0 + l0 + 2)

        # Impossible states, pulls_of_1 < w1, must not divide by 0.
        p1 = (w1 + 1) / np.maximum(pulls_of_1 + 2, w1 + 1)

        # A win or a loss moves by one along its axis; l1 has none, so that a loss of arm 1 stays.
        q0 = p0 * (1 + value[1:, :-1, :-1]) + (1 - p0) * value[:-1, 1:, :-1]
        q1 = p1 * (1 + value[:-1, :-1, 1:]) + (1 - p1) * value[:-1, :-1, :-1]
        value = np.maximum(q0, q1)
        choices.append((q1 > q0).ravel())
    sizes = [(n + 1) ** 3 for n in range(pulls)]
    first = np.cumsum([0, *sizes])

    return value.item(), np.concatenate(choices[::-1]), first


def optimal(pulls: int) -> Policy:
    """The Bayes-optimal choices of `bayes_optimal`, from wins and losses counted."""
    _, choices, first = bayes_optimal(pulls)
    counts: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal counts
        counts = count(counts, obs, begun)
        w0, l0 = counts[:, 0].T
        w1 = counts[:, 1, 0]
        n = counts.sum((1, 2))

        # A stage is a cube with axes w0, l0, w1 of length n + 1, laid out flat.
        state = first[n] + (w0 * (n + 1) + l0) * (n + 1) + w1

        # Behind the last stage the episode is over, and any choice will do.
        return choices.take(state, mode="clip").astype(np.int64)

    return policy


def count(counts: np.ndarray | None, obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
    """Wins and losses of each arm, int [N, arms, 2], with the pull that an observation shows."""
    chosen = obs[:, :-2] > 0
    won = obs[:, -2, None] > 0
    # The last axis holds wins and losses.
    pull = np.stack((chosen & won, chosen & ~won), 2)
    total = pull if counts is None else counts + pull

    return np.where(begun[:, None, None], 0, total)


def thompson(rng: np.random.Generator) -> Policy:
    """Thompson sampling: the arm whose draw from its posterior Beta(1 + wins, 1 + losses) is
    highest. Thompson 1933.
    """
    counts: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal counts
        counts = count(counts, obs, begun)
        wins = counts[:, :, 0]
        losses = counts[:, :, 1]

        return rng.beta(1 + wins, 1 + losses).argmax(1)

    return policy


def better_arm(p_good: float, hazard: float) -> Policy:
    """The arm that is more probably the better one, b = P(arm 1 is), after each pull and a possible
    swap:

    b ← b P(r | arm 1) / Σ,   b ← (1 - h) b + h (1 - b)      Bayes filter of a two-state hidden
    Markov model
    """
    belief: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal belief
        if belief is None:
            belief = np.full(len(obs), 0.5)

        # Arm 1 paid, or arm 0 did not.
        supports_1 = (obs[:, 1] > 0) == (obs[:, 2] > 0)
        likelihood = np.where(supports_1, p_good, 1 - p_good)
        after = two_state_filter(belief, likelihood, hazard)
        belief = np.where(begun, 0.5, after)

        return (belief > 0.5).astype(np.int64)

    return policy


make: Callable[..., gym.Env] = partial(SingleEnv, Bandit)
make_reversal: Callable[..., gym.Env] = partial(SingleEnv, bandit_reversal)
