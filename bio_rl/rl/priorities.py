"""Priorities of the sequences of a replay. Schaul et al. 2016, arXiv 1511.05952."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bio_rl.rl.sum_tree import SumTree

SMALLEST = 1e-6
"""Added to a priority, so that every sequence can be sampled again. Schaul et al. 2016, §3.3."""


class Priorities:
    """A sum tree over the places of each of G groups.

    alpha: how much priorities count (eq. 1).
    """

    def __init__(self, groups: int, alpha: float, device: torch.device) -> None:
        self.groups = groups
        self.alpha = alpha
        self.device = device
        self.trees: list[SumTree] = []
        self.highest = torch.ones(groups, dtype=torch.float64, device=device)
        """[G] the largest priority so far. New sequences get it, so that each is soon sampled."""

    def allocate(self, places: int) -> None:
        """Forget everything, and make room for so many places of each group."""
        self.trees = []
        for _ in range(self.groups):
            self.trees.append(SumTree(places, self.device))

    def sample(
        self, n: int, generators: Sequence[torch.Generator], beta: float
    ) -> tuple[Tensor, Tensor]:
        """(places [G·n], weights [G·n]), n for each group in proportion to its priorities.

        Weights are (N P(i))^-β / max, with which a sum over the sample estimates one over all
        sequences (§3.4).
        """
        pairs = zip(self.trees, generators, strict=True)
        samples = [self._sample_one(tree, n, generator, beta) for tree, generator in pairs]
        places, weights = zip(*samples, strict=True)
        return torch.cat(places), torch.cat(weights)

    def _sample_one(
        self, tree: SumTree, n: int, generator: torch.Generator, beta: float
    ) -> tuple[Tensor, Tensor]:
        # Stratified: one place from each n-th of the whole mass.
        within = torch.rand(n, generator=generator, device=self.device, dtype=torch.float64)
        part = torch.arange(n, device=self.device)
        mass = (part + within) / n * tree.total
        place = tree.find(mass)
        probability = tree[place] / tree.total
        # N^-β of the paper's weights falls out as they are divided by the largest.
        weight = probability**-beta
        weight = weight / weight.max()
        return place, weight.to(torch.float32)

    def set(self, places: Tensor, priority: Tensor) -> None:
        """New priorities [G·n], such as |δ|, of the sequences at places [G·n], n of each group."""
        priority = priority.detach().to(torch.float64)
        scaled = (priority + SMALLEST) ** self.alpha
        largest = scaled.view(self.groups, -1).amax(1)
        self.highest = torch.maximum(self.highest, largest)
        by_group = zip(
            self.trees, places.chunk(self.groups), scaled.chunk(self.groups), strict=True
        )
        for tree, at, value in by_group:
            tree.set(at, value)

    def renew(self, written: Tensor, whole: Tensor) -> None:
        """The places `written` [W] of every group hold new steps: they cannot be sampled until the
        sequence that starts there is whole, as it now is at the places `whole`.
        """
        nothing = torch.zeros_like(written, dtype=torch.float64)
        for tree, highest in zip(self.trees, self.highest, strict=True):
            tree.set(written, nothing)
            tree.set(whole, highest.expand(len(whole)))

    def values(self, places: Tensor) -> Tensor:
        """[G, W] the priorities of the places [W] of every group."""
        by_group = [tree[places] for tree in self.trees]
        return torch.stack(by_group)

    def restore(self, places: Tensor, values: Tensor) -> None:
        """Set the priorities of the places [W] of every group to `values` [G, W]."""
        for tree, value in zip(self.trees, values.to(self.device), strict=True):
            tree.set(places, value)
