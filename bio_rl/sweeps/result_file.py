"""The form of a result file: what was measured, by which code, where, and what came out."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bio_rl.training import runfolder

PEERS = ("stable-baselines3", "envpool", "spikingjelly", "snntorch", "norse")
"""Packages that benches measure against."""


def report(name: str, settings: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """The object of a result file; `name` is that of the bench or the command."""
    return {
        "bench": name,
        "commit": code(),
        "device": device(),
        "versions": {**runfolder.versions(), **peer_versions()},
        "settings": dict(settings),
        "results": dict(results),
    }


def save(path: Path, values: Mapping[str, Any]) -> None:
    """Write a report to `path`, atomically; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runfolder.write_json(path, values)


def rounded(x: float) -> float:
    """x to four significant digits: more would be noise."""
    return float(f"{x:.4g}")


@functools.cache
def code() -> dict[str, Any] | None:
    """{"hash", "dirty"} of the code as it was when this process first asked; None without git.

    What is edited later is not what was imported and measured.
    """
    return runfolder.commit()


def warn_of_changed_code(path: Path) -> None:
    """Say so, before something is measured for a file, where the code is that of no commit."""
    commit = code()
    if commit is not None and commit["dirty"]:
        print(
            f"warning: the code differs from its commit {commit['hash'][:12]}, so that nobody can "
            f'make {path} again; it will say "dirty": true',
            file=sys.stderr,
        )


# This machine


def device() -> str:
    """The CPU's model, the number of its cores that this process may use, and the GPU if any."""
    text = f"{_cpu()}, {cores()} cores"
    if torch.cuda.is_available():
        text += f", {torch.cuda.get_device_name()}"
    return text


def _cpu() -> str:
    """The CPU's model as Linux names it, else the kind of processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Processors that this process may use."""
    # a container or taskset may allow fewer than there are, and only Linux says so
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peer_versions() -> dict[str, str]:
    """Versions of the installed peers."""
    installed = {}
    # Ratios to a peer are worth what its version is.
    for package in PEERS:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed
