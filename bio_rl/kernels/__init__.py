"""Fused time loops. The torch reference defines the truth; other backends are checked against it,
gradients included.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from types import ModuleType

import torch
from torch import Tensor

from bio_rl.modes import transformed

BACKENDS = ("torch", "numba", "triton")
DTYPES = {"numba": (torch.float32,), "triton": (torch.float32, torch.bfloat16, torch.float16)}
"""What the fused loops run on; the reference runs on every dtype."""


@functools.cache
def default_backend(device_type: str) -> str:
    """numba on the CPU and triton on CUDA where they are installed, else torch; said once on
    stderr, never switched silently.

    It is for neurons that have a fused time loop (`Neuron.core`); the others always run in torch.
    """
    wanted = {"cpu": "numba", "cuda": "triton"}.get(device_type, "torch")
    backend = wanted if wanted == "torch" or importlib.util.find_spec(wanted) else "torch"
    why = (
        ""
        if backend == wanted
        else f", the slower reference: `pip install {wanted}` for the fused kernels"
    )
    print(f"neuron kernels on {device_type}: {backend}{why}", file=sys.stderr)
    return backend


def suited(x: Tensor) -> str:
    """The default backend of x's device; torch, the reference, where that one does not run on x.

    That is for a dtype of no fused loop (double precision, half of it under autocast on the CPU),
    for no numbers at all, and inside a function transform (torch.func), whose tensors have no
    memory of their own.
    """
    backend = default_backend("cpu" if x.is_cpu else x.device.type)
    runs = backend != "torch" and x.dtype in DTYPES[backend] and x.numel() > 0 and not transformed()
    return backend if runs else "torch"


@functools.cache
def fused(backend: str, kernel: str) -> ModuleType:
    """The module of a backend that holds `kernel`; imported when it is first used."""
    return importlib.import_module(f"bio_rl.kernels.{backend}.{kernel}")
