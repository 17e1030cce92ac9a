"""Latency code: one spike, the sooner the stronger the input (time to first spike).

A constant current x charges a capacitor, V(t) = x (1 - exp(-t/τ)), which fires when V reaches θ:

    t(x) = τ ln(x / (x - θ))   for x > θ, else never
        Gerstner et al., Neuronal Dynamics (2014), §1.3, inverted

It is the first spike of `neurons.lif` under the drive x, and snnTorch's `spikegen.latency`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bio_rl.codes._ticks import check_ticks

THETA = 0.1
"""θ of `first_spike`, a tenth of the largest intensity; chosen."""


def latency(intensity: Tensor, ticks: int, *, tau: float, theta: float, dt: float = 1.0) -> Tensor:
    """Spikes [K, B, N] float: one for every x > θ, at the first tick k with (k + 1) dt >= t(x), and
    none for the others.

    intensity: x [B, N] in [0, 1]; tau: ms; theta: in units of x; dt: ms per tick. A spike that
    would come after the window is sent at its last tick, so that silence always means x <= θ. No
    gradient flows to `intensity`. Raises ValueError for ticks < 1, tau <= 0, dt <= 0 or θ outside
    (0, 1).
    """
    if not 0.0 < theta < 1.0:
        raise ValueError(
            f"latency: theta is {theta}, "
            "expected a number between 0 and 1, the range of the intensities"
        )
    for name, value in (("tau", tau), ("dt", dt)):
        if not value > 0.0:
            raise ValueError(f"latency: {name} is {value}, expected a positive number of ms")
    # ln(x / (x - θ)) = -ln(1 - θ/x), which is infinite at θ, and so below it too
    above = intensity.clamp(min=theta)
    t = -tau * torch.log1p(-theta / above)
    tick = (t / dt).ceil() - 1.0
    return _one_spike(tick, intensity > theta, ticks)


def first_spike(intensity: Tensor, ticks: int) -> Tensor:
    """The `latency` code [K, B, N] with a membrane half as slow as the decision is long.

    τ = K/2 ticks, θ = THETA: twice the threshold fires after a third of the decision, and the
    strongest inputs share its first ticks.
    """
    check_ticks("first_spike", ticks)
    return latency(intensity, ticks, tau=0.5 * ticks, theta=THETA)


def linear_latency(intensity: Tensor, ticks: int) -> Tensor:
    """Spikes [K, B, N] float: one for every x > 0, at tick k = round((1 - x) (K - 1)), and none for
    the others.

    intensity: x [B, N] in [0, 1]: 1 fires at the first tick and a faint input at the last. No
    gradient flows to `intensity`. Raises ValueError for ticks < 1.
    """
    delay = (1.0 - intensity) * (ticks - 1)
    return _one_spike(delay.round(), intensity > 0.0, ticks)


def _one_spike(tick: Tensor, fires: Tensor, ticks: int) -> Tensor:
    """[K, B, N], a spike at `tick` [B, N], clipped to the window, where `fires` [B, N]."""
    check_ticks("latency", ticks)
    within = tick.clamp(0, ticks - 1)
    # [K, 1, 1], so that every tick is compared with every neuron's
    window = torch.arange(ticks, device=tick.device)
    window = window.view(-1, *[1] * tick.dim())
    spikes = (window == within) & fires
    return spikes.to(tick.dtype)
