"""Sanger's rule, the generalised Hebbian algorithm: each output learns from what the outputs before
it leave unexplained.

    Δw_ji = η M y_j (x_i - Σ_{k≤j} y_k w_ki)

x and y are pre.spike and post.spike of the last tick, usually activities; `delta` is due every
tick, with M = 1 where nothing gates. For y = W x and inputs of mean zero the rows of W become the
principal components, in order. Sanger 1989. The sum makes the rule less local than the others: a
synapse needs the activities and the weights of the outputs before its own.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import LastTick, Needs, gate, last_tick, no_tick


class Sanger(NamedTuple):
    """Constants."""

    lr: float = 0.01

    needs = Needs(modulator=False, every_tick=True)
    init = staticmethod(no_tick)
    trace = staticmethod(last_tick)

    def delta(self, state: LastTick, w: Tensor, modulator: Tensor) -> Tensor:
        # unsqueezed, the activities line up with the synapses [..., post, pre]
        pre = state.x.unsqueeze(-2)
        post = state.y.unsqueeze(-1)
        # a sum over the outputs up to each, so that the first explains most
        explained = (post * w).cumsum(-2)
        change = post * (pre - explained)
        gated = gate(modulator, change)
        return self.lr * gated


RULE = Sanger
