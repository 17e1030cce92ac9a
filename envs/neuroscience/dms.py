"""DMS-v0: delayed match to sample, the classic test of working memory."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.infos import Info
from bio_rl.vector.labels import numbered
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Periods, Policy, TrialVectorEnv, one_hot

ENV_IDS = {
    "bio_rl/DMS-v0": {"entry_point": ":make", "vector_entry_point": ":DMS", "max_episode_steps": 53}
}
FIXATE, MATCH, NON_MATCH = range(3)
COST = 0.1  # of a second without fixation
TAIL = 4.0  # noise is cut at so many standard deviations, which keeps observations in a finite Box
LEAST_NOISE = 0.1  # that the ideal observer reckons with: without any noise its σ does not matter


class DMS(TrialVectorEnv):
    """Look at a sample, hold it in mind through a delay, and say whether the test stimulus is the
    same.

    A trial: fixation 300 ms, sample 500 ms, delay 500 to 4000 ms (uniform, drawn for each trial),
    test 500 ms; with the default dt of 100 ms a step these are 3, 5, 5 to 40 and 5 steps. Step t of
    a trial, from 0, shows the sample at 3 <= t < 8 and the test at 8 + delay <= t < 13 + delay; an
    action is judged at the step whose observation it answers. The first choice within the test ends
    the trial, as does the last step of the test. In half of the trials the test is the sample, else
    each of the other stimuli is as likely.

    Observations, float32 [N, stimuli + 2]: fixation spot (1 before the test), the stimulus one-hot
    (0 between stimuli) with Gaussian noise of deviation `noise`, go cue (1 in the test); all 0
    after the last trial. Actions, int [N]: 0 fixate, 1 match, 2 non-match. Reward: +1 for the
    correct choice, 0 for a wrong one or none; breaking fixation, that is choosing before the test,
    costs 0.1 for each second of it (0.01 a step), and the trial goes on.

    With other settings give `max_episode_steps` too: `trials` times the longest trial.

    Task: Miller, Erickson & Desimone 1996, with one test stimulus. The ideal observer weighs every
    step of the sample and the test (Bayes); without noise it is always right, with noise its score
    is to be measured.
    """

    # both closed forms. random: -0.01 x 2/3 x 30.5 steps before the test + (1 - 3^-5) / 2; ideal:
    # without noise
    metadata: ClassVar[dict[str, Any]] = {
        **TrialVectorEnv.metadata,
        "actions": ("fixate", "match", "non-match"),
        "reference": {"random": 0.29461, "ideal": 1.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        trials: int = 1,
        stimuli: int = 4,
        noise: float = 0.0,
        delay: tuple[float, float] = (500.0, 4000.0),
        dt: float = 100.0,
        **kwargs: Any,
    ) -> None:
        """stimuli: how many there are. noise: deviation of their channels. delay: shortest, longest
        in ms. dt: ms per step.
        """
        if stimuli < 2 or noise < 0:
            raise ValueError(
                f"stimuli is {stimuli} and noise {noise}, expected at least 2 stimuli and noise "
                "from 0"
            )
        super().__init__(num_envs, trials=trials, numbers=4 * trials, **kwargs)

        self.stimuli = stimuli
        self.noise = noise
        self.periods = Periods(dt, fixation=300, sample=500, delay=delay, test=500)

        low = np.zeros(stimuli + 2, np.float32)
        high = np.ones(stimuli + 2, np.float32)
        low[1:-1] -= TAIL * noise
        high[1:-1] += TAIL * noise
        self.metadata["channels"] = ("fixation", *numbered("stimulus", stimuli), "go cue")
        self.metadata["dt"] = dt / 1000
        self.set_spaces(gym.spaces.Box(low, high), gym.spaces.Discrete(3))

    def decode(self, u: np.ndarray) -> Drawn:
        """ends [n, trials, 4] of the periods, from a trial's start; sample, test and match (is it
        the same) [n, trials].
        """
        # The last axis holds a trial's four numbers: delay, sample, another stimulus, match.
        u = u.reshape(-1, self.trials, 4)
        spans = self.periods.high - self.periods.low + 1
        longer = (u[:, :, :1] * spans).astype(np.int64)
        lengths = self.periods.low + longer

        sample = (u[:, :, 1] * self.stimuli).astype(np.int64)

        # Steps from the sample to the next but so many stimulus: any but the sample, all alike.
        other = (u[:, :, 2] * (self.stimuli - 1)).astype(np.int64)
        match = u[:, :, 3] < 0.5
        different = (sample + 1 + other) % self.stimuli
        return {
            "ends": lengths.cumsum(2),
            "sample": sample,
            "test": np.where(match, sample, different),
            "match": match,
        }

    def draw(self, rng: np.random.Generator) -> Drawn:
        """noise [trials, steps, stimuli], standard normal, if there is any."""
        if not self.noise:
            return {}
        shape = (self.trials, self.periods.longest, self.stimuli)
        return {"noise": rng.standard_normal(shape, np.float32)}

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Judge choices in the test, and charge those before it."""
        # The last two periods are the delay and the test.
        start, end = self.now("ends")[:, -2:].T
        testing = self.t >= start
        chooses = actions != FIXATE
        correct = np.where(self.now("match"), MATCH, NON_MATCH)

        breaks = chooses & ~testing
        over = (chooses & testing) | (self.t + 1 >= end)

        right = testing & (actions == correct)
        cost = COST * self.periods.dt / 1000

        return right - cost * breaks, over, {}

    def sense(self) -> np.ndarray:
        """The fixation spot, the stimulus with its noise, and the go cue."""
        going_on = self.going_on()
        phase = self.periods.phase(self.t, self.now("ends"))
        phase = np.where(going_on, phase, -1)
        sampling = phase == self.periods.at("sample")
        testing = phase == self.periods.at("test")

        shown = np.where(testing, self.now("test"), -1)
        shown = np.where(sampling, self.now("sample"), shown)

        obs = np.empty((self.num_envs, self.stimuli + 2), np.float32)
        obs[:, 0] = going_on & ~testing
        obs[:, 1:-1] = one_hot(shown, self.stimuli)
        obs[:, -1] = testing
        if self.noise:
            obs[:, 1:-1] += self.noise_now() * going_on[:, None]
        return obs

    def noise_now(self) -> np.ndarray:
        """The noise of each stimulus's channel at the moment, [N, stimuli]."""
        trial = self.present_trial()
        normal = self.drawn["noise"][self.rows, trial, self.t]
        return np.float32(self.noise) * normal.clip(-TAIL, TAIL)

    def ideal(self) -> Policy:
        """The choice that is more probably right."""
        return compare(self.periods, self.stimuli, self.noise)


def compare(periods: Periods, stimuli: int, noise: float) -> Policy:
    """Fixate, and in the last step of the test choose what is more probable given all steps of the
    sample and the test.

        P(match) / P(non-match) = p·q / ((1 - p·q) / (K - 1)),
        p = softmax(Σ_sample x / σ²),   q = softmax(Σ_test x / σ²)

    This is Bayes' rule for Gaussian noise (that its tails are cut is left out: 6 of 100,000
    values); without noise any σ will do.
    """
    variance = max(noise, LEAST_NOISE) ** 2

    # The sample's time is known, the end of the delay is not.
    first = periods.low[periods.at("fixation")]
    last = first + periods.low[periods.at("sample")]
    length = periods.low[periods.at("test")]
    t = sample = test = tested = np.zeros(0)

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal t, sample, test, tested
        n = len(obs)
        if len(t) != n:
            t = np.zeros(n)
            tested = np.zeros(n)
            sample = np.zeros((n, stimuli))
            test = np.zeros((n, stimuli))
        anew = begun | (tested == length)
        t = np.where(anew, 0, t + 1)
        for memory in (sample, test, tested):
            memory[anew] = 0.0
        testing = obs[:, -1] > 0.5
        evidence = obs[:, 1:-1] / variance

        sample += evidence * ((t >= first) & (t < last))[:, None]
        test += evidence * testing[:, None]
        tested += testing

        same = (_softmax(sample) * _softmax(test)).sum(1)
        choice = np.where(same * (stimuli - 1) > 1 - same, MATCH, NON_MATCH)

        return np.where(tested == length, choice, FIXATE)

    return policy


def _softmax(x: np.ndarray) -> np.ndarray:
    # Less the largest, so that nothing overflows.
    largest = x.max(1, keepdims=True)
    e = np.exp(x - largest)
    total = e.sum(1, keepdims=True)
    return e / total


make: Callable[..., gym.Env] = partial(SingleEnv, DMS)
