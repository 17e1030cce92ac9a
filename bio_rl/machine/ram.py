"""How much memory is free, sizes in words, and memory that is kept for what comes next."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 32 * 2**20
"""Bytes of an array that the C library still takes from the memory that it keeps (the most that it
accepts).
"""


def keep_freed() -> bool:
    """Let the C library keep memory that is freed, for the next array; say whether it does.

    As it comes, glibc gives large arrays back to the system, which clears every page when it hands
    it out again: 600 pages in one update of SAC, a tenth of its time. Elsewhere than on Linux with
    glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return (
        mallopt is not None
        and bool(mallopt(M_MMAP_THRESHOLD, LARGEST))
        and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
    )


def available(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be taken on `device`; on a system that does not say, all of
    its memory.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [limit for limit in (_system(), _container()) if limit is not None]
    return min(
        found,
        default=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if hasattr(os, "sysconf")
        else 2**62,
    )


def size_text(size: float) -> str:
    """`size` bytes as 172 MB or 1.7 GB."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} GB" if size < 1000 else f"{size:,.0f} GB"


def _system() -> int | None:
    """What Linux says is available."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None
    )


def _container() -> int | None:
    """What a container's limit leaves (control groups, version 2)."""
    try:
        limit, used = (
            (CGROUP / name).read_text(encoding="ascii").strip()
            for name in ("memory.max", "memory.current")
        )
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - int(used))
