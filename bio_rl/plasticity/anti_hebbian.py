"""Anti-Hebbian plasticity: neurons that are active together come to inhibit each other, until they
are uncorrelated.

    Δw_ji = -η M (y_j x_i - p²)

x and y are pre.spike and post.spike of the last tick; for lateral weights both are the activities
of one layer, and the caller holds the diagonal at zero. `delta` is due every tick, with M = 1 where
nothing gates. It rests where E[y_j x_i] = p²: neurons of the mean activity p are then uncorrelated.
Földiák 1989 has p = 0, for activities of mean zero; Földiák 1990 has binary neurons whose
thresholds hold their mean at p, and w ≤ 0.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import LastTick, Needs, gate, last_tick, no_tick, outer


class AntiHebbian(NamedTuple):
    """Constants."""

    p: float = 0.0
    """Mean activity of a neuron in a tick."""
    lr: float = 0.01

    needs = Needs(modulator=False, every_tick=True)
    init = staticmethod(no_tick)
    trace = staticmethod(last_tick)

    def delta(self, state: LastTick, w: Tensor, modulator: Tensor) -> Tensor:
        # the mean product of two uncorrelated neurons of the mean activity p
        by_chance = self.p**2
        together = outer(state.y, state.x)
        gated = gate(modulator, together - by_chance)
        return -self.lr * gated


RULE = AntiHebbian
