"""Weights from a layer to itself:  drive_j = Σ_{i≠j} w_ji s_i,  under Dale's law
    w_ji = sign_i |v_ji|.

s are the layer's spikes of the tick before. The drive adds to that of the layer's input, which has
the bias. No neuron excites itself (autapses) unless asked. Dale's law: every neuron either excites
or inhibits all its targets (trained as in Song, Yang & Wang 2016, with |·| for their [·]₊ so that
no synapse dies at zero).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bio_rl.connections._base import BaseConnection
from bio_rl.connections._init import orthogonal_weight


class Connection(BaseConnection):
    """Spikes [..., n] to drive [..., n]; no state.

    gain: initial length of a neuron's weight vector. autapses: let neurons drive themselves.
    populations: number of blocks of neurons, each of which drives itself alone. dale: each
    presynaptic neuron has one sign, the fraction `inhibitory` of them -1, drawn at construction.
    """

    name = "recurrent"
    between_layers = False

    mask: Tensor

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
        super().__init__(n_pre, n_post, graded)
        if n_pre != n_post:
            raise ValueError(
                f"recurrent: n_pre is {n_pre} and n_post {n_post}, "
                "expected the same: a layer drives itself"
            )
        size = _population_size(n_pre, populations, autapses)
        self.dale = dale
        within = torch.ones(size, size)
        if not autapses:
            within = 1.0 - torch.eye(size)
        # a block for each population, and no synapse between them
        mask = torch.block_diag(*[within] * populations)
        self.mask = nn.Buffer(mask, persistent=False)
        # the drive adds to that of the input, which has a bias
        self.register_parameter("bias", None)
        if dale:
            self.signs = nn.Buffer(_signs(n_pre, inhibitory))
            weight = balanced(self.signs, mask, gain)
        else:
            weight = _orthogonal_blocks(populations, within, gain)
        self.weight = nn.Parameter(weight)

    def effective_weight(self) -> Tensor:
        """w [post, pre] as the spikes see it: no autapses, and the signs of Dale's law."""
        if self.dale:
            signs = self.mask * self.signs
            return self.weight.abs() * signs
        return self.weight * self.mask


def _population_size(n: int, populations: int, autapses: bool) -> int:
    """The neurons of each population. Raises ValueError where they would have no synapse."""
    if populations < 1 or n % populations:
        raise ValueError(
            f"recurrent: {n} neurons cannot be {populations} populations of the same size"
        )
    size = n // populations
    if size == 1 and not autapses:
        raise ValueError(
            "recurrent: one neuron without autapses has no synapse; "
            "give more neurons or autapses=True"
        )
    return size


def _orthogonal_blocks(populations: int, within: Tensor, gain: float) -> Tensor:
    """Weights [post, pre] of the populations, each orthogonal before its mask `within`."""
    blocks = []
    for _ in range(populations):
        block = orthogonal_weight(*within.shape, gain=gain)
        blocks.append(block.detach() * within)
    return torch.block_diag(*blocks)


def _signs(n: int, inhibitory: float) -> Tensor:
    """[n] the signs of the neurons, drawn. Raises ValueError unless there are both kinds."""
    n_inhibitory = round(inhibitory * n)
    # without a neuron of either kind there is nothing to balance
    if not 0 < n_inhibitory < n:
        raise ValueError(
            f"recurrent: inhibitory is {inhibitory}, {n_inhibitory} of {n} neurons; "
            "expected a fraction that leaves both kinds"
        )
    return torch.where(torch.randperm(n) < n_inhibitory, -1.0, 1.0)


def balanced(signs: Tensor, mask: Tensor, gain: float) -> Tensor:
    """Magnitudes |N(0, σ²)| [post, pre] with which excitation and inhibition of every neuron cancel
    in expectation.

    signs [pre] in ±1, mask [post, pre] in {0, 1}. Of a neuron's n = n_E + n_I inputs the rarer kind
    is the stronger: σ_E = gain √(n_I / (n_E n)), σ_I = gain √(n_E / (n_I n)), so that n_E σ_E = n_I
    σ_I and E Σ_i w_ji² = gain². Where one kind is absent there is no balance. Rajan & Abbott 2006.
    """
    # [post, 1]: each neuron has its own numbers of inputs
    n = mask.sum(1, keepdim=True)
    excites = mask * (signs > 0)
    n_e = excites.sum(1, keepdim=True).clamp(min=1)
    n_i = (n - n_e).clamp(min=1)

    # the rarer kind is the stronger
    sigma_e = (n_i / (n_e * n)).sqrt()
    sigma_i = (n_e / (n_i * n)).sqrt()
    sigma = gain * torch.where(signs > 0, sigma_e, sigma_i)
    magnitudes = torch.randn_like(mask).abs()
    return magnitudes * sigma * mask
