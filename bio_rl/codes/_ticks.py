"""The ticks of a decision: the checks and the one reshape that every code shares."""

from __future__ import annotations

from torch import Tensor


def check_ticks(owner: str, ticks: int) -> None:
    """Raise ValueError unless a decision lasts at least one tick."""
    if ticks < 1:
        raise ValueError(f"{owner}: ticks is {ticks}, expected at least 1 tick per decision")


def by_decision(owner: str, train: Tensor, ticks: int) -> Tensor:
    """`train` [T·K, B, N] as [T, K, B, N]. Raises ValueError unless it is whole decisions of K =
    `ticks`.
    """
    check_ticks(owner, ticks)
    if train.dim() != 3 or not train.shape[0] or train.shape[0] % ticks:
        raise ValueError(
            f"{owner}: got shape {tuple(train.shape)}, "
            f"expected [T·K, B, N] with T >= 1 and K = {ticks} ticks"
        )
    return train.unflatten(0, (-1, ticks))
