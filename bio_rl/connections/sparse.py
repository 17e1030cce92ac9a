"""A fixed random subset of the synapses:  drive_j = Σ_i m_ji w_ji s_i + b_j,  m in {0, 1}.

Every neuron has the same number of inputs, C = density · pre, chosen at random (Brunel 2000). The
product is a dense one with zeros: the mask is a constraint of the model, not a saving of time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bio_rl.connections._base import BaseConnection
from bio_rl.connections._init import orthogonal_weight, zero_bias


class Connection(BaseConnection):
    """Spikes [..., pre] to drive [..., post]; no state.

    density: fraction of the presynaptic neurons that a neuron listens to, at least one. gain: scale
    of the initial weights, which are orthogonal before they are thinned, and grow by 1/√density so
    that a neuron's weight vector keeps its length.
    """

    name = "sparse"

    mask: Tensor

    def __init__(
        self,
        n_pre: int,
        n_post: int,
        *,
        density: float = 0.1,
        gain: float = 1.0,
        graded: bool = True,
    ) -> None:
        super().__init__(n_pre, n_post, graded)
        if not 0 < density <= 1:
            raise ValueError(f"sparse: density is {density}, expected a fraction in (0, 1]")
        inputs = max(1, round(density * n_pre))
        # the first C of a random order of all presynaptic neurons, for each neuron another
        order = torch.rand(n_post, n_pre).argsort(1)
        chosen = order[:, :inputs]
        mask = torch.zeros(n_post, n_pre).scatter(1, chosen, 1.0)
        self.mask = nn.Buffer(mask)
        # so that the vector of the remaining weights keeps its length
        gain *= (n_pre / inputs) ** 0.5
        self.weight = orthogonal_weight(n_post, n_pre, gain=gain)
        with torch.no_grad():
            self.weight.mul_(self.mask)
        self.bias = zero_bias(n_post)

    def effective_weight(self) -> Tensor:
        """w [post, pre], zero where there is no synapse."""
        return self.weight * self.mask
