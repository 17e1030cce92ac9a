"""The ABCD rule: Hebbian plasticity whose every synapse has coefficients of its own, found by
evolution.

    Δw_ji = η_ji M (A_ji o_i o_j + B_ji o_i + C_ji o_j + D_ji)

o_i and o_j are pre.spike and post.spike of the last tick, usually activities; `delta` is due every
tick, with M = 1 as published. η, A, B, C and D are numbers or tensors [..., post, pre], one for
each synapse, with leading axes where individuals differ. The defaults are Hebb's rule. Najarro &
Risi 2020 (their i is the presynaptic neuron too, their w_ij our w_ji).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import LastTick, Needs, gate, last_tick, no_tick, outer


class ABCD(NamedTuple):
    """Constants, each a number or [..., post, pre]."""

    a: float | Tensor = 1.0
    b: float | Tensor = 0.0
    c: float | Tensor = 0.0
    d: float | Tensor = 0.0
    lr: float | Tensor = 0.01

    needs = Needs(modulator=False, every_tick=True)
    init = staticmethod(no_tick)
    trace = staticmethod(last_tick)

    def delta(self, state: LastTick, w: Tensor, modulator: Tensor) -> Tensor:
        # unsqueezed, the activities line up with the synapses [..., post, pre]
        pre = state.x.unsqueeze(-2)
        post = state.y.unsqueeze(-1)

        # the coefficients may be one number, or another for each synapse
        both = outer(state.y, state.x)
        terms = self.a * both + self.b * pre + self.c * post + self.d
        gated = gate(modulator, terms)
        return self.lr * gated


RULE = ABCD
