"""How much of its horizon an agent has lived: what schedules follow."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Horizon(NamedTuple):
    """When a training ends: at whichever comes first."""

    steps: int
    """Environment steps, all environments together."""
    episodes: int = 0
    """Episodes, all environments together; 0 for no such bound."""

    def __str__(self) -> str:
        return f"{self.steps:,} steps" + (
            f" or {self.episodes:,} episodes" if self.episodes else ""
        )

    def lived(self, steps: int, episodes: int) -> float:
        """The share of it that is over, from 0 to 1."""
        share = max(steps / self.steps, episodes / self.episodes if self.episodes else 0.0)
        return min(1.0, share)


class Clock(nn.Module):
    """Counts what an agent has learned from; its counts are part of the agent's state dict, its
    horizon is not.
    """

    def __init__(self, horizon: Horizon, groups: int = 1) -> None:
        """groups: seeds whose counts are kept apart."""
        super().__init__()
        self.horizon = horizon
        shape = () if groups == 1 else (groups,)
        self.steps = nn.Buffer(torch.zeros(shape, dtype=torch.int64))
        """[] or [G]."""
        self.episodes = nn.Buffer(torch.zeros(shape, dtype=torch.int64))

    def _apply(self, fn, recurse: bool = True):  # type: ignore[override]
        """Stays on the CPU: schedules are read by Python."""
        return self

    def count(self, steps: int | Tensor, episodes: int | Tensor) -> None:
        """Add to the counts; [G] of each seed."""
        self.steps.add_(steps)
        if isinstance(episodes, Tensor) or episodes:  # at few decisions does one end
            self.episodes.add_(episodes)

    @property
    def lived_by_seed(self) -> list[float]:
        """The share of the horizon that is over for each seed, from 0 to 1."""
        steps = self.steps.view(-1).tolist()
        episodes = self.episodes.view(-1).tolist()
        pairs = zip(steps, episodes, strict=True)
        return [self.horizon.lived(*counts) for counts in pairs]

    @property
    def lived_each(self) -> Tensor:
        """[G] the share of the horizon that is over for each of several seeds, from 0 to 1."""
        return torch.tensor(self.lived_by_seed)

    @property
    def lived(self) -> float:
        """The share of the horizon that is over, from 0 to 1."""
        return self.horizon.lived(int(self.steps), int(self.episodes))
