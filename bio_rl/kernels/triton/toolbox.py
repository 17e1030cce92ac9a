"""The kernels' device: CUDA, or the CPU in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor


@triton.jit
def _empty():
    pass


INTERPRETED = not isinstance(_empty, triton.JITFunction)
"""Whether kernels run in Triton's interpreter, which is slow and for tests: TRITON_INTERPRET=1 was
set when Triton was first imported.
"""


def check(what: str, x: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    """Raise ValueError for a tensor of a dtype or a device that kernels do not run on."""
    if x.is_cpu and not INTERPRETED:
        raise ValueError(
            f"backend 'triton' needs a CUDA device, or TRITON_INTERPRET=1 set before its first use "
            f"for Triton's slow interpreter; got {what} on the CPU, which has: torch, numba"
        )
    if x.dtype not in dtypes:
        known = ", ".join(map(str, dtypes))
        raise ValueError(f"backend 'triton' got {what} of {x.dtype}; known: {known}")


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Run a kernel on the device of its first tensor."""
    tensors = [x for x in arguments if isinstance(x, Tensor)]
    run: Callable[..., Any] = kernel[grid]
    # Triton launches on the current device, whichever the tensors are on.
    with torch.cuda.device_of(tensors[0]):
        run(*arguments, **options)
