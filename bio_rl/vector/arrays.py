"""Arrays of the world as tensors of the learner, and the rows of finished episodes put in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

ALIGNED = 16
"""Bytes to which the start of each array is rounded up in one packed copy: no dtype needs more."""


def as_tensors(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """The arrays as tensors on the CPU, which share their memory."""
    return [torch.from_numpy(x) for x in arrays]


def transfer(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """The arrays as tensors on `device`, moved in one copy of their packed bytes."""
    sizes = [-(-x.nbytes // ALIGNED) * ALIGNED for x in arrays]
    # One block in pinned memory: a copy for each array would wait for the bus each time.
    packed = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=device.type == "cuda")
    raw = packed.numpy()
    offset = 0
    for x, size in zip(arrays, sizes, strict=True):
        raw[offset : offset + x.nbytes] = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
        offset += size
    moved = packed.to(device, non_blocking=True)
    tensors = []
    offset = 0
    for x, size in zip(arrays, sizes, strict=True):
        # The dtype of torch that has the bytes of the array's.
        dtype = torch.from_numpy(np.empty(0, x.dtype)).dtype
        tensors.append(moved[offset : offset + x.nbytes].view(dtype).view(x.shape))
        offset += size
    return tensors


def dense_final(obs: Any, info: Mapping[str, Any], done: np.ndarray) -> Any:
    """[B, *obs] the last observations of the episodes that ended; `obs` in the other rows.

    Gymnasium gives them in info["final_obs"], dense or as an array of objects.
    """
    final = info["final_obs"]
    if not isinstance(obs, Mapping):
        return _with_rows(obs, done, final[done])
    if isinstance(final, Mapping):
        return {key: _with_rows(values, done, final[key][done]) for key, values in obs.items()}
    # Rows that go on hold None, or whatever was there before.
    ended = final[done]
    return {
        key: _with_rows(values, done, [row[key] for row in ended]) for key, values in obs.items()
    }


def _with_rows(values: np.ndarray, at: np.ndarray, rows: Sequence[Any] | np.ndarray) -> np.ndarray:
    """A copy of `values` with `rows` in the places `at`."""
    dense = values.copy()
    is_dense = isinstance(rows, np.ndarray) and rows.dtype != object
    dense[at] = rows if is_dense else np.stack([np.asarray(row) for row in rows])
    return dense
