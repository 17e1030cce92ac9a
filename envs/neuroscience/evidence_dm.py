"""EvidenceDM-v0: random dots in the reaction-time version; when to stop looking, and which way they
move.
"""

from collections.abc import Callable
from functools import cache, partial
from math import erf
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np

from bio_rl.vector.infos import Info
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Periods, Policy, TrialVectorEnv

ENV_IDS = {
    "bio_rl/EvidenceDM-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":EvidenceDM",
        "max_episode_steps": 60,
    }
}
WAIT, LEFT, RIGHT = range(3)
# Shadlen & Newsome 2001; Roitman & Shadlen 2002
COHERENCES = (0.0, 0.032, 0.064, 0.128, 0.256, 0.512)
COST = 0.005  # of a step with dots
TAIL = 4.0  # noise is cut at so many standard deviations, which keeps observations in a finite Box
# The grid of `stopping_rule`, in deviations of a sample: sums of evidence up to WIDEST either way,
# which lies well beyond the bounds, and steps between them up to FARTHEST.
WIDEST = 10
FARTHEST = 8


class EvidenceDM(TrialVectorEnv):
    """Watch dots that move left or right with more or less coherence, and choose the direction once
    the evidence will do.

    A trial: fixation 250 ms, then dots for at most 2750 ms; with the default dt of 50 ms a step
    these are 5 and 55 steps. The dots are on at steps 5 <= t < 60 of a trial, from 0. A choice
    counts from the first step with dots on, and ends the trial; before that it does nothing.
    Without a choice the trial ends with the last step of the dots.

    Observations, float32 [N, 3]: fixation spot (1 before the dots), motion energy to the left and
    to the right, each 0 before the dots, then (1 ∓ c) / 2 plus Gaussian noise, new in each step; c
    is the coherence, negative for motion to the left, its size drawn for each trial from
    `coherences`, its sign a coin's. All are 0 after the last trial. Actions, int [N]: 0 wait, 1
    left, 2 right. Reward: +1 for the correct choice (a coin decides where the coherence is 0), 0
    for a wrong one or none; -0.005 for each step with dots, the choice's own too. Infos: coherence,
    signed, and viewed, steps with dots so far.

    With other settings give `max_episode_steps` too: `trials` times the longest trial.

    Task: Roitman & Shadlen 2002. The ideal observer stops by dynamic programming (`stopping_rule`).
    """

    # random: (1 - 3^-55) (1/2 - 0.005 x 3/2), closed form; ideal: `stopping_rule`'s value, 0.75987
    # on a grid 4 times finer
    metadata: ClassVar[dict[str, Any]] = {
        **TrialVectorEnv.metadata,
        "channels": ("fixation", "motion left", "motion right"),
        "actions": ("wait", "left", "right"),
        "reference": {"random": 0.4925, "ideal": 0.7599},
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        trials: int = 1,
        coherences: tuple[float, ...] = COHERENCES,
        noise: float = 0.06,
        dt: float = 50.0,
        **kwargs: Any,
    ) -> None:
        """coherences: from 0 to 1. noise: deviation of each channel averaged over 1 s of dots. dt:
        ms per step.
        """
        if not coherences or min(coherences) < 0 or max(coherences) > 1 or noise <= 0:
            raise ValueError(
                f"coherences are {coherences} and noise {noise}, expected numbers from 0 to 1, "
                "noise above 0"
            )
        super().__init__(num_envs, trials=trials, numbers=2 * trials, **kwargs)
        self.coherences = np.array(coherences, np.float32)

        # The deviation of a step, of which there are 1000 / dt in a second.
        self.deviation = noise * (1000 / dt) ** 0.5
        self.periods = Periods(dt, fixation=250, dots=2750)
        self.onset, self.viewing = self.periods.low.tolist()
        reach = np.array([0, TAIL, TAIL], np.float32) * np.float32(self.deviation)
        self.metadata["dt"] = dt / 1000
        self.set_spaces(gym.spaces.Box(-reach, 1 + reach), gym.spaces.Discrete(3))

    def decode(self, u: np.ndarray) -> Drawn:
        """coherence [n, trials], signed; right [n, trials]: whether right is correct."""
        # [2, n, trials]: a number for the size and one for the side of each trial.
        size, side = u.reshape(-1, self.trials, 2).transpose(2, 0, 1)
        index = (size * len(self.coherences)).astype(np.int64)
        size = self.coherences[index]

        # Where the coherence is 0 the side is a coin's all the same.
        right = side >= 0.5
        coherence = np.where(right, size, -size)
        return {"coherence": coherence, "right": right}

    def draw(self, rng: np.random.Generator) -> Drawn:
        """noise [trials, steps of dots, 2], standard normal."""
        shape = (self.trials, self.viewing, 2)
        noise = rng.standard_normal(shape, np.float32)
        return {"noise": noise}

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Charge the time with dots, and judge a choice."""
        viewed = np.maximum(0, self.t + 1 - self.onset)
        dots = viewed > 0

        chooses = dots & (actions != WAIT)
        agrees = (actions == RIGHT) == self.now("right")
        correct = chooses & agrees
        over = chooses | (viewed == self.viewing)

        info = {"coherence": self.now("coherence"), "viewed": viewed}
        return correct - COST * dots, over, info

    def sense(self) -> np.ndarray:
        """The fixation spot and the motion energies."""
        going_on = self.going_on()
        dots = going_on & (self.t >= self.onset)
        coherence = self.now("coherence")[:, None]
        sides = np.array([-1, 1], np.float32)

        obs = np.empty((self.num_envs, 3), np.float32)
        obs[:, 0] = going_on & ~dots
        energies = obs[:, 1:]  # a view
        energies[:] = 0.5 + 0.5 * coherence * sides
        energies += self.noise_now()
        energies *= dots[:, None]
        return obs

    def noise_now(self) -> np.ndarray:
        """The noise of both channels at the moment, [N, 2]."""
        step = np.maximum(0, self.t - self.onset)
        trial = self.present_trial()
        normal = self.drawn["noise"][self.rows, trial, step]
        return np.float32(self.deviation) * normal.clip(-TAIL, TAIL)

    def rule(self) -> "Rule":
        """The optimal stopping rule of these settings."""
        # The difference of two channels has twice their variance.
        deviation = 2**0.5 * self.deviation
        coherences = tuple(self.coherences.tolist())
        return stopping_rule(coherences, deviation, self.viewing)

    def ideal(self) -> Policy:
        """The optimal stopping rule, applied to what is seen."""
        return accumulate(self.rule().bounds)


class Rule(NamedTuple):
    """When to stop looking, and what that is worth."""

    bounds: np.ndarray
    """[steps]: after k + 1 samples, choose where their sum is at least bounds[k] away from 0."""
    value: float
    """Expected reward of a trial."""


@cache
def stopping_rule(
    coherences: tuple[float, ...], deviation: float, steps: int, points: int = 401
) -> Rule:
    """The stopping rule of highest expected reward, by dynamic programming over (samples k, their
    sum X).

    Samples x ~ N(c, σ²), σ = deviation; c has the sizes in coherences, all as likely, and either
    sign. The posterior is
        P(c | k, X) ∝ exp((c X - k c² / 2) / σ²),
            P(right | k, X) = Σ_{c > 0} P(c | k, X) + P(0 | k, X) / 2,
    and with the cost of a sample, C = 0.005,
        V_k(X) = -C + max(max(P(right), P(left)), Σ_c P(c | k, X) E[V_{k+1}(X + c + σξ)]),
            V_{steps+1} = 0.
    With one coherence and no last step this is Wald's (1945) sequential probability ratio test;
    with a mixture the bounds fall with time (Drugowitsch et al. 2012). X lies on a grid of `points`
    up to ±10 σ, well beyond the bounds.
    """
    sizes = np.array(coherences, float)
    signed = np.concatenate((-sizes, sizes))
    dx = 2 * WIDEST * deviation / (points - 1)
    x = np.arange(-(points // 2), points // 2 + 1) * dx
    kernels = _kernels(signed, deviation, dx)
    bounds = np.zeros(steps)
    value = np.zeros(points)
    for k in reversed(range(steps)):
        p = _posterior(signed, x, k + 1, deviation)
        # Of the size 0 there are two, one of either sign.
        right = p[len(sizes) :].sum(0)
        choose = np.maximum(right, 1 - right)
        wait = (p * _expected(value, kernels)).sum(0)
        bounds[k] = np.abs(x[choose >= wait]).min()
        value = np.maximum(choose, wait) - COST
    start = points // 2  # the sum 0

    return Rule(bounds, float(_expected(value, kernels)[:, start].mean()))


def _posterior(signed: np.ndarray, x: np.ndarray, k: int, deviation: float) -> np.ndarray:
    """P(c | k, X) for each signed coherence c and sum X of the grid, [2 C, points]."""
    c = signed[:, None]
    log_p = (c * x - k * c**2 / 2) / deviation**2
    p = np.exp(log_p - log_p.max(0))
    return p / p.sum(0)


def _kernels(signed: np.ndarray, deviation: float, dx: float) -> list[np.ndarray]:
    """P(X moves by so many grid steps | c), an array for each signed coherence c."""
    reach = int((FARTHEST * deviation + signed.max()) / dx)
    # The limits between one grid step and the next.
    limits = (np.arange(-reach, reach + 2) - 0.5) * dx
    return [np.diff(_normal_cdf((limits - c) / deviation)) for c in signed]


def _expected(value: np.ndarray, kernels: list[np.ndarray]) -> np.ndarray:
    """E[V(X + x)] for each coherence and X of the grid; beyond the grid V is what it is at its
    ends.
    """
    padded = np.pad(value, len(kernels[0]) // 2, "edge")
    return np.stack([np.correlate(padded, kernel, "valid") for kernel in kernels])


def _normal_cdf(z: np.ndarray) -> np.ndarray:
    """The standard normal distribution function at z, [n]."""
    scaled = (z / 2**0.5).tolist()
    values = [(1 + erf(v)) / 2 for v in scaled]
    return np.array(values)


def accumulate(bounds: np.ndarray) -> Policy:
    """Add up right minus left energy, and choose its sign once it reaches the bound of the
    moment.
    """
    total = np.zeros(0)
    samples = np.zeros(0, int)

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal total, samples
        n = len(obs)
        if len(total) != n:
            total = np.zeros(n)
            samples = np.zeros(n, int)
        dots = (obs[:, 0] == 0) & ~begun

        # Left to right: total + right is rounded before left is taken away.
        total = np.where(dots, total + obs[:, 2] - obs[:, 1], 0.0)
        samples = np.where(dots, samples + 1, 0)

        bound = bounds[np.minimum(samples, len(bounds)) - 1]
        stop = dots & (np.abs(total) >= bound)
        side = np.where(total > 0, RIGHT, LEFT)

        return np.where(stop, side, WAIT)

    return policy


make: Callable[..., gym.Env] = partial(SingleEnv, EvidenceDM)
