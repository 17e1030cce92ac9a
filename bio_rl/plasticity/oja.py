"""Oja's rule: Hebbian growth that normalises itself.

    Δw_ji = η M y_j (x_i - y_j w_ji)

x and y are pre.spike and post.spike of the last tick, usually activities; `delta` is due every
tick, with M = 1 where nothing gates. For y = Σ w x and inputs of mean zero w turns to the first
principal component, with length one. Oja 1982.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import LastTick, Needs, gate, last_tick, no_tick


class Oja(NamedTuple):
    """Constants."""

    lr: float = 0.01

    needs = Needs(modulator=False, every_tick=True)
    init = staticmethod(no_tick)
    trace = staticmethod(last_tick)

    def delta(self, state: LastTick, w: Tensor, modulator: Tensor) -> Tensor:
        # unsqueezed, the activities line up with the synapses [..., post, pre]
        pre = state.x.unsqueeze(-2)
        post = state.y.unsqueeze(-1)
        # the last term shrinks a long weight vector
        change = post * (pre - post * w)
        gated = gate(modulator, change)
        return self.lr * gated


RULE = Oja
