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
        raise ValueError(
            f"flatten: expected parameters of one dtype on one device, got {sorted(map(str, kinds)) or 'none'}"
        )
    learns = any(p.requires_grad for p in parts)
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parts]), requires_grad=learns)
    flat.grad = torch.zeros_like(flat) if learns else None
    offset = 0
    for p in parts:
        own = slice(offset, offset + p.numel())
        p.data, p.grad = flat.data[own].view_as(p), flat.grad[own].view_as(p) if learns else None
        offset += p.numel()
    return flat


def clip_(grad: Tensor, max_norm: float) -> None:
    """Scale `grad` down to the norm `max_norm` where it is longer (Pascanu et al. 2013), without a
    device synchronisation.
    """
    grad.mul_((max_norm / (torch.linalg.vector_norm(grad) + 1e-6)).clamp(max=1.0))
