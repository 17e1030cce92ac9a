"""Figures of a sweep: of each case over its seeds, and the ratios of two networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bio_rl.sweeps.result_file import rounded
from bio_rl.training import statistics
from bio_rl.training.statistics import Estimate

RATIO = "ratio_spiking_mlp"
"""The name of the figure that compares the two networks."""
MEAN = "mean over environments"
"""The name of the case that holds the mean of the ratios."""


def summary(cases: Mapping[str, Any]) -> dict[str, Any]:
    """The cases with their figures over seeds, and the ratios of their networks.

    A ratio is there where a learner has had both networks in a world.
    """
    results: dict[str, Any] = {case: over_seeds(c) for case, c in cases.items() if c["seeds"]}
    ratios = []
    for case, mine in results.items():
        learner, _, network = case.rpartition("/")
        other = results.get(f"{learner}/mlp")
        if network != "spiking" or other is None:
            continue
        ratio = compare(mine, other)
        if ratio is not None:
            mine |= ratio_figures(ratio)
            ratios.append(ratio)
    if len(ratios) > 1:
        results[MEAN] = ratio_figures(statistics.mean(ratios))
    return results


def ratio_figures(ratio: Estimate) -> dict[str, Any]:
    """A ratio of interquartile means with its interval."""
    return {
        RATIO: rounded(ratio.value),
        f"{RATIO}_interval": rounded_interval(ratio),
    }


def rounded_interval(found: Estimate) -> list[float] | None:
    """The 95 % t interval of a figure over seeds; None for one seed."""
    interval = found.interval()
    if interval is None:
        return None
    # Numbers of numpy are none of JSON's.
    low, high = map(float, interval)
    return [rounded(low), rounded(high)]


def compare(mine: Mapping[str, Any], other: Mapping[str, Any]) -> Estimate | None:
    """The ratio of two cases' interquartile means; None where there is none that says anything.

    That is a ratio with a mean that is not positive, or where the one to divide by may as well be
    zero.
    """
    cases = [list(case["seeds"].values()) for case in (mine, other)]
    # On the scale of the world's reference where every seed has a place on it.
    normalised = all(r.get("normalised") is not None for records in cases for r in records)
    key = "normalised" if normalised else "mean"
    above, below = (statistics.estimate([r[key] for r in records]) for records in cases)
    least, _ = below.interval() or (below.value, below.value)
    if min(above.value, below.value, least) <= 0:
        return None
    return statistics.ratio(above, below)


def over_seeds(case: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a case over its seeds, and all their records.

    The returns are those of the final greedy evaluations; the best are of evaluations in training.
    """
    records = list(case["seeds"].values())
    final = [record["mean"] for record in records]
    seconds = [record["seconds"] for record in records]
    found = statistics.estimate(final)
    return {
        "n": len(records),
        "steps": int(max(record["steps"] for record in records)),
        "iqm": rounded(float(found.value)),
        "iqm_interval": rounded_interval(found),
        "median": rounded(float(np.median(final))),
        "min": rounded(min(final)),
        "mean": rounded(float(np.mean(final))),
        **normalised(records),
        **best_in_training(records),
        "seconds_median": rounded(float(np.median(seconds))),
        "seconds_max": rounded(max(seconds)),
        **operations(records),
        "setting": case["setting"],
        "seeds": dict(sorted(case["seeds"].items(), key=lambda item: int(item[0]))),
    }


def best_in_training(records: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The interquartile mean of the best weights' returns; nothing of runs without evaluations."""
    best = [record["best_eval"] for record in records]
    if any(score is None for score in best):
        return {}
    return {"iqm_best": rounded(statistics.interquartile_mean(best))}


def normalised(records: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The returns on the scale of the world's reference; nothing where it has none.

    0 is random, and 1 the expert's or the ideal return.
    """
    scores = [record["normalised"] for record in records if record.get("normalised") is not None]
    if len(scores) < len(records):
        return {}
    return {
        "normalised_mean": rounded(float(np.mean(scores))),
        "normalised_min": rounded(min(scores)),
    }


def operations(records: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds of a decision's operations, by network; nothing where a record has none."""
    if not all("operations" in record for record in records):
        return {}
    by_seed = [record["operations"] for record in records]
    means: dict[str, dict[str, float]] = {}
    for network, counts in by_seed[0].items():
        means[network] = {
            kind: rounded(float(np.mean([operations[network][kind] for operations in by_seed])))
            for kind in counts
        }
    return {"operations_per_decision": means}
