"""Surrogate derivatives in Triton's kernels, those of `bio_rl.surrogates` with the same names.

One more is one more branch; a kernel is compiled for one of them, by its name.
"""

from __future__ import annotations

import triton
import triton.language as tl

_HALF_PI = tl.constexpr(1.5707963267948966)


@triton.jit
def derivative(x, slope, SURROGATE: tl.constexpr):
    """The derivative of the surrogate of this name at x; 0 at -∞."""
    if SURROGATE == "atan":
        y = _HALF_PI * slope * x
        d = 0.5 * slope / (1.0 + y * y)
    elif SURROGATE == "fast_sigmoid":
        y = 1.0 + slope * tl.abs(x)
        d = 1.0 / (y * y)
    elif SURROGATE == "triangle":
        d = slope * tl.maximum(1.0 - slope * tl.abs(x), 0.0)
    elif SURROGATE == "rectangle":
        d = tl.where(slope * tl.abs(x) < 0.5, slope, 0.0)
    elif SURROGATE == "damped_triangle":
        d = 0.3 * slope * tl.maximum(1.0 - slope * tl.abs(x), 0.0)
    else:
        tl.static_assert(SURROGATE == "sigmoid", "a surrogate that these kernels do not know")
        e = tl.exp(-slope * tl.abs(x))
        d = slope * e / ((1.0 + e) * (1.0 + e))
    return d
