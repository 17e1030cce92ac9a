"""The tensors that runs have trained, read in a way that depends on little of how a checkpoint is
made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bio_rl.bench._report import BenchError
from bio_rl.bench._weights_compare import bits

NOT_TRAINED = re.compile(
    r"(^|\.)(runner|stats|replay|best|elapsed|horizon)(\.|$)|optimi[sz]er|generator"
)
"""Names of what a checkpoint holds beside what was trained."""


class Trained(NamedTuple):
    """The outcome of a training."""

    weights: dict[str, Tensor]
    """The tensors of the last checkpoint; none where the training failed."""
    moved: int = 0
    """How many of them are not what they were at the start."""
    status: int = 0
    """The exit status."""
    said: str = ""
    """The last words of a failed training."""


def read_runs(parent: Path) -> Trained:
    """The outcome of the runs below `parent`; where there are several, a name begins with the
    number of its run.

    Raises BenchError where there is no checkpoint.
    """
    runs = sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    first: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    for number, folder in enumerate(runs):
        files = checkpoints(folder)
        if not files:
            raise BenchError(
                f"{folder} holds no checkpoint: no .pt file whose name ends with its step"
            )
        prefix = f"{number}." if len(runs) > 1 else ""
        first |= {prefix + name: x for name, x in trained_tensors(files[min(files)])}
        last |= {prefix + name: x for name, x in trained_tensors(files[max(files)])}
    moved = sum(name not in first or bits(first[name]) != bits(x) for name, x in last.items())
    return Trained(last, moved)


def checkpoints(folder: Path) -> dict[int, list[Path]]:
    """The files of each checkpoint below a run folder by its step: those whose only number is at
    the end of the name.
    """
    steps: dict[int, list[Path]] = {}
    for path in sorted(folder.rglob("*.pt")):
        if match := re.fullmatch(r"\D*(\d+)", path.stem):
            steps.setdefault(int(match[1]), []).append(path)
    return steps


def trained_tensors(paths: Sequence[Path]) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all that was trained in the files of a checkpoint."""
    for path in paths:
        for name, x in flat(torch.load(path, map_location="cpu", weights_only=True)):
            if x.is_floating_point() and not NOT_TRAINED.search(name):
                yield name, x


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all tensors in nested dicts, lists and tuples; a name is the keys joined by
    dots.
    """
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from flat(item, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from flat(item, f"{name}.{i}".lstrip("."))
