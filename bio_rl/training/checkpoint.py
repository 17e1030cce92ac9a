"""Checkpoints: names and tensors only, loadable with `weights_only=True`, each written whole or not
at all.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bio_rl.machine.files import printable, refuse_link, replacing

FORMAT = "bio_rl checkpoint"
VERSION = 4
READS = (VERSION,)
"""Versions that can be read: in 1 the replay lay within the agent's part, in 2 it had files of its
own, since 3 every agent has one form of state, and since 4 off-policy agents count their gradient
steps in a part of their own.
"""
KEEP = 3
"""Checkpoints of a run that are kept, the best aside."""
# key that marks a wide unsigned tensor, stored as the signed one with the same bits
_UNSIGNED = "__unsigned__"
_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or read; the message names the file, the cause and how to
    go on.
    """


def save(path: Path, tree: dict[str, Any]) -> None:
    """Write `tree` to `path`: nested dicts, lists and tuples of tensors, arrays, int, float, bool,
    str and None.

    Arrays come back as tensors of the same dtype, numpy scalars as Python numbers, NamedTuples as
    tuples. Raises TypeError naming the key path of anything else, and CheckpointError when writing
    fails: the file at `path` is then untouched.
    """
    try:
        whole = {"format": FORMAT, "version": VERSION, "tree": _encode(tree, "tree")}
    except RecursionError as cause:
        raise TypeError("cannot save the tree: it is nested too deeply, or holds itself") from cause
    refuse_link(path.parent)
    try:
        with replacing(path) as file:
            torch.save(whole, file)
    except (
        OSError,
        RuntimeError,
    ) as cause:  # torch's zip writer turns an OSError into a RuntimeError
        raise CheckpointError(
            f"could not write the checkpoint {printable(path)}: {_reason(cause)}. What was saved "
            "before is untouched; "
            "free some space or choose another folder, then resume from the last checkpoint"
        ) from cause


def _reason(error: BaseException) -> str:
    """One line: the system's own words where an OSError lies at the bottom."""
    root = error
    # torch's writer hides the system's error below its own.
    while root.__context__ is not None and not isinstance(root, OSError):
        root = root.__context__
    shown = root if isinstance(root, OSError) else error
    if isinstance(shown, pickle.UnpicklingError):  # torch's own words advise to execute it
        return "it holds more than tensors and plain values, and no code is run to read it"
    words = getattr(shown, "strerror", None) or str(shown).strip() or type(shown).__name__
    return printable(words.splitlines()[0])


def _encode(value: Any, at: str) -> Any:
    """`value` in the types that `weights_only` accepts; `at` is its key path, for the error."""
    if value is None or type(value) in (int, float, bool, str):
        return value
    if isinstance(value, Mapping):
        return {_key(key, at): _encode(item, f"{at}[{key!r}]") for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_encode(item, f"{at}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, Tensor):
        return _encode_tensor(value, at)
    if isinstance(value, np.generic) and _is_number(value.dtype):
        return value.item()
    if isinstance(value, np.ndarray):
        return _encode_array(value, at)
    raise TypeError(
        f"cannot save {at}: a {type(value).__qualname__}; a checkpoint holds dicts, lists and "
        "tuples of tensors, numpy arrays, int, float, bool, str and None"
    )


def _is_number(dtype: np.dtype) -> bool:
    """Whether Python's numbers can stand for those of a dtype; not for a longdouble's."""
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def _encode_array(value: np.ndarray, at: str) -> Any:
    try:
        # torch warns of memory that it must not write to.
        copies = not value.flags.writeable
        writable = np.array(value, order="C") if copies else np.asarray(value, order="C")
        return _encode_tensor(torch.from_numpy(writable), at)
    except (TypeError, ValueError) as cause:
        raise TypeError(f"cannot save {at}: {cause}") from cause


def _key(key: Any, at: str) -> str | int:
    if type(key) not in (str, int) or key == _UNSIGNED:
        raise TypeError(
            f"cannot save {at}: the key {key!r} is a {type(key).__qualname__}; keys are str or int"
        )
    return key


def _encode_tensor(value: Tensor, at: str) -> Any:
    """Detached, owning no more storage than it shows: torch would write all of the buffer that a
    slice belongs to.
    """
    value = value.detach()
    if (
        type(value) is not Tensor
        or value.layout is not torch.strided
        or value.is_meta
        or value.is_quantized
    ):
        raise TypeError(
            f"cannot save {at}: only plain dense tensors can be saved, got {type(value)}, "
            f"{value.layout}"
        )
    value = value.resolve_conj().resolve_neg()
    # A slice would drag its whole buffer along.
    if value.untyped_storage().nbytes() != value.numel() * value.element_size():
        value = value.clone(memory_format=torch.contiguous_format)
    if value.dtype in _SIGNED:
        return {
            _UNSIGNED: str(value.dtype).removeprefix("torch."),
            "bits": value.view(_SIGNED[value.dtype]),
        }
    return value


def _decode(value: Any, at: str) -> Any:
    """The value that `_encode` was given. Raises CheckpointError, with the key path `at`, for all
    that it never writes.
    """
    if value is None or type(value) in (int, float, bool, str):
        return value
    if isinstance(value, dict) and _UNSIGNED in value:
        return _decode_unsigned(value, at)
    if isinstance(value, dict):
        return {key: _decode(item, f"{at}[{key!r}]") for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_decode(item, f"{at}[{i}]") for i, item in enumerate(value))
    plain = type(value) is Tensor and value.layout is torch.strided and not value.is_quantized
    if plain and value.device.type == "cpu":
        return value.detach()
    raise CheckpointError(f"{at} is a {type(value).__name__} of a kind that bio_rl does not write")


def _decode_unsigned(value: Mapping[str, Any], at: str) -> Tensor:
    """A wide unsigned tensor from the signed one with the same bits."""
    name, bits = value[_UNSIGNED], value.get("bits")
    dtype = next((d for d in _SIGNED if str(d) == f"torch.{name}"), None)
    if dtype is None or not isinstance(bits, Tensor) or bits.dtype != _SIGNED[dtype]:
        raise CheckpointError(f"{at} is no unsigned tensor: {printable(repr(name))[:40]}")
    return bits.view(dtype)


def load(path: Path, mmap: bool = False) -> dict[str, Any]:
    """The tree that `save` wrote, its tensors on the CPU; no code is executed. Raises
    CheckpointError, one line.

    mmap: tensors are read from the disk when they are first used.
    """
    stored = _read(path, mmap)
    try:
        tree = _decode(stored, "tree")
    except (CheckpointError, RecursionError) as cause:
        raise CheckpointError(f"{printable(path)}: {_reason(cause)}") from cause
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"{printable(path)} holds a {type(tree).__name__}, expected names and what they hold"
        )
    return tree


def _read(path: Path, mmap: bool) -> Any:
    """The stored tree, its checksums verified; with `mmap` the tensors stay on disk."""
    shown = printable(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {shown}")
    try:
        with zipfile.ZipFile(
            path
        ) as archive:  # torch itself does not verify the checksums of what it reads
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        whole = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (
        Exception
    ) as cause:  # zipfile, pickle and torch raise a dozen kinds over a damaged or hostile file
        raise CheckpointError(
            f"{shown} is damaged or not a checkpoint of bio_rl ({_reason(cause)}); use an older "
            "one from "
            f"{printable(path.parent)}"
        ) from cause
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise CheckpointError(f"{shown} is a torch file, but not a checkpoint written by bio_rl")
    # A newer version may mean other things by the same names.
    version = whole.get("version")
    if type(version) is not int or version not in READS:
        raise CheckpointError(
            f"{shown} has checkpoint version {printable(version)[:40]}, this bio_rl reads "
            f"{' and '.join(map(str, READS))}"
        )
    return whole.get("tree")


class Checkpoints:
    """The checkpoints of one run: `step_000001000000.pt`, the last `keep` of them, and `best.pt`.

    To make one changes nothing on the disk; the folder is made, and cleaned up, by the first
    `save`.
    """

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep}: at least the newest checkpoint must be kept")
        self.folder = folder
        self.keep = keep
        self.ready = False

    def prepare(self) -> None:
        """Make the folder and delete what a crash left half written: for the one process that
        writes there.
        """
        refuse_link(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        delete_leftovers(self.folder)
        self.ready = True

    def save(self, step: int, tree: dict[str, Any]) -> Path:
        """Write the checkpoint of `step`, then delete all but the last `keep`; returns its path.
        Raises as `save` does.

        Those of later steps go too: the run was resumed from before them, and what they hold did
        not happen.
        """
        if not self.ready:
            self.prepare()
        path = self.folder / f"step_{step:012d}.pt"
        save(path, tree)
        past = [(s, p) for s, p in self._steps() if s <= step]
        kept = {p for _, p in past[-self.keep :]}
        for _, old in self._steps():
            if old not in kept:
                with contextlib.suppress(
                    OSError
                ):  # somebody reads it on a system that locks: it goes next time
                    old.unlink()
        return path

    def save_best(self, tree: dict[str, Any]) -> Path:
        """Write `best.pt`, which is never deleted; returns its path. Raises as `save` does."""
        if not self.ready:
            self.prepare()
        path = self.folder / "best.pt"
        save(path, tree)
        return path

    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, oldest first."""
        return [step for step, _ in self._steps()]

    def newest_first(self) -> Iterator[tuple[int, Path]]:
        """(step, path) of every checkpoint."""
        return reversed(self._steps())

    def last(self) -> Path | None:
        """The newest readable checkpoint, None if there is none; warns with the name of every
        damaged one it passes.
        """
        for _, path in self.newest_first():
            try:
                _read(path, mmap=True)
                return path
            except CheckpointError as error:
                warnings.warn(f"skipping {path.name}: {error}", RuntimeWarning, stacklevel=2)
        return None

    def _steps(self) -> list[tuple[int, Path]]:
        """(step, path) of every checkpoint, oldest first."""
        if not self.folder.is_dir():
            return []
        found = ((re.fullmatch(r"step_(\d{1,18})\.pt", p.name), p) for p in self.folder.iterdir())
        return sorted((int(match[1]), p) for match, p in found if match)


def delete_leftovers(folder: Path) -> None:
    """Delete the temporary files in `folder` that no living process is writing."""
    for leftover in folder.glob("*.tmp"):
        if not _being_written(leftover):
            leftover.unlink(missing_ok=True)


def _being_written(temporary: Path) -> bool:
    """Whether another live process of this machine writes it: `eval` must not disturb a training
    run.
    """
    pid = temporary.name.split(".")[-2]
    if os.name != "posix" or not pid.isdigit() or int(pid) in (0, os.getpid()):
        # elsewhere os.kill(pid, 0) is no question but a signal, and an open file cannot be deleted
        # anyway
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
