"""All-to-all weights:  drive_j = Σ_i w_ji s_i + b_j.

A product with spikes needs those spikes again for its weight gradient; `spike_linear` keeps them in
one byte an element instead of four.
"""

from __future__ import annotations

from bio_rl.connections._base import BaseConnection
from bio_rl.connections._init import orthogonal_weight, zero_bias
from bio_rl.connections._linear import SMALL, Linear, linear, spike_linear

__all__ = ["SMALL", "Connection", "Linear", "linear", "spike_linear"]


class Connection(BaseConnection):
    """Spikes [..., pre] to drive [..., post]; no state.

    gain: scale of the orthogonal initial weights; the bias starts at zero. The weights may have a
    group axis, [G, post, pre], as in `linear`.
    """

    name = "dense"

    def __init__(self, n_pre: int, n_post: int, *, gain: float = 1.0, graded: bool = True) -> None:
        super().__init__(n_pre, n_post, graded)
        self.weight = orthogonal_weight(n_post, n_pre, gain=gain)
        self.bias = zero_bias(n_post)
