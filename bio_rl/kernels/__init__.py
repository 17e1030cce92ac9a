"""Fused time loops. The torch reference defines the truth; other backends are checked against it, gradients included."""

from __future__ import annotations

import functools
import importlib.util

BACKENDS = ("torch", "numba")


@functools.cache
def default_backend(device_type: str) -> str:
    """`numba` on the CPU where it is installed, else `torch`; said once, never switched silently afterwards."""
    if device_type != "cpu":
        return "torch"
    if importlib.util.find_spec("numba") is None:
        print("neuron kernels: numba is not installed, using the torch reference (slower); `pip install numba`")
        return "torch"
    return "numba"
