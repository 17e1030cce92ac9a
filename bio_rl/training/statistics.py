"""Statistics over the few runs that reinforcement learning can afford.
Agarwal et al. 2021, arXiv 2108.13264
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Statistic = Callable[..., Any]
"""Reduces one axis of an array: called as `statistic(x, axis=-1)`, as numpy's mean, median and min
are.
"""


def interquartile_mean(x: ArrayLike, axis: int = -1) -> Any:
    """Mean of the middle half of x along `axis`: floor(n/4) values are left out at either end.

    As robust as the median against outlying runs, with about the efficiency of the mean. Agarwal et
    al. 2021, §4.3; the count of left-out values is that of their code (scipy.stats.trim_mean with
    0.25): for 5 runs the best and the worst. Raises ValueError for no values.
    """
    ordered = np.sort(np.asarray(x, np.float64), axis=axis)
    n = ordered.shape[axis]
    if n == 0:
        raise ValueError("interquartile_mean: no values")
    return np.take(ordered, np.arange(n // 4, n - n // 4), axis=axis).mean(axis=axis)


def bootstrap(
    x: ArrayLike, statistic: Statistic, samples: int = 10_000, seed: int = 0
) -> NDArray[np.float64]:
    """`statistic` of `samples` resamples of the runs x [N] with replacement: [samples].

    Combine the arrays of several tasks or arms element by element (with different seeds) for the
    distribution of a mean or a ratio over them: runs are then resampled within each task. Efron
    1979; Agarwal et al. 2021, §4.1 (stratified).
    """
    values = np.asarray(x, np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(
            f"bootstrap: x has shape {values.shape}, expected [N] with one value per run, N >= 1"
        )
    if samples < 1:
        raise ValueError(f"bootstrap: samples is {samples}, expected a positive number")
    # Runs are resampled, never episodes of a run: those are not independent.
    drawn = np.random.default_rng(seed).integers(len(values), size=(samples, len(values)))
    return np.asarray(statistic(values[drawn], axis=-1), np.float64)


def interval(draws: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """The central `confidence` share of bootstrap draws [samples]: its lower and upper end
    (percentile method).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected a number between 0 and 1")
    # Half of the rest at either end.
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, (tail, 1.0 - tail))
    return float(low), float(high)


def bootstrap_interval(
    x: ArrayLike,
    statistic: Statistic,
    confidence: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `statistic` over the runs x [N], as (low, high). Agarwal et
    al. 2021, §4.1.

    With fewer than about five runs it is too narrow; it never says less than the runs themselves
    show.
    """
    return interval(bootstrap(x, statistic, samples, seed), confidence)


def normalised(score: float, reference: Mapping[str, float]) -> tuple[float, str] | None:
    """(score - random) / (expert - random) and "expert": 0 at random actions, 1 at the expert's
    level.

    reference: an environment's `metadata["reference"]`, {"random": …, "expert" or "ideal": …}; the
    expert is taken where both are given. None where there is nothing to compare with.
    Human-normalised scores: Mnih et al. 2015, Methods.
    """
    for name in ("expert", "ideal"):
        if "random" in reference and name in reference:
            return (score - reference["random"]) / (reference[name] - reference["random"]), name
    return None
