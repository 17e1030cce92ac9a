"""Features for several seeds that learn side by side, each with running statistics of its own."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl.groups import blocks
from bio_rl.rl import observations
from bio_rl.state import tree_map


class GroupFeatures(nn.Module):
    """Observations whose rows are blocks of G seeds as features (`observations.Features`)."""

    def __init__(
        self, space: gym.Space, normalise: bool, groups: int, flatten: bool = False
    ) -> None:
        """The arguments of `observations.for_space`, and how many seeds there are."""
        super().__init__()
        self.each = [observations.for_space(space, normalise, flatten) for _ in range(groups)]
        """The features of each seed."""
        self.members = nn.ModuleList(self.each)
        self.normalise = normalise
        self.size = self.each[0].size

    @property
    def scaled(self) -> int:
        """The numbers that a running mean and deviation scale."""
        return self.each[0].scaled

    def forward(self, obs: Any, axis: int = 0) -> Any:
        """The features of obs whose rows are at `axis`."""
        if not self.normalise or len(self.each) == 1:
            # Without statistics all seeds see alike.
            return self.each[0](obs)
        parts = blocks(obs, len(self.each), axis)
        features = [member(part) for member, part in zip(self.each, parts, strict=True)]
        return tree_map(lambda *x: torch.cat(x, axis), *features)

    def update(self, obs: Any, valid: Tensor) -> None:
        """Take obs [T, G·B, *obs] of the rows where valid [T, G·B] into the running statistics."""
        groups = len(self.each)
        observed = blocks(obs, groups, 1)
        counted = blocks(valid, groups, 1)
        for member, part, rows in zip(self.each, observed, counted, strict=True):
            member.update(part, rows)

    def compact(self, obs: Any) -> Any:
        """Observations in the least precision from which the same features come."""
        # All seeds have the same kind of features.
        first = self.each[0]
        return first.compact(obs)
