"""Izhikevich's simple model, the firing patterns of cortical neurons from two equations.
    v in mV, dt in ms.

    dv/dt = 0.04 v² + 5 v + 140 - u + drive        du/dt = a (b v - u)
        v ≥ 30 mV → spike, v ← c, u ← u + d

Izhikevich 2003, IEEE Trans. Neural Networks 14:1569, eq. 1-3. As in its listing v is advanced in
half steps (of at most ½ ms) and u once a tick of up to 1 ms. The drive is the paper's I (about 10
makes a regular spiking neuron fire tonically).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.neurons import Neuron, capped, checked, resting
from bio_rl.parts import Cost
from bio_rl.surrogates import spike


class IzhikevichState(NamedTuple):
    v: Tensor
    """[B, N] mV, membrane potential after the last tick's reset."""
    u: Tensor
    """[B, N] mV/ms, recovery."""


class Constants(NamedTuple):
    """By default a regular spiking neuron. See `PRESETS`."""

    a: float = 0.02
    """1/ms, rate of the recovery."""
    b: float | Tensor = 0.2
    """1/ms, its sensitivity to v."""
    c: float = -65.0
    """mV, v after a spike."""
    d: float = 8.0
    """mV/ms, jump of the recovery at a spike."""
    v_threshold: float = 30.0
    """mV, peak of a spike."""
    surrogate: str = "atan"
    slope: float = 0.1
    """Slope of the surrogate derivative, per mV."""


@checked(above="c", slope="positive")
class Izhikevich(Constants, Neuron):
    """A membrane with a quadratic onset of the spike, and its recovery."""

    unit_drive = 50.0
    span = 100.0  # mV

    def rest(self) -> tuple[float | Tensor, float | Tensor]:
        """(v, u) of the stable fixed point without drive, 0.04 v² + (5 - b) v + 140 = 0; (c, b c)
        where there is none.
        """
        # the lower of both roots: the upper one is the unstable threshold
        discriminant = (5.0 - self.b) ** 2 - 4 * 0.04 * 140.0
        if isinstance(discriminant, Tensor):
            root = discriminant.clamp(min=0.0).sqrt()
            v = (self.b - 5.0 - root) / 0.08
            v = torch.where(discriminant >= 0, v, self.c)
        elif discriminant >= 0:
            v = (-(5.0 - self.b) - math.sqrt(discriminant)) / 0.08
        else:
            v = self.c
        return v, self.b * v

    def init(self, batch: int, n: int, device: torch.device | None = None) -> IzhikevichState:
        v, u = self.rest()
        return IzhikevichState(
            resting(v, batch, n, device),
            resting(u, batch, n, device),
        )

    def step(
        self, s: IzhikevichState, drive: Tensor, dt: float = 1.0
    ) -> tuple[Tensor, IzhikevichState]:
        """The reset of v passes no gradient."""
        v, u = s
        half_steps = max(1, math.ceil(dt / 0.5))
        for _ in range(half_steps):
            slope = (0.04 * v + 5.0) * v + 140.0 - u + drive
            v = v + dt / half_steps * slope
            # a spike has no height: without a bound v² runs away within a tick
            v = capped(v, self.v_threshold + 1.0)
        u = u + dt * self.a * (self.b * v - u)

        z = spike(v - self.v_threshold, self.surrogate, self.slope)
        fired = z.detach()
        v = torch.where(fired.bool(), self.c, v)
        u = u + fired * self.d
        return z, IzhikevichState(v, u)

    def cost(self) -> Cost:
        """Two half steps of v, each a square, a product and a step, then u with two products."""
        return Cost(adds=5.0, macs=8.0)


PRESETS = {
    "regular_spiking": Izhikevich(a=0.02, b=0.2, c=-65.0, d=8.0),
    "intrinsically_bursting": Izhikevich(a=0.02, b=0.2, c=-55.0, d=4.0),
    "chattering": Izhikevich(a=0.02, b=0.2, c=-50.0, d=2.0),
    "fast_spiking": Izhikevich(a=0.1, b=0.2, c=-65.0, d=2.0),
    "low_threshold_spiking": Izhikevich(a=0.02, b=0.25, c=-65.0, d=2.0),
    "thalamo_cortical": Izhikevich(a=0.02, b=0.25, c=-65.0, d=0.05),
    "resonator": Izhikevich(a=0.1, b=0.26, c=-65.0, d=2.0),
}
"""The classes of Izhikevich 2003, fig. 2."""

NEURON = Izhikevich
