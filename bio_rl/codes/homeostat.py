"""Homeostasis of the firing rate, and the numbers that tell when a layer needs it.

    b ← b + η (r* - r)

This is intrinsic excitability: Desai, Rutherford & Turrigiano 1999; reviewed in Turrigiano 2008.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Activity(NamedTuple):
    """How a layer fires; scalar tensors, still on its device."""

    rate: Tensor
    """Spikes per neuron and tick."""
    dead: Tensor
    """Fraction of the neurons that never fired, in any row at any tick."""
    saturated: Tensor
    """Fraction of the neurons that fired in every row at every tick."""


def homeostat(bias: Tensor, rate: Tensor, target: float, lr: float) -> Tensor:
    """The bias [N] after one step towards the target rate, b + η (r* - r), detached.

    bias: [N], the current that every neuron gets besides its input; rate: r [N] and target: r*, in
    spikes per tick; lr: η, current per (spike per tick), small enough that the rate is an average
    over many episodes. Raises ValueError for a rate of another shape than the bias, a target
    outside [0, 1] or a negative lr.
    """
    if not 0.0 <= target <= 1.0:
        raise ValueError(
            f"homeostat: target is {target}, expected a rate between 0 and 1 spikes per tick"
        )
    if not lr >= 0.0:
        raise ValueError(
            f"homeostat: lr is {lr}, "
            "expected 0 or a positive number (a negative one drives rates away)"
        )
    if rate.shape != bias.shape:
        raise ValueError(
            f"homeostat: rate has shape {tuple(rate.shape)}, "
            f"expected that of bias, {tuple(bias.shape)}"
        )
    missing = target - rate.detach()
    return bias.detach() + lr * missing


def activity(spikes: Tensor) -> Activity:
    """The mean rate and the fractions of dead and saturated neurons of the spikes [S, B, N] of S
    ticks, detached.

    Raises ValueError unless `spikes` has these three axes and none is empty.
    """
    if spikes.dim() != 3 or not spikes.numel():
        raise ValueError(
            f"activity: spikes have shape {tuple(spikes.shape)}, expected [S, B, N], none of them 0"
        )
    spikes = spikes.detach()
    # [S·B, N]: a row of a tick is a sample like any other
    fired = spikes.flatten(0, 1) > 0
    dead = ~fired.any(0)
    saturated = fired.all(0)
    return Activity(
        rate=spikes.mean(),
        dead=dead.to(spikes.dtype).mean(),
        saturated=saturated.to(spikes.dtype).mean(),
    )
