"""Conjunctive population codes: cells that answer to combinations of all input dimensions, relative to the strongest.

    g_k = exp(-½ Σ_d ((o_d - μ_kd) / σ_d)²)        a_k = g_k / max_l g_l

g is a cell's field as in `codes.population`, but over all dimensions at once; dividing by the strongest is normalisation by
an inhibition that the population drives itself (Carandini & Heeger 2012), so that cells answer wherever the input lies, and in
any number of dimensions. A value that is any smooth function of the input is then about linear in a: what place cells are to
a water maze, and BOXES were to the first learned balancing of a pole (Michie & Chambers 1968; Barto, Sutton & Anderson 1983).
The number of cells of a grid grows as a power of the dimensions; scattered cells do not need to, and know nothing of the task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Grid(nn.Module):
    """Features [..., F] to activities [..., Π sizes] of cells on a grid; the last dimension's cells are neighbours.

    The fields of a grid are products of fields along each dimension, which is how they are computed.
    """

    def __init__(self, sizes: Sequence[int], reach: float | Sequence[float] = 3.0, width: float = 1.0) -> None:
        """sizes: cells along each dimension, evenly over [-reach, reach], beyond which features count as on the border;
        reach: one for all or one each. width: σ in units of the spacing. Raises ValueError for what makes no grid."""
        super().__init__()
        reaches = [float(reach)] * len(sizes) if isinstance(reach, int | float) else [float(x) for x in reach]
        if not sizes or min(sizes) < 2 or len(reaches) != len(sizes) or min(reaches) <= 0 or width <= 0:
            raise ValueError(
                f"conjunctive grid of sizes {tuple(sizes)}, reach {reach}, width {width}: expected at least 2 cells along each "
                "dimension, a positive reach for all or each, a positive width"
            )
        self.sizes, self.n = tuple(sizes), math.prod(sizes)
        self.reach = nn.Buffer(torch.tensor(reaches), persistent=False)
        along, most = torch.tensor(self.sizes).unsqueeze(-1) - 1, max(sizes)
        steps = torch.arange(most)
        centres = steps * (2.0 / along) - 1.0  # [F, most], in reaches; those beyond a dimension's last cell are nowhere
        self.centres = nn.Buffer(torch.where(steps > along, torch.inf, centres), persistent=False)
        self.scale = nn.Buffer(along * (0.5 / width * 0.5**0.5), persistent=False)
        self.corner = nn.Buffer(_corners(self.sizes, most), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        if features.shape[-1] != len(self.sizes):
            raise ValueError(f"features have shape {tuple(features.shape)}, expected [..., F] with F = {len(self.sizes)}")
        inside = (features / self.reach).clamp(-1.0, 1.0).unsqueeze(-1)
        away = ((inside - self.centres) * self.scale).square()  # [..., F, most]
        along = (away.amin(-1, keepdim=True) - away).exp()
        return along.flatten(-2).index_select(-1, self.corner).unflatten(-1, (len(self.sizes), -1)).prod(-2)


def _corners(sizes: Sequence[int], most: int) -> Tensor:
    """[F · Π sizes]: for each dimension, where each cell of the grid finds its field along it in [F, most], flattened."""
    places = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).view(-1, len(sizes))
    return (places + most * torch.arange(len(sizes))).T.flatten()


class Scattered(nn.Module):
    """Features [..., F] to activities [..., n] of cells with centres uniform in [-reach, reach] along each dimension."""

    def __init__(self, n: int, n_features: int, generator: torch.Generator, reach: float = 3.0, width: float = 1.0) -> None:
        """width: σ, in units of the reach over the number of cells along a dimension of a grid of n cells."""
        super().__init__()
        if min(n, n_features) < 1 or reach <= 0 or width <= 0:
            raise ValueError(f"{n} scattered cells over {n_features} features, reach {reach}, width {width}: expected positive")
        self.n = n
        self.centres = nn.Buffer((2.0 * torch.rand(n, n_features, generator=generator) - 1.0) * reach)
        self.sigma = width * 2.0 * reach / max(1.0, n ** (1.0 / n_features) - 1.0)
        self.limit = reach

    def forward(self, features: Tensor) -> Tensor:
        if features.shape[-1] != self.centres.shape[1]:
            raise ValueError(f"features have shape {tuple(features.shape)}, expected [..., F] with F = {self.centres.shape[1]}")
        inside = features.clamp(-self.limit, self.limit)
        away = (inside.unsqueeze(-2) - self.centres).square().sum(-1) * (0.5 / self.sigma**2)
        return (away.amin(-1, keepdim=True) - away).exp()
