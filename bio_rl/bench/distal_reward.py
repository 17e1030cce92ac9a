"""Dopamine finds the one synapse of 80,000 that earned it; shuffled in time it does not.

Izhikevich 2007: the reward comes seconds later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bio_rl import checks
from bio_rl.bench import _distal_reward_network as network
from bio_rl.bench._report import Shared, rounded
from bio_rl.viz import distal_reward as picture

MINUTE = 60_000
"""Ticks of a minute."""
LONGEST_DELAY = 3000
"""Ticks between a pairing and its reward, at most."""
SHORTEST_DELAY = 1000
"""Ticks between a pairing and its reward, at least."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Simulate the network of Izhikevich 2007, fig. 1, with its rewards and with foreign ones."""

    seeds: tuple[int, ...] = tuple(range(20))
    """Seeds of the runs, each with another wiring."""
    minutes: int = 60
    """Minutes of model time: an hour in the paper."""
    jobs: int = 2
    """Runs at a time."""
    picture: Path | None = None
    """Also draw all seeds, and one reward of the first, to this file."""

    def __post_init__(self) -> None:
        checks.at_least_one(self, "jobs", "minutes", "seeds")

    def measured(self) -> dict[str, Any]:
        settings = super().measured()
        del settings["picture"]
        return settings


class Outcome(NamedTuple):
    """One run, by the minute."""

    weight: np.ndarray
    """[minutes] mV, mean of the synapse that is to be rewarded."""
    others: np.ndarray
    """[minutes] mV, mean of all other excitatory synapses at the end of each."""
    reached: float | None
    """Minute at which the synapse was at its maximum for the first time."""
    rewards: int
    """The number of rewards that came."""
    rate: float
    """Hz, mean over the network and the run."""
    seconds: float
    """Wall-clock time of the run."""


class Pair(NamedTuple):
    """One network with rewards that it earns, and with the same rewards at foreign times.

    In the second run other noise makes it fire at other times.
    """

    rewarded: Outcome
    shuffled: Outcome
    course: network.Run | None
    """The rewarded run in full: kept for the first seed only, as it has 3.6 million ticks."""


def run(settings: Settings) -> dict[str, Any]:
    """{"rewarded": figures, "shuffled": figures} of all seeds."""
    with ThreadPoolExecutor(settings.jobs) as pool:
        pairs = list(pool.map(lambda seed: pair(seed, settings), settings.seeds))
    rewarded = [p.rewarded for p in pairs]
    shuffled = [p.shuffled for p in pairs]
    course = pairs[0].course
    if settings.picture is not None and course is not None:
        picture.draw(
            np.stack([o.weight for o in rewarded]),
            np.stack([o.weight for o in shuffled]),
            np.stack([o.others for o in rewarded]),
            zoom(course),
            settings.picture,
            network.Constants().w_max,
        )
        print(f"wrote {settings.picture}")
    return {"rewarded": figures(rewarded), "shuffled": figures(shuffled)}


# One seed


def pair(seed: int, settings: Settings) -> Pair:
    """Both runs of a seed."""
    p = network.Constants()
    # one stream for the wiring, and one for the noise of each run
    wires, noise, other_noise = np.random.default_rng(seed).spawn(3)
    wiring = network.wire(p, wires)
    ticks = settings.minutes * MINUTE

    def simulate(
        rng: np.random.Generator, rewards: np.ndarray | None
    ) -> tuple[network.Run, Outcome]:
        start = time.perf_counter()
        course = network.simulate(p, wiring, network.initial_state(p), ticks, rng, rewards)
        return course, outcome(p, course, time.perf_counter() - start)

    course, rewarded = simulate(noise, None)
    _, shuffled = simulate(other_noise, course.rewards)
    print(
        f"seed {seed}: {rewarded.weight[-1]:.2f} mV in the last minute, "
        f"shuffled {shuffled.weight[-1]:.2f} mV",
        flush=True,
    )
    is_first = seed == settings.seeds[0]
    return Pair(rewarded, shuffled, course if is_first else None)


def outcome(p: network.Constants, course: network.Run, seconds: float) -> Outcome:
    """A run by the minute."""
    weight = course.trace.w
    chunks = MINUTE // network.CHUNK
    # argmax gives the first tick at the maximum, or 0 where there is none
    hit = int(np.argmax(weight >= p.w_max))
    return Outcome(
        weight=weight.reshape(-1, MINUTE).mean(1, dtype=float),
        others=course.others[chunks - 1 :: chunks],
        reached=hit / MINUTE if weight[hit] >= p.w_max else None,
        rewards=int(course.rewards.sum()),
        rate=1000.0 * float(course.trace.count.mean()) / p.neurons,
        seconds=seconds,
    )


# Figures over seeds


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Figures over seeds: weights in mV, means over the last sixth of the time.

    at_maximum: the number of runs in which the synapse ever was at its maximum.
    """
    last = max(1, len(outcomes[0].weight) // 6)
    weight = [float(o.weight[-last:].mean()) for o in outcomes]
    others = [float(o.others[-last:].mean()) for o in outcomes]
    return {
        "runs": len(outcomes),
        "weight": rounded(float(np.median(weight))),
        "weight_min": rounded(min(weight)),
        "weight_max": rounded(max(weight)),
        "others": rounded(float(np.median(others))),
        "others_max": rounded(max(others)),
        "at_maximum": sum(o.reached is not None for o in outcomes),
        "rate_hz": rounded(float(np.mean([o.rate for o in outcomes]))),
        "seconds_per_run": rounded(float(np.median([o.seconds for o in outcomes]))),
        "weight_by_seed": [rounded(x) for x in weight],
        "others_by_seed": [rounded(x) for x in others],
        "minute_at_maximum_by_seed": [
            None if o.reached is None else rounded(o.reached) for o in outcomes
        ],
        "rewards_by_seed": [o.rewards for o in outcomes],
        "weight_by_seed_and_minute": [all_rounded(o.weight) for o in outcomes],
        "others_by_seed_and_minute": [all_rounded(o.others) for o in outcomes],
    }


def all_rounded(values: np.ndarray) -> list[float]:
    """Some numbers to the digits of a report."""
    return [rounded(float(x)) for x in values]


# A picture of one reward


class Span(NamedTuple):
    """A stretch of a run with one pairing and its reward in it; the largest has the most effect."""

    effect: float
    """mV, the change of the weight."""
    low: int
    high: int
    """The first tick, and the one after the last."""
    pairing: int
    reward: int


def zoom(course: network.Run, before: int = 1000, after: int = 1500) -> picture.Zoom:
    """The pairing with the largest effect among those that are alone with their reward.

    It is shown from a second before to a while after its reward. Raises ValueError where there is
    none.
    """
    spans = list(lone_pairings(course, before, after))
    if not spans:
        raise ValueError(
            "--picture: no reward stands alone in the first seed's run; run for more --minutes"
        )
    span = max(spans)
    trace = network.Trace(*(x[span.low : span.high] for x in course.trace))
    # ticks are ms, and the picture's axis is in s
    return picture.Zoom(
        start=span.low / 1000.0,
        n1=np.flatnonzero(trace.spikes & network.N1) / 1000.0,
        n2=np.flatnonzero(trace.spikes & network.N2) / 1000.0,
        pair=(span.pairing - span.low) / 1000.0,
        reward=(span.reward - span.low) / 1000.0,
        eligibility=trace.c,
        dopamine=trace.d,
        weight=trace.w,
    )


def lone_pairings(course: network.Run, before: int, after: int) -> Iterator[Span]:
    """Pairings of n1 and n2 with one reward near them, their own, and no other pairing near it."""
    trace = course.trace
    rewards = np.flatnonzero(course.rewards)
    for pairing in np.flatnonzero(trace.spikes & network.EARNS):
        low = int(pairing) - before
        end = pairing + LONGEST_DELAY + after
        near = rewards[(rewards >= low) & (rewards < end)]
        # one that comes sooner was earned by a pairing before
        if len(near) != 1 or near[0] < pairing + SHORTEST_DELAY:
            continue
        high = int(near[0]) + after
        if low < 0 or high >= len(trace.w):
            continue
        if np.count_nonzero(trace.spikes[low:high] & network.EARNS) == 1:
            effect = float(trace.w[high] - trace.w[low])
            yield Span(effect, low, high, int(pairing), int(near[0]))
