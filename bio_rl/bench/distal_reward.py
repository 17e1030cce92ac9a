"""Dopamine finds the one synapse that earned it, seconds later, among 80,000; shuffled in time it
does not. Izhikevich 2007.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bio_rl.bench import _distal_reward_network as network
from bio_rl.bench._report import Shared, rounded
from bio_rl.viz import distal_reward as picture

MINUTE = 60_000
"""Ticks."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """The network of Izhikevich 2007, fig. 1, rewarded for n1 and n2 firing together, and with
    these rewards at other times.
    """

    seeds: tuple[int, ...] = tuple(range(20))
    """Each with a wiring of its own."""
    minutes: int = 60
    """Of model time: an hour in the paper."""
    jobs: int = 2
    """Runs at a time."""
    picture: Path | None = None
    """Also draw all seeds, and one reward of the first, to this file."""

    def __post_init__(self) -> None:
        if min(self.jobs, self.minutes, len(self.seeds)) < 1:
            raise ValueError("--jobs, --minutes and --seeds: expected at least one")

    def measured(self) -> dict[str, Any]:
        return {k: v for k, v in super().measured().items() if k != "picture"}


class Outcome(NamedTuple):
    """One run, by the minute."""

    weight: np.ndarray
    """[minutes] mV, mean of the synapse that is to be rewarded."""
    others: np.ndarray
    """[minutes] mV, mean of all other excitatory synapses at the end of each."""
    reached: float | None
    """Minute at which the synapse was at its maximum for the first time."""
    rewards: int
    rate: float
    """Hz, mean over the network and the run."""
    seconds: float
    """That the run took."""


class Pair(NamedTuple):
    """One network with its own rewards, and with these very rewards while other noise makes it fire
    at other times.
    """

    rewarded: Outcome
    shuffled: Outcome
    seen: network.Run | None
    """The rewarded run in full: kept for the first seed only, it has 3.6 million ticks."""


def run(settings: Settings) -> dict[str, Any]:
    """{"rewarded": figures, "shuffled": figures}: weights of the synapse and of the others, in the
    last sixth of the time.
    """
    with ThreadPoolExecutor(settings.jobs) as pool:
        pairs = list(pool.map(lambda seed: pair(seed, settings), settings.seeds))
    rewarded, shuffled = [p.rewarded for p in pairs], [p.shuffled for p in pairs]
    if settings.picture is not None and pairs[0].seen is not None:
        weights = [np.stack([o.weight for o in outcomes]) for outcomes in (rewarded, shuffled)]
        others = np.stack([o.others for o in rewarded])
        picture.draw(
            *weights, others, zoom(pairs[0].seen), settings.picture, network.Constants().w_max
        )
        print(f"wrote {settings.picture}")
    return {"rewarded": figures(rewarded), "shuffled": figures(shuffled)}


def pair(seed: int, settings: Settings) -> Pair:
    p, ticks = network.Constants(), settings.minutes * MINUTE
    streams = np.random.default_rng(seed).spawn(3)
    wiring = network.wire(p, streams[0])
    start = time.perf_counter()
    earned = network.simulate(p, wiring, network.initial_state(p), ticks, streams[1])
    middle = time.perf_counter()
    shuffled = network.simulate(
        p, wiring, network.initial_state(p), ticks, streams[2], earned.given
    )
    first, second = (
        outcome(p, earned, middle - start),
        outcome(p, shuffled, time.perf_counter() - middle),
    )
    print(
        f"seed {seed}: {first.weight[-1]:.2f} mV in the last minute, shuffled {second.weight[-1]:.2f} mV",
        flush=True,
    )
    return Pair(first, second, earned if seed == settings.seeds[0] else None)


def outcome(p: network.Constants, seen: network.Run, seconds: float) -> Outcome:
    weight = seen.trace.w
    hit = int(np.argmax(weight >= p.w_max))
    return Outcome(
        weight=weight.reshape(-1, MINUTE).mean(1, dtype=float),
        others=seen.others[MINUTE // network.CHUNK - 1 :: MINUTE // network.CHUNK],
        reached=hit / MINUTE if weight[hit] >= p.w_max else None,
        rewards=int(seen.given.sum()),
        rate=1000.0 * float(seen.trace.count.mean()) / p.neurons,
        seconds=seconds,
    )


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Over seeds: weights in mV, over the last sixth of the time; at_maximum: in how many runs the
    synapse ever was.
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
        "weight_by_seed_and_minute": [[rounded(float(x)) for x in o.weight] for o in outcomes],
        "others_by_seed_and_minute": [[rounded(float(x)) for x in o.others] for o in outcomes],
    }


def zoom(seen: network.Run, before: int = 1000, after: int = 1500) -> picture.Zoom:
    """From a second before a pairing to a while after its reward: the one with the largest effect,
    among those that are alone.

    Raises ValueError where there is none.
    """
    trace, rewards = seen.trace, np.flatnonzero(seen.given)
    spans = []
    for pairing in np.flatnonzero(trace.spikes & network.EARNS):
        paid = rewards[(rewards >= pairing - before) & (rewards < pairing + 3000 + after)]
        low, high = pairing - before, int(paid[0]) + after if len(paid) else 0
        alone = np.count_nonzero(trace.spikes[max(0, low) : high] & network.EARNS) == 1
        if (
            len(paid) == 1
            and paid[0] >= pairing + 1000
            and alone
            and low >= 0
            and high < len(trace.w)
        ):
            spans.append((trace.w[high] - trace.w[low], low, high, pairing, paid[0]))
    if not spans:
        raise ValueError(
            "--picture: no reward stands alone in the first seed's run; run for more --minutes"
        )
    _, low, high, pairing, reward = max(spans)
    part = slice(low, high)
    return picture.Zoom(
        start=low / 1000.0,
        n1=np.flatnonzero(trace.spikes[part] & network.N1) / 1000.0,
        n2=np.flatnonzero(trace.spikes[part] & network.N2) / 1000.0,
        pair=(pairing - low) / 1000.0,
        reward=(reward - low) / 1000.0,
        eligibility=trace.c[part],
        dopamine=trace.d[part],
        weight=trace.w[part],
    )
