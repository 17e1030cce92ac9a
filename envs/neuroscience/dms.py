"""DMS-v0: delayed match to sample, the classic test of working memory."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.native import Info, SingleEnv
from bio_rl.vector.trials import Drawn, Periods, Policy, one_hot
from bio_rl.vector.uniform_trials import UniformTrialVectorEnv

ENV_IDS = {
    "bio_rl/DMS-v0": {"entry_point": ":make", "vector_entry_point": ":DMS", "max_episode_steps": 53}
}
FIXATE, MATCH, NON_MATCH = range(3)
COST = 0.1  # of a second without fixation
TAIL = 4.0  # noise is cut at so many standard deviations, which keeps observations in a finite Box


class DMS(UniformTrialVectorEnv):
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
        **UniformTrialVectorEnv.metadata,
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
                f"stimuli is {stimuli} and noise {noise}, expected at least 2 stimuli and noise from 0"
            )
        self.stimuli, self.noise = stimuli, noise
        self.periods = Periods(dt, fixation=300, sample=500, delay=delay, test=500)
        self.numbers = 4 * trials
        super().__init__(num_envs, trials=trials, **kwargs)
        low, high = np.zeros(stimuli + 2, np.float32), np.ones(stimuli + 2, np.float32)
        low[1:-1] -= TAIL * noise
        high[1:-1] += TAIL * noise
        self._set_spaces(gym.spaces.Box(low, high), gym.spaces.Discrete(3))

    def _decode(self, u: np.ndarray) -> Drawn:
        """ends [n, trials, 4] of the periods, from a trial's start; sample, test and match (is it
        the same) [n, trials].
        """
        u = u.reshape(-1, self.trials, 4)
        lengths = self.periods.low + (
            u[:, :, :1] * (self.periods.high - self.periods.low + 1)
        ).astype(np.int64)
        sample, other = (
            (u[:, :, 1] * self.stimuli).astype(np.int64),
            (u[:, :, 2] * (self.stimuli - 1)).astype(np.int64),
        )
        match = u[:, :, 3] < 0.5
        test = np.where(match, sample, (sample + 1 + other) % self.stimuli)
        return {"ends": lengths.cumsum(2), "sample": sample, "test": test, "match": match}

    def _bulk(self, rng: np.random.Generator) -> Drawn:
        """noise [trials, steps, stimuli], standard normal, where there is any."""
        shape = (self.trials, self.periods.longest, self.stimuli)
        return {"noise": rng.standard_normal(shape, np.float32)} if self.noise else {}

    def _react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        start, end = self.now("ends")[:, -2:].T
        testing, chooses = self.t >= start, actions != FIXATE
        correct = np.where(self.now("match"), MATCH, NON_MATCH)
        breaks = chooses & ~testing
        over = (chooses & testing) | (self.t + 1 >= end)
        return (testing & (actions == correct)) - COST * self.periods.dt / 1000 * breaks, over, {}

    def _sense(self) -> np.ndarray:
        phase = np.where(self.trial < self.trials, self.periods.phase(self.t, self.now("ends")), -1)
        sampling, testing = phase == self.periods.at("sample"), phase == self.periods.at("test")
        shown = np.where(sampling, self.now("sample"), np.where(testing, self.now("test"), -1))
        obs = np.empty((self.num_envs, self.stimuli + 2), np.float32)
        obs[:, 0], obs[:, -1] = (phase >= 0) & ~testing, testing
        obs[:, 1:-1] = one_hot(shown, self.stimuli)
        if self.noise:
            now = self.drawn["noise"][self.rows, np.minimum(self.trial, self.trials - 1), self.t]
            obs[:, 1:-1] += np.float32(self.noise) * now.clip(-TAIL, TAIL) * (phase >= 0)[:, None]
        return obs

    def ideal(self) -> Policy:
        return compare(self.periods, self.stimuli, self.noise)


def compare(periods: Periods, stimuli: int, noise: float) -> Policy:
    """Fixate, and in the last step of the test choose what is more probable given all steps of the
    sample and the test:

    P(match) / P(non-match) = p·q / ((1 - p·q) / (K - 1)),   p = softmax(Σ_sample x / σ²),   q =
    softmax(Σ_test x / σ²)

    Bayes' rule for Gaussian noise (that its tails are cut is left out: 6 of 100,000 values);
    without noise any σ will do.
    """
    variance = max(noise, 0.1) ** 2
    first, last = (
        periods.low[0],
        periods.low[0] + periods.low[1],
    )  # of the sample; its time is known, the delay's end is not
    length = periods.low[periods.at("test")]
    t = sample = test = seen = np.zeros(0)

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal t, sample, test, seen
        if len(t) != len(obs):
            t, seen = np.zeros(len(obs)), np.zeros(len(obs))
            sample, test = np.zeros((2, len(obs), stimuli))
        anew = begun | (seen == length)
        t = np.where(anew, 0, t + 1)
        for x in (sample, test, seen):
            x[anew] = 0.0
        testing, x = obs[:, -1] > 0.5, obs[:, 1:-1] / variance
        sample += x * ((t >= first) & (t < last))[:, None]
        test += x * testing[:, None]
        seen += testing
        same = (_softmax(sample) * _softmax(test)).sum(1)
        choice = np.where(same * (stimuli - 1) > 1 - same, MATCH, NON_MATCH)
        return np.where(seen == length, choice, FIXATE)

    return policy


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


make: Callable[..., gym.Env] = partial(SingleEnv, DMS)
