"""Modes of PyTorch in which a fused form cannot follow, so that the reference must run."""

from __future__ import annotations

import torch


def transformed() -> bool:
    """Whether this is inside a function transform (torch.func.grad, vmap, jvp, …), whose tensors
    have no memory to read.
    """
    # what autograd.Function asks itself; there is no public form
    return torch._C._are_functorch_transforms_active()


def autocast() -> bool:
    """Whether operations choose their own precision, on any device."""
    # the public form asks for one device and takes four times as long
    return torch._C._is_any_autocast_enabled()
