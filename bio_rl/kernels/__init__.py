"""Fused time loops. The torch reference defines the truth; other backends are checked against it, gradients included."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from types import ModuleType

BACKENDS = ("torch", "numba", "triton")


@functools.cache
def default_backend(device_type: str) -> str:
    """numba on the CPU and triton on CUDA where they are installed, else torch; said once on stderr, never switched silently.

    It is for neurons that have a fused time loop (`Neuron.core`); the others always run in torch.
    """
    wanted = {"cpu": "numba", "cuda": "triton"}.get(device_type, "torch")
    backend = wanted if wanted == "torch" or importlib.util.find_spec(wanted) else "torch"
    why = "" if backend == wanted else f", the slower reference: `pip install {wanted}` for the fused kernels"
    print(f"neuron kernels on {device_type}: {backend}{why}", file=sys.stderr)
    return backend


@functools.cache
def fused(backend: str, kernel: str = "") -> ModuleType:
    """The module of a backend that holds `kernel`, by default its time loops; imported when it is first used."""
    return importlib.import_module(f"bio_rl.kernels._{backend}{kernel and '_' + kernel}")
