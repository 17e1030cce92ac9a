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
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn, -2)

    def block(self, x: Tensor) -> Tensor:
        """The rows of one seed [..., B, A] of x [..., G·B, A], for their shape."""
        return x.chunk(self.groups, -2)[0]

    def spread(self, x: Tensor, like: Tensor) -> Tensor:
        """x [G] for each of the rows of `like` [..., G·B]."""
        return x if self.groups == 1 else x.repeat_interleave(like.shape[-1] // self.groups)

    def total(self, x: Tensor) -> Tensor:
        """[G] the sum over the steps [L, G·B] of each seed."""
        return x.reshape(len(x), self.groups, -1).sum((0, 2))

    def mean_weights(self, valid: Tensor, weight: Tensor) -> Tensor:
        """[L, G·N] what each step counts in its seed's mean: its weight over the number of valid
        ones, 0 where it is not valid.

        valid: bool [L, G·N]. weight: [G·N] of each sequence.
        """
        valid = valid.to(weight.dtype)
        count = valid.view(len(valid), self.groups, -1).sum((0, 2)).clamp(min=1.0)
        return valid * weight / self.spread(count, valid)
