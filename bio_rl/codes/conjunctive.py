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

from bio_rl.parts import Cost


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
        if isinstance(reach, int | float):
            reach = [reach] * len(sizes)
        reaches = [float(x) for x in reach]
        _check_grid(sizes, reaches, width)
        self.sizes = tuple(sizes)
        self.n = math.prod(sizes)
        self.reach = nn.Buffer(torch.tensor(reaches), persistent=False)
        most = max(sizes)
        intervals = torch.tensor(self.sizes).unsqueeze(-1) - 1  # [F, 1]
        steps = torch.arange(most)
        # [F, most], in units of the reach; where a dimension has fewer cells, the rest are nowhere
        centres = steps * (2.0 / intervals) - 1.0
        centres = torch.where(steps > intervals, torch.inf, centres)
        self.centres = nn.Buffer(centres, persistent=False)
        self.scale = nn.Buffer(intervals * (0.5 / width * 0.5**0.5), persistent=False)
        self.corner = nn.Buffer(_corners(self.sizes, most), persistent=False)

    def cost(self) -> Cost:
        """The arithmetic of a decision: a field along each dimension, then a product for each cell
        of the grid and dimension after the first.
        """
        along = float(sum(self.sizes))
        products = self.n * (len(self.sizes) - 1.0)
        return Cost(adds=2 * along, macs=2 * along + products, functions=along)

    def check(self, features: Tensor) -> None:
        """Raise ValueError for features that are not of this grid's dimensions."""
        if features.shape[-1] != len(self.sizes):
            raise ValueError(
                f"features have shape {tuple(features.shape)}, "
                f"expected [..., F] with F = {len(self.sizes)}"
            )

    def forward(self, features: Tensor) -> Tensor:
        self.check(features)
        inside = (features / self.reach).clamp(-1.0, 1.0).unsqueeze(-1)
        away = ((inside - self.centres) * self.scale).square()  # [..., F, most]
        # over the strongest along each dimension, and so over the strongest of all cells
        along = (away.amin(-1, keepdim=True) - away).exp()
        # each cell takes its field along every dimension: [..., F · Π sizes]
        fields = along.flatten(-2).index_select(-1, self.corner.flatten())
        return fields.unflatten(-1, self.corner.shape).prod(-2)


def _check_grid(sizes: Sequence[int], reaches: Sequence[float], width: float) -> None:
    """Raise ValueError unless these make a grid."""
    too_few = not sizes or min(sizes) < 2
    if too_few or len(reaches) != len(sizes) or min(reaches) <= 0 or width <= 0:
        raise ValueError(
            f"conjunctive grid of sizes {tuple(sizes)}, reach {tuple(reaches)}, width {width}: "
            "expected at least 2 cells along each dimension, "
            "a positive reach for all or each, a positive width"
        )


def _corners(sizes: Sequence[int], most: int) -> Tensor:
    """[F, Π sizes]: for each dimension, where each cell of the grid finds its field along it in [F,
    most], flattened.
    """
    along = [torch.arange(size) for size in sizes]
    places = torch.cartesian_prod(*along).view(-1, len(sizes))
    # the fields along dimension d start at d · most
    starts = most * torch.arange(len(sizes))
    return (places + starts).T.contiguous()


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
        positive = min(n, n_features, columns) > 0 and reach > 0 and width > 0
        if not positive or not 0 < order <= n_features:
            raise ValueError(
                f"{columns} columns of {n} cells over {order} of {n_features} features, "
                f"reach {reach}, width {width}: "
                "expected positive, and no more features than there are"
            )
        self.n = columns * n
        self.n_features = n_features
        self.limit = reach
        self.looks = nn.Buffer(_deal(n_features, columns, order, generator))
        places = torch.rand(columns, n, order, generator=generator)
        self.centres = nn.Buffer((2.0 * places - 1.0) * reach)
        along = n ** (1.0 / order)
        self.sigma = width * 2.0 * reach / max(1.0, along - 1.0)

    def cost(self) -> Cost:
        """The arithmetic of a decision: of each cell a distance in the dimensions that it looks at,
        compared with the least, and its exponential.
        """
        distances = float(self.centres.numel())
        return Cost(adds=distances + 2 * self.n, macs=distances + self.n, functions=self.n)

    def column_features(self, features: Tensor) -> Tensor:
        """The features that each column looks at, within reach: [..., columns, 1, order]."""
        if features.shape[-1] != self.n_features:
            raise ValueError(
                f"features have shape {tuple(features.shape)}, "
                f"expected [..., F] with F = {self.n_features}"
            )
        inside = features.clamp(-self.limit, self.limit)
        # index_select takes a flat index: [..., columns · order]
        chosen = inside.index_select(-1, self.looks.flatten())
        return chosen.unflatten(-1, self.looks.shape).unsqueeze(-2)

    def forward(self, features: Tensor) -> Tensor:
        from_centre = self.column_features(features) - self.centres
        away = from_centre.square().sum(-1) * (0.5 / self.sigma**2)
        # over the strongest of each column
        activity = (away.amin(-1, keepdim=True) - away).exp()
        return activity.flatten(-2)


def _deal(n_features: int, columns: int, order: int, generator: torch.Generator) -> Tensor:
    """[columns, order]: the features that each column looks at, no feature twice in one, dealt out
    as from a shuffled pack.
    """
    # Taken whole before the first is dealt: more columns than fit into memory fail at once.
    hands = torch.empty(columns, order, dtype=torch.int64)
    pack = torch.empty(0, dtype=torch.int64)
    for column in range(columns):
        hand = pack[:order]
        pack = pack[order:]
        missing = order - len(hand)
        if missing:
            fresh = torch.randperm(n_features, generator=generator)
            # the features that the hand holds already go to the end of the new pack
            held = torch.isin(fresh, hand)
            fresh = torch.cat((fresh[~held], fresh[held]))
            hand = torch.cat((hand, fresh[:missing]))
            pack = fresh[missing:]
        hands[column] = hand
    return hands
