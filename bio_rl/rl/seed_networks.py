"""Networks for several seeds that learn side by side, and their targets."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from bio_rl.contracts import Network
from bio_rl.groups import seeded, side_by_side
from bio_rl.networks import Blueprint
from bio_rl.rl import encoders
from bio_rl.rl.observations import Mixed


class Scalars(nn.Module):
    """A learned number for each of G seeds."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(groups))
        """[G]."""


def actors(
    network: Blueprint, size: int | Mixed, n_out: int, seeds: Sequence[int], out_gain: float = 1.0
) -> Network:
    """A network from features of `size` to [B, n_out] for each seed, side by side."""

    def build() -> Network:
        return encoders.build(
            network,
            size,
            n_out,
            out_gain,
        )

    members = [seeded(seed, build) for seed in seeds]
    return side_by_side(members)


def copied(network: nn.Module) -> Any:
    """A target network: the same weights, without gradients."""
    target = copy.deepcopy(network)
    return target.requires_grad_(False)
