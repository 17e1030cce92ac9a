"""The choice of a backend for a kernel: by device, by dtype, and by the forms that there are."""

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
"""The reference, and the backends of fused forms."""
OF_DEVICE = {"cpu": "numba", "cuda": "triton"}
"""The backend of fused forms for each type of device."""

_SINGLE = (torch.float32,)
_HALF = (torch.float32, torch.bfloat16, torch.float16)
FORMS: dict[str, dict[str, tuple[torch.dtype, ...]]] = {
    "unroll": {"numba": _SINGLE, "triton": _HALF},
    "cells": {"numba": _SINGLE, "triton": _HALF},
    "lsnn": {"numba": _SINGLE},
    "eprop": {"numba": _SINGLE},
    "plastic": {"numba": _SINGLE, "triton": _SINGLE},
    "td": {"numba": _SINGLE},
}
"""The dtypes that the fused forms of each kernel run on; the reference runs on every dtype."""


def pick(kernel: str, x: Tensor, backend: str | None = None) -> str:
    """The backend that runs `kernel` on x: the one that is asked for, else the default.

    The default is that of x's device where it is installed and has a form of this kernel for x's
    dtype, else torch, the reference; which one it is, is said once on stderr. The reference also
    runs where there are no numbers at all, and inside a function transform (torch.func), whose
    tensors have no memory of their own. Raises ValueError for a backend that the kernel has not.
    """
    if backend is not None:
        return checked(kernel, backend)
    # x.device makes a new object, which takes as long as all the rest
    chosen = default(kernel, "cpu" if x.is_cpu else x.device.type, x.dtype)
    if chosen != "torch" and (x.numel() == 0 or transformed()):
        return "torch"
    return chosen


def checked(kernel: str, backend: str) -> str:
    """The same backend. Raises ValueError where the kernel has no form for it."""
    if backend not in BACKENDS:
        known = ", ".join(BACKENDS)
        raise ValueError(f"no kernel backend called {backend!r}; known: {known}")
    if backend != "torch" and backend not in FORMS[kernel]:
        known = ", ".join(("torch", *FORMS[kernel]))
        raise ValueError(f"kernel {kernel!r} has no form for backend {backend!r}; known: {known}")
    return backend


@functools.cache
def default(kernel: str, device_type: str, dtype: torch.dtype) -> str:
    """The backend of a kernel on a type of device and a dtype, said once where it is not the
    device's own.
    """
    backend = of_device(device_type)
    if backend == "torch":
        return backend
    dtypes = FORMS[kernel].get(backend, ())
    if dtype in dtypes:
        return backend
    names = ", ".join(map(str, dtypes))
    why = f"{backend} runs it on {names}" if names else f"{backend} has no form of it"
    _say(f"kernel {kernel} on {device_type} for {dtype}: torch, the reference ({why})")
    return "torch"


@functools.cache
def of_device(device_type: str) -> str:
    """numba on the CPU and triton on CUDA where they are installed, else torch; said once."""
    wanted = OF_DEVICE.get(device_type, "torch")
    if wanted == "torch" or importlib.util.find_spec(wanted):
        _say(f"neuron kernels on {device_type}: {wanted}")
        return wanted
    remedy = f"`pip install {wanted}` for the fused kernels"
    _say(f"neuron kernels on {device_type}: torch, the slower reference: {remedy}")
    return "torch"


def _say(what: str) -> None:
    print(what, file=sys.stderr)


@functools.cache
def form(kernel: str, backend: str) -> ModuleType:
    """The module with a backend's form of a kernel, imported when it is first used."""
    name = f"bio_rl.kernels.{backend}.{kernel}"
    return importlib.import_module(name)
