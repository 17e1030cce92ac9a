"""TwoStep-v0: the task that tells planning from repeating what paid, and the table that shows which
of them an agent does.
"""

from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.envs.neuroscience._filters import two_state_filter
from bio_rl.vector.infos import Info
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Policy, TrialVectorEnv, one_hot

ENV_IDS = {
    "bio_rl/TwoStep-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":TwoStep",
        "max_episode_steps": 200,
    }
}

NONE = -1  # no choice yet, no place


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
        "channels": (
            "at the choice",
            "at place A",
            "at place B",
            "last choice A",
            "last choice B",
            "last reward",
            "share of the episode",
        ),
        "actions": ("towards A", "towards B"),
        "reference": {"random": 50.0, "ideal": 70.60},
    }

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
        super().__init__(num_envs, trials=trials, **kwargs)
        self.p_common = p_common
        self.p_good = p_good
        self.hazard = hazard
        self.choice = self.state_array("choice", start=NONE, dtype=np.int64)
        self.place = self.state_array("place", start=NONE, dtype=np.int64)
        self.reward = self.state_array("reward", dtype=np.float32)
        self.set_spaces(gym.spaces.Box(0.0, 1.0, (7,), np.float32), gym.spaces.Discrete(2))

    def draw(self, rng: np.random.Generator) -> Drawn:
        """better [trials]: the better place; common [trials]: transition or not; pays [trials, 2]:
        what each place would.
        """
        luck = rng.random((self.trials, 3), np.float32)
        swaps = luck[:, 0] < self.hazard
        swaps[0] = luck[0, 0] < 0.5  # either place may be the better one at first
        better = np.logical_xor.accumulate(swaps)
        is_better = better[:, None] == [False, True]

        # The better place pays exactly when the other does not: only one of them is visited.
        good = luck[:, 2] < self.p_good

        return {
            "better": better.astype(np.int64),
            "common": luck[:, 1] < self.p_common,
            "pays": is_better == good[:, None],
        }

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Lead to a place at the first step, and pay there at the second."""
        first = self.t == 0
        pays = self.now("pays")[self.rows, self.place]
        common = self.now("common")
        led_to = np.where(common, actions, 1 - actions)

        self.choice = np.where(first, actions, self.choice)
        self.place = np.where(first, led_to, NONE)
        paid = pays & ~first
        self.reward = paid.astype(np.float32)

        info = {"better": self.now("better")}
        return self.reward, ~first, info

    def sense(self) -> np.ndarray:
        """The place, the choice, the reward and the time."""
        parts = (
            one_hot(self.place + 1, 3),
            one_hot(self.choice, 2),
            self.reward,
            self.passed(),
        )
        return np.column_stack(parts)

    def ideal(self) -> Policy:
        """The Bayes filter of the better place."""
        return better_place(self.p_good, self.hazard)


def better_place(p_good: float, hazard: float) -> Policy:
    """The action that mostly leads to the place that is more probably the better one, b = P(place B
    is), filtered per trial (see `two_state_filter`).

    The transitions are known: a rare one that is paid speaks for the action that was not taken.
    """
    belief: np.ndarray | None = None
    at_b: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal belief, at_b
        if belief is None or at_b is None:
            belief = np.full(len(obs), 0.5)
            at_b = np.zeros(len(obs), bool)

        # B paid, or A did not.
        supports_b = at_b == (obs[:, 5] > 0)
        likelihood = np.where(supports_b, p_good, 1 - p_good)
        after = two_state_filter(belief, likelihood, hazard)

        # Rewards are seen at the choice.
        belief = np.where(obs[:, 0] > 0, after, belief)
        belief[begun] = 0.5
        at_b = obs[:, 2] > 0

        return (belief > 0.5).astype(np.int64)

    return policy


def stay_probabilities(obs: np.ndarray, better: np.ndarray | None = None) -> np.ndarray:
    """How often the next choice repeats the last, [2, 2]: (unrewarded, rewarded) by (rare, common
    transition).

    obs: [T, N, 7], the observations of T successive steps in N environments, of one or many
    episodes, in any autoreset mode. better: int [T, N], info["better"] of the steps that returned
    them (anything at resets). NaN where a cell has no trial. A learner that repeats what paid
    (model-free) shows an effect of reward alone; one that plans with the transitions (model-based)
    shows the interaction of both: see `interaction`. Daw et al. 2011, fig. 2.

    This holds only with `better`, by which choices of the better place and of the other are
    tabulated apart, then averaged. Without it the table is biased: places pay in blocks, so that a
    good choice, which is repeated anyway, is also the one that ends more often in (common,
    rewarded) and (rare, unrewarded). Akam, Costa & Dayan 2015, PLoS Comput Biol 11.
    """
    # Three successive observations: at the place, at the next choice, at the next place.
    before = obs[:-2]
    between = obs[1:-1]
    after = obs[2:]
    at_place = before[..., 1:3]
    chosen = before[..., 3:5]

    # A choice stands in between, unless an episode began there.
    pairs = at_place.any(-1) & after[..., 1:3].any(-1) & between[..., 3:5].any(-1)

    stay = (chosen == after[..., 3:5]).all(-1)
    common = (at_place == chosen).all(-1)
    rewarded = between[..., 5] > 0

    if better is None:
        strata = [pairs]
    else:
        good = chosen.argmax(-1) == better[:-2]
        strata = [pairs & good, pairs & ~good]

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
    unrewarded, rewarded = table
    rare, common = rewarded
    rare_without, common_without = unrewarded
    effect = common - rare - common_without + rare_without
    return float(effect)


make = partial(SingleEnv, TwoStep)
