"""Fused time loops. The torch reference defines the truth; other backends are checked against it, gradients included."""

from __future__ import annotations

import functools
import importlib.util
import sys

BACKENDS = ("torch", "numba")


@functools.cache
def default_backend(device_type: str) -> str:
    """`numba` on the CPU where it is installed, else `torch`; said once on stderr, never switched silently afterwards."""
    if device_type != "cpu":
        backend, why = "torch", f" on {device_type}"
    elif importlib.util.find_spec("numba") is None:
        backend, why = "torch", ", the slower reference: `pip install numba` for the fused kernels"
    else:
        backend, why = "numba", ""
    print(f"neuron kernels: {backend}{why}", file=sys.stderr)
    return backend
