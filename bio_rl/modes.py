"""What PyTorch is doing around a call, where a fused form cannot follow and the reference must run."""

from __future__ import annotations

import torch


def transformed() -> bool:
    """Whether this is inside a function transform (torch.func.grad, vmap, jvp, …), whose tensors
    have no memory to read.
    """
    return (
        torch._C._are_functorch_transforms_active()
    )  # what autograd.Function asks itself; there is no public form


def autocast() -> bool:
    """Whether operations choose their own precision, on any device."""
    return (
        torch._C._is_any_autocast_enabled()
    )  # the public form asks for one device and takes four times as long
