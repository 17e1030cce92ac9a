"""Surrogate derivatives in compiled loops, those of `bio_rl.surrogates` with the same names.

One more is one function and one row of the table; loops know them by their place in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from bio_rl.kernels.numba.compile import inlined

_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_HALF_PI = np.float32(0.5 * math.pi)
_DAMPED = np.float32(0.3)


@inlined
def _atan(x, slope):
    height = _HALF * slope
    y = _HALF_PI * slope * x
    return height / (_ONE + y * y)


@inlined
def _fast_sigmoid(x, slope):
    y = _ONE + slope * abs(x)
    return _ONE / (y * y)


@inlined
def _triangle(x, slope):
    y = _ONE - slope * abs(x)
    return slope * max(y, _ZERO)


@inlined
def _rectangle(x, slope):
    width = _HALF / slope
    return slope if abs(x) < width else _ZERO


@inlined
def _sigmoid(x, slope):
    # of the negative side, where the exponential is no more than one
    e = np.exp(-slope * abs(x))
    y = _ONE + e
    return slope * e / (y * y)


@inlined
def _damped_triangle(x, slope):
    height = _DAMPED * slope
    y = _ONE - slope * abs(x)
    return height * max(y, _ZERO)


TABLE: dict[str, Callable[..., Any]] = {
    "atan": _atan,
    "fast_sigmoid": _fast_sigmoid,
    "triangle": _triangle,
    "rectangle": _rectangle,
    "sigmoid": _sigmoid,
    "damped_triangle": _damped_triangle,
}


def place(name: str) -> int:
    """The place of a surrogate in the table, by which loops know it."""
    names = list(TABLE)
    return names.index(name)


def _over(surrogate: Callable[..., Any]) -> Any:
    """A loop over many x of one surrogate."""

    @numba.njit(nogil=True, error_model="numpy")
    def over(x, slope, out):
        for m in range(len(out)):
            out[m] = surrogate(x[m], slope)

    return over


def _chosen(places: list[int]) -> Any:
    """A loop that runs the surrogate at a place of the table, which is one of these."""
    here = places[0]
    over = _over(list(TABLE.values())[here])
    if len(places) == 1:

        @numba.njit(nogil=True, error_model="numpy")
        def last(place, x, slope, out):
            over(x, slope, out)

        return last
    others = _chosen(places[1:])

    @numba.njit(nogil=True, error_model="numpy")
    def choose(place, x, slope, out):
        # The choice is made once for all x: each surrogate keeps a vector loop of its own.
        if place == here:
            over(x, slope, out)
        else:
            others(place, x, slope, out)

    return choose


derivative = _chosen(list(range(len(TABLE))))
"""derivative(place, x, slope, out): the surrogate derivative at x [M] into out [M], in loops."""
