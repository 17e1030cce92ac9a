"""Checks shared by the connections: sizes at construction, the spikes' shape on entry."""

from __future__ import annotations

from torch import Tensor


def check_sizes(owner: str, **sizes: int) -> None:
    """Raise ValueError unless every size is positive."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{owner}: {name} is {size}, expected a positive number")


def check_spikes(owner: str, spikes: Tensor, n_pre: int, batched: bool = False) -> None:
    """Raise ValueError unless spikes are [..., pre], or [B, pre] where there is a state
    (`batched`).
    """
    wrong_axes = spikes.dim() != 2 if batched else spikes.dim() == 0
    if wrong_axes or spikes.shape[-1] != n_pre:
        shape = "[B, pre]" if batched else "[..., pre]"
        raise ValueError(
            f"{owner}: spikes have shape {tuple(spikes.shape)}, "
            f"expected {shape} with pre = {n_pre} neurons of the layer before"
        )
