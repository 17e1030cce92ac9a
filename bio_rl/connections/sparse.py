"""A fixed random subset of the synapses:  drive_j = Σ_i m_ji w_ji s_i + b_j,  m in {0, 1}.

Every neuron has the same number of inputs, C = density · pre, chosen at random (Brunel 2000). The
product is a dense one with zeros: the mask is a constraint of the model, not a saving of time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bio_rl.connections._check import check_sizes, check_spikes
from bio_rl.connections._init import orthogonal
from bio_rl.connections.dense import spike_linear


class Connection(nn.Module):
    """Spikes [..., pre] to drive [..., post]; no state.

    density: fraction of the presynaptic neurons that a neuron listens to, at least one. gain: of
    the initial weights, which are orthogonal before they are thinned, and scaled by 1/√density so
    that a neuron's weight vector keeps its length. graded: as in dense.
    """

    def __init__(
        self,
        n_pre: int,
        n_post: int,
        *,
        density: float = 0.1,
        gain: float = 1.0,
        graded: bool = True,
    ) -> None:
        super().__init__()
        check_sizes("sparse", n_pre=n_pre, n_post=n_post)
        if not 0 < density <= 1:
            raise ValueError(f"sparse: density is {density}, expected a fraction in (0, 1]")
        self.graded = graded
        inputs = max(1, round(density * n_pre))
        chosen = torch.rand(n_post, n_pre).argsort(1)[:, :inputs]
        self.mask = nn.Buffer(torch.zeros(n_post, n_pre).scatter(1, chosen, 1.0))
        self.weight = orthogonal(n_post, n_pre, gain=gain * (n_pre / inputs) ** 0.5)
        with torch.no_grad():
            self.weight.mul_(self.mask)
        self.bias = nn.Parameter(torch.zeros(n_post))

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def forward(
        self, spikes: Tensor, state: tuple[()], dt: float = 1.0
    ) -> tuple[Tensor, tuple[()]]:
        """(drive, ()). Raises ValueError for spikes of another layer's size."""
        check_spikes("sparse", spikes, self.weight.shape[1])
        linear = F.linear if self.graded else spike_linear
        return linear(spikes, self.weight * self.mask, self.bias), state
