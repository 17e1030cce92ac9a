"""Weights from a layer to itself:  drive_j = Σ_{i≠j} w_ji s_i,  under Dale's law
    w_ji = sign_i |v_ji|.

s are the layer's spikes of the tick before. The drive adds to that of the layer's input, which has
the bias. No neuron excites itself (autapses) unless asked. Dale's law: every neuron either excites
or inhibits all its targets (trained as in Song, Yang & Wang 2016, with |·| for their [·]₊ so that
no synapse dies at zero).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bio_rl.connections._check import check_sizes, check_spikes
from bio_rl.connections._init import orthogonal
from bio_rl.connections.dense import spike_linear


class Connection(nn.Module):
    """Spikes [..., n] to drive [..., n]; no state.

    gain: initial length of a neuron's weight vector. autapses: let neurons drive themselves.
    populations: so many blocks of neurons, each of which drives only its own. dale: each
    presynaptic neuron has one sign, the fraction `inhibitory` of them -1, drawn at construction.
    graded: as in dense.
    """

    def __init__(
        self,
        n_pre: int,
        n_post: int,
        *,
        gain: float = 1.0,
        autapses: bool = False,
        populations: int = 1,
        dale: bool = False,
        inhibitory: float = 0.2,
        graded: bool = True,
    ) -> None:
        super().__init__()
        check_sizes("recurrent", n_pre=n_pre, n_post=n_post)
        if n_pre != n_post:
            raise ValueError(
                f"recurrent: n_pre is {n_pre} and n_post {n_post}, expected the same: a layer drives itself"
            )
        if populations < 1 or n_pre % populations:
            raise ValueError(
                f"recurrent: {n_pre} neurons cannot be {populations} populations of the same size"
            )
        size = n_pre // populations
        if size == 1 and not autapses:
            raise ValueError(
                "recurrent: one neuron without autapses has no synapse; give more neurons or autapses=True"
            )
        n_inh = round(inhibitory * n_pre)
        if dale and not 0 < n_inh < n_pre:
            raise ValueError(
                f"recurrent: inhibitory is {inhibitory}, {n_inh} of {n_pre} neurons; expected a fraction that leaves both kinds"
            )
        self.graded, self.dale = graded, dale
        own = torch.ones(size, size) if autapses else 1.0 - torch.eye(size)
        mask = torch.block_diag(*[own] * populations)
        self.mask = nn.Buffer(mask, persistent=False)
        if dale:
            self.signs = nn.Buffer(torch.where(torch.randperm(n_pre) < n_inh, -1.0, 1.0))
            self.weight = nn.Parameter(balanced(self.signs, mask, gain))
        else:
            blocks = [orthogonal(size, size, gain=gain).detach() * own for _ in range(populations)]
            self.weight = nn.Parameter(torch.block_diag(*blocks))

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def effective_weight(self) -> Tensor:
        """w [post, pre] as the spikes see it: no autapses, and the signs of Dale's law."""
        return (
            self.weight.abs() * (self.mask * self.signs) if self.dale else self.weight * self.mask
        )

    def forward(
        self, spikes: Tensor, state: tuple[()], dt: float = 1.0
    ) -> tuple[Tensor, tuple[()]]:
        """(drive, ()). Raises ValueError for spikes of another layer's size."""
        check_spikes("recurrent", spikes, self.weight.shape[1])
        linear = F.linear if self.graded else spike_linear
        return linear(spikes, self.effective_weight()), state


def balanced(signs: Tensor, mask: Tensor, gain: float) -> Tensor:
    """Magnitudes |N(0, σ²)| [post, pre] with which excitation and inhibition of every neuron cancel
    in expectation.

    signs [pre] in ±1, mask [post, pre] in {0, 1}. Of a neuron's n = n_E + n_I inputs the rarer kind
    is the stronger: σ_E = gain √(n_I / (n_E n)), σ_I = gain √(n_E / (n_I n)), so that n_E σ_E = n_I
    σ_I and E Σ_i w_ji² = gain². Where one kind is absent there is no balance. Rajan & Abbott 2006.
    """
    excites = mask * (signs > 0)
    n = mask.sum(1, keepdim=True)
    n_e = excites.sum(1, keepdim=True).clamp(min=1)
    n_i = (n - n_e).clamp(min=1)
    sigma = gain * torch.where(signs > 0, (n_i / (n_e * n)).sqrt(), (n_e / (n_i * n)).sqrt())
    return torch.randn_like(mask).abs() * sigma * mask
