"""How much memory is free, sizes in words, and memory that is kept for what comes next."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")
UNKNOWN = 2**62
"""Bytes of memory that are assumed where nobody can say."""
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
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
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        # The C library is another one, as on Alpine Linux.
        return False
    if not mallopt(M_MMAP_THRESHOLD, LARGEST):
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def available(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be taken on `device`; all of them on a system that does not say."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [limit for limit in (_system(), _container()) if limit is not None]
    return min(limits, default=_everything())


def _everything() -> int:
    """All bytes of the machine's memory; a number beyond any where the system does not say."""
    if sys.platform == "win32":
        return UNKNOWN
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def size_text(size: float) -> str:
    """`size` bytes as 172 MB or 1.7 GB."""
    for unit in ("B", "kB", "MB"):
        # From 999.5 on three digits would read 1e+03.
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} GB" if size < 1000 else f"{size:,.0f} GB"


def _system() -> int | None:
    """Bytes that Linux says are available; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    # MemAvailable:   16303452 kB
    available = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return next((int(number) * 1024 for number in available), None)


def _container() -> int | None:
    """Bytes that a container's limit leaves (control groups, version 2); None without a limit."""
    try:
        limit = (CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (CGROUP / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - int(used))
