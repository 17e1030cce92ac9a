"""A sum tree over priorities: drawing in proportion to them and changing them, both in O(log n) and
in whole batches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class SumTree:
    """Priorities p_i >= 0 of n places, all 0 at first. Schaul et al. 2016, appendix B.2.1."""

    def __init__(self, n: int, device: torch.device | str = "cpu") -> None:
        least = max(n, 2)
        self.depth = max(1, math.ceil(math.log2(least)))
        self.leaves = 1 << self.depth
        size = 2 * self.leaves
        self.nodes = torch.zeros(size, dtype=torch.float64, device=device)
        """The root is node 1; the children of i are 2i and 2i + 1; place j is node `leaves` + j."""

    @property
    def total(self) -> Tensor:
        """Σ p_i, a scalar."""
        return self.nodes[1]

    def __getitem__(self, places: Tensor) -> Tensor:
        """Their priorities, of the shape of `places`."""
        node = places + self.leaves
        return self.nodes[node]

    def set(self, places: Tensor, priorities: Tensor) -> None:
        """New priorities [N] of places [N]; of a place that is named twice one of them."""
        node = places + self.leaves
        self.nodes[node] = priorities.to(self.nodes.dtype)
        # Up to the root, a level at a time: a parent is the sum of its children.
        for _ in range(self.depth):
            node = node >> 1
            left = self.nodes[2 * node]
            right = self.nodes[2 * node + 1]
            self.nodes[node] = left + right

    def find(self, mass: Tensor) -> Tensor:
        """The places [N] where the running sum of priorities passes `mass` [N] in [0, total)."""
        mass = mass.to(self.nodes.dtype).clone()
        node = torch.ones_like(mass, dtype=torch.int64)
        # Down from the root: to the left where its sum holds the mass, else to the right with the
        # rest of it.
        for _ in range(self.depth):
            left = self.nodes[2 * node]
            right = mass >= left
            # Rounding must not lead into an empty branch.
            right &= self.nodes[2 * node + 1] > 0
            mass -= torch.where(right, left, 0.0)
            node = 2 * node + right
        return node - self.leaves
