"""The instar rule: an active neuron's weights turn towards the input that it was active for.

    Δw_ji = η M y_j (x_i - w_ji)

x and y are pre.spike and post.spike of the last tick, activities; `delta` is due every tick, with M
= 1 where nothing gates. Among neurons that compete, so that few are active at once, each comes to
stand for a cluster of inputs, and together they spread as inputs do: competitive learning.
Grossberg 1976; Rumelhart & Zipser 1985; with a neighbourhood Kohonen 1982.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import LastTick, Needs, gate, last_tick, no_tick


class Instar(NamedTuple):
    """Constants."""

    lr: float = 0.05

    needs = Needs(modulator=False, every_tick=True)
    init = staticmethod(no_tick)
    trace = staticmethod(last_tick)

    def delta(self, state: LastTick, w: Tensor, modulator: Tensor) -> Tensor:
        # unsqueezed, the activities line up with the synapses [..., post, pre]
        pre = state.x.unsqueeze(-2)
        post = state.y.unsqueeze(-1)
        change = post * (pre - w)
        gated = gate(modulator, change)
        return self.lr * gated


RULE = Instar
