"""The axis of seeds that learn side by side: rows [G·B, ...] are G blocks of B."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class SeedAxis:
    """Sums, draws and spreads over the blocks of rows of G seeds, each with its own generator."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = generators
        self.groups = len(generators)

    def draw(self, noise: Callable[[torch.Generator], Tensor]) -> Tensor:
        """[..., G·B, A] the noise of every seed, where `noise` draws [..., B, A] from a generator.

        The rows are at -2, so that sequences [L, G·B, A] and decisions [G·B, A] are served alike.
        """
        drawn = [noise(generator) for generator in self.generators]
        if len(drawn) == 1:
            return drawn[0]
        return torch.cat(drawn, -2)

    def block(self, x: Tensor) -> Tensor:
        """The rows of one seed [..., B, A] of x [..., G·B, A], for their shape."""
        blocks = x.chunk(self.groups, -2)
        return blocks[0]

    def spread(self, x: Tensor, like: Tensor) -> Tensor:
        """x [G] for each of the rows of `like` [..., G·B]."""
        if self.groups == 1:
            # One number broadcasts over all rows.
            return x
        rows = like.shape[-1] // self.groups
        return x.repeat_interleave(rows)

    def total(self, x: Tensor) -> Tensor:
        """[G] the sum over the steps [L, G·B] of each seed."""
        by_seed = x.reshape(len(x), self.groups, -1)
        return by_seed.sum((0, 2))

    def mean_weights(self, valid: Tensor) -> Tensor:
        """[L, G·N] what each step counts in its seed's mean: one over the number of valid ones, 0
        where it is not valid itself.

        valid: bool [L, G·N].
        """
        counted = valid.to(torch.float32)
        by_seed = counted.view(len(valid), self.groups, -1)
        # A seed without a valid step has a mean of nothing, which is 0.
        count = by_seed.sum((0, 2)).clamp(min=1.0)
        total = self.spread(count, counted)
        return counted / total
