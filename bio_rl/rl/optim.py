"""All parameters of a network as one vector: a step of an optimiser, or of a target behind it, is
then one operation.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def flatten(parameters: Iterable[nn.Parameter]) -> nn.Parameter:
    """One parameter [Σ numel] whose memory, and whose gradient's, the given ones share from now on.

    Call it once the parameters are on their device. A backward pass adds to the shared gradient, so
    clear that one, in place; parameters that need none get none. Raises ValueError for parameters
    of several dtypes or devices, or none.
    """
    parts = list(parameters)
    kinds = {(p.dtype, p.device) for p in parts}
    if len(kinds) != 1:
        found = sorted(map(str, kinds)) or "none"
        raise ValueError(f"flatten: expected parameters of one dtype on one device, got {found}")
    learns = any(p.requires_grad for p in parts)
    numbers = torch.cat([p.detach().flatten() for p in parts])
    flat = nn.Parameter(numbers, requires_grad=learns)
    gradient = torch.zeros_like(flat) if learns else None
    flat.grad = gradient

    # Each parameter becomes a view of its part of the vector, its gradient likewise.
    offset = 0
    for p in parts:
        part = slice(offset, offset + p.numel())
        p.data = flat.data[part].view_as(p)
        p.grad = gradient[part].view_as(p) if gradient is not None else None
        offset += p.numel()
    return flat


def clip_(grad: Tensor, max_norm: float) -> None:
    """Scale `grad` down to the norm `max_norm` where it is longer (Pascanu et al. 2013), without a
    device synchronisation.
    """
    norm = torch.linalg.vector_norm(grad)
    scale = max_norm / (norm + 1e-6)
    # A shorter gradient is multiplied by one: asking whether it is would wait for the device.
    grad.mul_(scale.clamp(max=1.0))
