"""Conjunctive population codes: cells that answer to combinations of all input dimensions, relative
to the strongest.

    g_k = exp(-½ Σ_d ((o_d - μ_kd) / σ_d)²)        a_k = g_k / max_l g_l

g is a cell's field as in `codes.population`, but over all dimensions at once; dividing by the
strongest is normalisation by an inhibition that the population drives itself (Carandini & Heeger
2012), so that cells answer wherever the input lies, and in any number of dimensions. A value that
is any smooth function of the input is then about linear in a: what place cells are to a water maze,
and BOXES were to the first learned balancing of a pole (Michie & Chambers 1968; Barto, Sutton &
Anderson 1983). The number of cells of a grid grows as a power of the dimensions; scattered cells do
not need to, and know nothing of the task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Grid(nn.Module):
    """Features [..., F] to activities [..., Π sizes] of cells on a grid; the last dimension's cells
    are neighbours.

    The fields of a grid are products of fields along each dimension, which is how they are
    computed.
    """

    def __init__(
        self, sizes: Sequence[int], reach: float | Sequence[float] = 3.0, width: float = 1.0
    ) -> None:
        """sizes: cells along each dimension, evenly over [-reach, reach], beyond which features
        count as on the border; reach: one for all or one each. width: σ in units of the spacing.
        Raises ValueError for what makes no grid.
        """
        super().__init__()
        reaches = (
            [float(reach)] * len(sizes)
            if isinstance(reach, int | float)
            else [float(x) for x in reach]
        )
        if (
            not sizes
            or min(sizes) < 2
            or len(reaches) != len(sizes)
            or min(reaches) <= 0
            or width <= 0
        ):
            raise ValueError(
                f"conjunctive grid of sizes {tuple(sizes)}, reach {reach}, width {width}: expected at least 2 cells along each "
                "dimension, a positive reach for all or each, a positive width"
            )
        self.sizes, self.n = tuple(sizes), math.prod(sizes)
        self.reach = nn.Buffer(torch.tensor(reaches), persistent=False)
        along, most = torch.tensor(self.sizes).unsqueeze(-1) - 1, max(sizes)
        steps = torch.arange(most)
        centres = (
            steps * (2.0 / along) - 1.0
        )  # [F, most], in reaches; those beyond a dimension's last cell are nowhere
        self.centres = nn.Buffer(torch.where(steps > along, torch.inf, centres), persistent=False)
        self.scale = nn.Buffer(along * (0.5 / width * 0.5**0.5), persistent=False)
        self.corner = nn.Buffer(_corners(self.sizes, most), persistent=False)

    def check(self, features: Tensor) -> None:
        """Raise ValueError for features that are not of this grid's dimensions."""
        if features.shape[-1] != len(self.sizes):
            raise ValueError(
                f"features have shape {tuple(features.shape)}, expected [..., F] with F = {len(self.sizes)}"
            )

    def forward(self, features: Tensor) -> Tensor:
        self.check(features)
        inside = (features / self.reach).clamp(-1.0, 1.0).unsqueeze(-1)
        away = ((inside - self.centres) * self.scale).square()  # [..., F, most]
        along = (away.amin(-1, keepdim=True) - away).exp()
        return (
            along.flatten(-2)
            .index_select(-1, self.corner.flatten())
            .unflatten(-1, self.corner.shape)
            .prod(-2)
        )


def _corners(sizes: Sequence[int], most: int) -> Tensor:
    """[F, Π sizes]: for each dimension, where each cell of the grid finds its field along it in [F,
    most], flattened.
    """
    places = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).view(-1, len(sizes))
    return (places + most * torch.arange(len(sizes))).T.contiguous()


class Scattered(nn.Module):
    """Features [..., F] to activities [..., columns · n] of cells with centres uniform in [-reach,
    reach].

    All cells of a column look at the same features and inhibit one another: a_k = g_k / max over
    the column. With one column over all features these are cells of one conjunctive code; with
    columns over some features each, drawn at random, what their sum can say is a sum of functions
    of a few features, which is what many dimensions allow.
    """

    def __init__(
        self,
        n: int,
        n_features: int,
        generator: torch.Generator,
        reach: float = 3.0,
        width: float = 1.0,
        columns: int = 1,
        order: int = 0,
    ) -> None:
        """n: cells of a column. width: σ, in units of the reach over the number of cells along a
        dimension of a grid of n cells. order: how many features a column looks at, 0 for all; each
        feature is taken as often as any other.
        """
        super().__init__()
        order = order or n_features
        if (
            min(n, n_features, columns) < 1
            or not 0 < order <= n_features
            or reach <= 0
            or width <= 0
        ):
            raise ValueError(
                f"{columns} columns of {n} cells over {order} of {n_features} features, reach {reach}, width {width}: "
                "expected positive, and no more features than there are"
            )
        self.n, self.limit = columns * n, reach
        self.looks = nn.Buffer(_deal(n_features, columns, order, generator))
        self.centres = nn.Buffer(
            (2.0 * torch.rand(columns, n, order, generator=generator) - 1.0) * reach
        )
        self.sigma = width * 2.0 * reach / max(1.0, n ** (1.0 / order) - 1.0)
        self.n_features = n_features

    def seen(self, features: Tensor) -> Tensor:
        """What each column looks at, within reach: [..., columns, 1, order]."""
        if features.shape[-1] != self.n_features:
            raise ValueError(
                f"features have shape {tuple(features.shape)}, expected [..., F] with F = {self.n_features}"
            )
        inside = features.clamp(-self.limit, self.limit)
        return (
            inside.index_select(-1, self.looks.flatten())
            .unflatten(-1, self.looks.shape)
            .unsqueeze(-2)
        )

    def forward(self, features: Tensor) -> Tensor:
        away = (self.seen(features) - self.centres).square().sum(-1) * (0.5 / self.sigma**2)
        return (away.amin(-1, keepdim=True) - away).exp().flatten(-2)


def _deal(n_features: int, columns: int, order: int, generator: torch.Generator) -> Tensor:
    """[columns, order]: the features that each column looks at, no feature twice in one, dealt out
    as from a shuffled pack.
    """
    hands, pack = [], torch.empty(0, dtype=torch.int64)
    for _ in range(columns):
        hand = pack[:order]
        pack = pack[order:]
        if len(hand) < order:
            fresh = torch.randperm(n_features, generator=generator)
            fresh = torch.cat((fresh[~torch.isin(fresh, hand)], fresh[torch.isin(fresh, hand)]))
            need = order - len(hand)
            hand, pack = torch.cat((hand, fresh[:need])), fresh[need:]
        hands.append(hand)
    return torch.stack(hands)
