"""TwoStep-v0: the task that tells planning from repeating what paid, and the table that shows which
of them an agent does.
"""

from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.native import Info, SingleEnv
from bio_rl.vector.trials import Drawn, Policy, TrialVectorEnv, one_hot

ENV_IDS = {
    "bio_rl/TwoStep-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":TwoStep",
        "max_episode_steps": 200,
    }
}


class TwoStep(TrialVectorEnv):
    """Choose the action that mostly leads to the place that pays now: 0 to place A, 1 to place B,
    or by chance to the other.

    A trial is two steps. At the first (t = 0) the action is the choice: it leads to its own place
    with probability p_common, else to the other. At the second (t = 1) the place is seen, the
    reward, 1 or 0, is paid whatever the action, and it is seen in the next observation. One place
    pays with probability p_good, the other with 1 - p_good; either may be the better one at first,
    and before each later trial they swap with probability hazard.

    Observations, float32 [N, 7]: at the choice, at place A, at place B (one-hot); the last choice
    one-hot, kept until the next is made; the reward of the trial before, at a choice only; the
    share of the episode that has passed. All but the first are 0 at the start. Actions, int [N]: 0
    or 1. info["better"], int [N], is the better place of the trial, which no observation shows. The
    ideal observer is the Bayes filter of the better place: what one place pays says as much about
    the other, so that no choice is worth making for what it teaches. Daw et al. 2011, Neuron 69; as
    in Wang et al. 2018, Nature Neuroscience 21: the first step alone is a choice.
    """

    # random: exact; ideal: mean of 100,000 episodes, ± 0.015 (standard error)
    metadata: ClassVar[dict[str, Any]] = {
        **TrialVectorEnv.metadata,
        "reference": {"random": 50.0, "ideal": 70.60},
    }
    memory_fields = ("choice", "place", "reward")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        trials: int = 100,
        p_common: float = 0.8,
        p_good: float = 0.9,
        hazard: float = 0.025,
        **kwargs: Any,
    ) -> None:
        """p_common, p_good: from 0.5 to 1. hazard: of a swap, per trial. The defaults are those of
        Wang et al. 2018.
        """
        for name, p in (("p_common", p_common), ("p_good", p_good)):
            if not 0.5 <= p <= 1:
                raise ValueError(f"{name} is {p}, expected a probability from 0.5 to 1")
        if not 0 <= hazard <= 1:
            raise ValueError(f"hazard is {hazard}, expected a probability from 0 to 1")
        self.p_common, self.p_good, self.hazard = p_common, p_good, hazard
        super().__init__(num_envs, trials=trials, **kwargs)
        self._set_spaces(gym.spaces.Box(0.0, 1.0, (7,), np.float32), gym.spaces.Discrete(2))

    def _draw(self, rng: np.random.Generator) -> Drawn:
        """better [trials]: the better place; common [trials]: transition or not; pays [trials, 2]:
        what each place would.
        """
        luck = rng.random((self.trials, 3), np.float32)
        swaps = luck[:, 0] < self.hazard
        swaps[0] = luck[0, 0] < 0.5  # either place may be the better one at first
        better = np.logical_xor.accumulate(swaps)
        good = (
            luck[:, 2] < self.p_good
        )  # the better place pays exactly when the other does not: only one is visited
        pays = (better[:, None] == [False, True]) == good[:, None]
        return {
            "better": better.astype(np.int64),
            "common": luck[:, 1] < self.p_common,
            "pays": pays,
        }

    def _forget(self, rows: np.ndarray) -> None:
        if not hasattr(self, "choice"):
            self.choice, self.place = np.zeros((2, self.num_envs), np.int64)
            self.reward = np.zeros(self.num_envs, np.float32)
        self.choice[rows] = self.place[rows] = -1
        self.reward[rows] = 0.0

    def _react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        first = self.t == 0
        paid = self.now("pays")[self.rows, self.place] & ~first
        self.choice = np.where(first, actions, self.choice)
        self.place = np.where(first, np.where(self.now("common"), actions, 1 - actions), -1)
        self.reward = paid.astype(np.float32)
        return self.reward, ~first, {"better": self.now("better")}

    def _sense(self) -> np.ndarray:
        passed = (self.trial / self.trials).astype(np.float32)
        return np.column_stack(
            (one_hot(self.place + 1, 3), one_hot(self.choice, 2), self.reward, passed)
        )

    def ideal(self) -> Policy:
        return better_place(self.p_good, self.hazard)


def better_place(p_good: float, hazard: float) -> Policy:
    """The action that mostly leads to the place that is more probably the better one, b = P(place B
    is), filtered per trial:

    b ← b P(r | B) / Σ,   b ← (1 - h) b + h (1 - b)      Bayes filter of a two-state hidden Markov
    model

    The transitions are known: a rare one that is paid speaks for the action that was not taken.
    """
    belief = place = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal belief, place
        if belief is None:
            belief, place = np.full(len(obs), 0.5), np.zeros(len(obs), bool)
        supports_b = place == (obs[:, 5] > 0)  # B paid, or A did not
        likelihood = np.where(supports_b, p_good, 1 - p_good)
        after = belief * likelihood / (belief * likelihood + (1 - belief) * (1 - likelihood))
        after = (1 - hazard) * after + hazard * (1 - after)
        belief = np.where(
            begun, 0.5, np.where(obs[:, 0] > 0, after, belief)
        )  # rewards are seen at the choice
        place = obs[:, 2] > 0
        return (belief > 0.5).astype(np.int64)

    return policy


def stay_probabilities(obs: np.ndarray, better: np.ndarray | None = None) -> np.ndarray:
    """How often the next choice repeats the last, [2, 2]: (unrewarded, rewarded) by (rare, common
    transition).

    obs: [T, N, 7], the observations of T successive steps in N environments, of one or many
    episodes, in any autoreset mode. better: int [T, N], info["better"] of the steps that returned
    them (anything at resets). NaN where a cell has no trial. A learner that repeats what paid
    (model-free) shows an effect of reward alone; one that plans with the transitions (model-based)
    shows the interaction of both: see `interaction`.    Daw et al. 2011, fig. 2 This holds only
    with `better`, by which choices of the better place and of the other are tabulated apart, then
    averaged. Without it the table is biased: places pay in blocks, so that a good choice, which is
    repeated anyway, is also the one that ends more often in (common, rewarded) and (rare,
    unrewarded).    Akam, Costa & Dayan 2015, PLoS Comput Biol 11
    """
    before, between, after = obs[:-2], obs[1:-1], obs[2:]
    at_place, chosen = before[..., 1:3], before[..., 3:5]
    pairs = (
        at_place.any(-1) & after[..., 1:3].any(-1) & between[..., 3:5].any(-1)
    )  # the last: no episode began in between
    stay = (chosen == after[..., 3:5]).all(-1)
    common = (at_place == chosen).all(-1)
    rewarded = between[..., 5] > 0
    strata = (
        [pairs]
        if better is None
        else [pairs & ((chosen.argmax(-1) == better[:-2]) == good) for good in (True, False)]
    )
    tables = np.full((len(strata), 2, 2), np.nan)
    for s, i, j in np.ndindex(tables.shape):
        cell = strata[s] & (rewarded == i) & (common == j)
        if cell.any():
            tables[s, i, j] = stay[cell].mean()
    return tables.mean(0)


def interaction(table: np.ndarray) -> float:
    """Reward x transition of a table of `stay_probabilities`, -2 to 2: 0 for model-free learning,
    positive for planning.
    """
    return float(table[1, 1] - table[1, 0] - table[0, 1] + table[0, 0])


make = partial(SingleEnv, TwoStep)
