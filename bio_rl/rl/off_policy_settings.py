"""Settings that every off-policy learner has."""

from __future__ import annotations

from dataclasses import dataclass

from bio_rl.checks import check_settings
from bio_rl.rl.schedule import LearningRateSchedule


@dataclass(frozen=True, kw_only=True)
class OffPolicy(LearningRateSchedule):
    """Settings of every off-policy learner."""

    replay: int = 1_000_000
    """Steps that are kept to learn from, all environments together; never more than the run has."""
    start: int = 1000
    """Steps of random actions before anything is learned."""
    batch: int = 256
    """Steps per gradient step."""
    ratio: float = 1.0
    """Gradient steps per environment step."""
    update_every: int = 1
    """Steps of each environment between updates, which then make up for all of them."""
    sequence: int = 16
    """Steps per training sequence of a network with memory, which starts from the state kept at
    that step.
    """
    gamma: float = 0.99
    """Discount per step."""
    normalise_obs: bool = False
    """Scale Box observations by their running mean and deviation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            self,
            positive=("replay", "batch", "ratio", "update_every", "sequence"),
            non_negative=("start",),
            unit=("gamma",),
        )
