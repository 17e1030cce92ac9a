"""CueAccumulation-v0: count cues that come as spikes, remember which side had more, and turn
there.
"""

from functools import partial
from math import comb, prod
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.discovery import suggestion
from bio_rl.vector.infos import Info
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Policy, TrialVectorEnv

ENV_IDS = {
    "bio_rl/CueAccumulation-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":CueAccumulation",
        "max_episode_steps": 54,
    }
}

# Times in ms, rates in Hz and the number of neurons of a group: Bellec et al. 2020.
CUE = 100
GAP = 50
DELAY = (500, 1500)
DECISION = 150
RATE = 40.0  # of a neuron of an active group
BACKGROUND = 10.0  # of a neuron of the background group
GROUPS = 4  # left cue, right cue, recall cue, background
GROUP_NAMES = ("left cue", "right cue", "recall cue", "background")
GROUP = 10
# Spikes in a ms of a neuron of each group while the group is active.
EXPECTED = np.array([RATE, RATE, RATE, BACKGROUND]) / 1000
LEVELS = 1 << 16  # of the random numbers that spikes are drawn with
CODES = ("spikes", "rates")


class CueAccumulation(TrialVectorEnv):
    """Cues appear on the left and on the right, one after the other; after a delay, turn to the
    side that had more of them.

    An episode is one trial: `cues` times a cue of 100 ms on one side (either as likely) and 50 ms
    without; a delay of 500 to 1500 ms (uniform); a decision period of 150 ms, with the recall cue.
    With the default dt of 50 ms a step these are 7 x (2 + 1), 10 to 30, and 3 steps: cue k is on at
    steps 3k <= t < 3k + 2, from 0. The action of the decision period's last step is the turn, and
    ends the episode; others do nothing.

    Observations, float32 [N, 40]: how often each neuron spiked in the step's dt ms, at most once a
    ms; four groups of ten fire at 40 Hz while the left cue, the right cue or the recall cue is on,
    else not at all, and at 10 Hz always (background). With dt = 1 these are the paper's spikes.
    With code = "rates" they are float32 [N, 4]: each group's expected spikes per neuron. All 0 when
    it is over. Actions, int [N]: 0 left, 1 right. Reward: +1 for the right turn, -1 for the wrong
    one.

    With other settings give `max_episode_steps` too: the longest trial.

    Task: Bellec et al. 2020, Nature Communications 11, after Morcos & Harvey 2016. The ideal
    observer tells each cue's side from the spikes of its 100 ms (Bayes: a silent group excludes its
    side), and takes the majority.
    """

    # both exact: a turn is a coin's; an active group stays silent for a whole cue with probability
    # 0.96^1000 = 2e-18
    metadata: ClassVar[dict[str, Any]] = {
        **TrialVectorEnv.metadata,
        "actions": ("left", "right"),
        "reference": {"random": 0.0, "ideal": 1.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        cues: int = 7,
        dt: int = 50,
        code: str = "spikes",
        **kwargs: Any,
    ) -> None:
        """cues: an odd number. dt: ms per step, a divisor of 50. code: spikes or rates."""
        _check(cues, dt, code)
        super().__init__(num_envs, trials=1, numbers=cues + 1, **kwargs)
        self.cues = cues
        self.dt = int(dt)
        self.spikes = code == "spikes"

        # Lengths in steps; a slot is a cue and the gap after it.
        self.cue = CUE // self.dt
        self.slot = (CUE + GAP) // self.dt
        self.decision = DECISION // self.dt
        shortest, longest = (ms // self.dt for ms in DELAY)
        self.shortest = cues * self.slot + shortest + self.decision
        self.longest = cues * self.slot + longest + self.decision
        self.counts = np.stack([spike_counts(p, self.dt) for p in EXPECTED])
        most = np.repeat(self.counts.max(1), GROUP) if self.spikes else EXPECTED * dt
        most = most.astype(np.float32)
        space = gym.spaces.Box(np.zeros_like(most), most)
        # as rates each group is one channel
        cells = range(GROUP) if self.spikes else [""]
        names = [f"{group} {cell}".strip() for group in GROUP_NAMES for cell in cells]
        self.metadata["channels"] = tuple(names)
        self.metadata["dt"] = dt / 1000
        self.set_spaces(space, gym.spaces.Discrete(2))

    def decode(self, u: np.ndarray) -> Drawn:
        """right [n, cues]: whether each cue is on the right; end [n]: the episodes' steps."""
        right = u[:, :-1] < 0.5
        lengths = self.longest - self.shortest + 1
        extra = u[:, -1] * lengths
        end = self.shortest + extra.astype(np.int64)
        return {"right": right, "end": end}

    def draw(self, rng: np.random.Generator) -> Drawn:
        """luck [steps, 4, 10]: numbers that the spikes are drawn with, if there are spikes."""
        if not self.spikes:
            return {}
        shape = (self.longest, GROUPS, GROUP)
        # Two bytes hold one of the LEVELS.
        luck = np.frombuffer(rng.bytes(2 * prod(shape)), np.uint16)
        return {"luck": luck.reshape(shape)}

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Judge the turn at the last step."""
        made = self.t + 1
        over = made == self.drawn["end"]
        most_right = self.drawn["right"].sum(1) > self.cues // 2

        correct = actions == most_right
        turn = np.where(correct, 1.0, -1.0)
        reward = np.where(over, turn, 0.0)
        return reward, over, {}

    def active(self) -> np.ndarray:
        """Whether each group fires, bool [N, 4]."""
        which, within = np.divmod(self.t, self.slot)
        cue = (which < self.cues) & (within < self.cue)
        # After the cues the last one is looked up, which is off by then.
        present = np.minimum(which, self.cues - 1)
        right = self.drawn["right"][self.rows, present]
        recall = self.t >= self.drawn["end"] - self.decision
        background = np.ones_like(cue)

        groups = (
            cue & ~right,
            cue & right,
            recall,
            background,
        )
        on = self.going_on()
        return np.stack(groups, 1) & on[:, None]

    def sense(self) -> np.ndarray:
        """The spikes of the groups, or their rates."""
        active = self.active()
        if not self.spikes:
            return active * (EXPECTED * self.dt).astype(np.float32)

        # Only active groups are looked up: at most times that is the background alone.
        row, group = active.nonzero()
        luck = self.drawn["luck"][row, self.t[row], group]

        spikes = np.zeros((self.num_envs, GROUPS, GROUP), np.float32)
        # Neurons of a group share its table of counts.
        spikes[row, group] = self.counts[group[:, None], luck]
        return spikes.reshape(self.num_envs, -1)

    def ideal(self) -> Policy:
        """The majority of the cues as the spikes show them."""
        return majority(self.cues, self.slot)


def _check(cues: int, dt: int, code: str) -> None:
    """Raise ValueError for settings that make no trial."""
    if cues < 1 or cues % 2 == 0:
        raise ValueError(
            f"cues is {cues}, expected an odd number from 1 (1, 3, 5, 7, ...): there is no "
            "majority else"
        )
    if dt < 1 or GAP % dt:
        divisors = [d for d in range(1, GAP + 1) if GAP % d == 0]
        raise ValueError(f"dt is {dt}, expected a divisor of {GAP} ms: {divisors}")
    if code not in CODES:
        raise ValueError(f"no code called {code!r}; {suggestion(code, CODES)}")


def spike_counts(p: float, dt: int) -> np.ndarray:
    """Spikes within dt ms for each of LEVELS equally likely numbers, uint8: binomial, p in each
    ms.
    """
    pmf = [comb(dt, k) * p**k * (1 - p) ** (dt - k) for k in range(dt + 1)]
    u = (np.arange(LEVELS) + 0.5) / LEVELS

    # The inverse of the distribution function: the count at which it passes u.
    limits = np.cumsum(pmf)[:-1]
    counts = np.searchsorted(limits, u, side="right")
    return counts.astype(np.uint8)


def majority(cues: int, slot: int) -> Policy:
    """The side with more cues so far; a cue is on the side whose neurons spiked more meanwhile."""
    t = np.zeros(0, int)  # steps since the episode began
    # Spikes of the right group minus those of the left one, in the time of each cue.
    difference = np.zeros((0, cues))

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal t, difference
        n = len(obs)
        if len(t) != n:
            t = np.zeros(n, int)
            difference = np.zeros((n, cues))
        t = np.where(begun, 0, t + 1)
        difference[begun] = 0.0

        groups = obs.reshape(n, GROUPS, -1)
        left, right = groups[:, :2].sum(2).T

        # After the cues both groups are silent, so that the last slot takes nothing more.
        cue = np.minimum(t // slot, cues - 1)
        difference[np.arange(n), cue] += right - left

        return (np.sign(difference).sum(1) > 0).astype(np.int64)

    return policy


make = partial(SingleEnv, CueAccumulation)
