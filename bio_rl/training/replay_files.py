"""A replay on disk, beside the checkpoints: each of its rows is written once, and every kept
checkpoint finds its own.

    checkpoints/step_000000003000.pt
        weights, no rows; the id of its index
    checkpoints/replay/step_000000003000.pt
        the index: which files hold its rows
    checkpoints/replay/rows_000000002000_000000003000_1f0c9a52.pt
        rows 2000 to 2999 of every environment

Written in the order rows, index, checkpoint, each to the side and renamed, and deleted the other
way round: wherever a process is killed, a checkpoint that can be read has all its rows. Names are
not used again, so that what was lived a second time after a crash never mixes with what was lived
the first time.
"""

from __future__ import annotations

import itertools
import os
import re
import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bio_rl.contracts import Agent
from bio_rl.machine.files import free_space, one_line, printable
from bio_rl.machine.ram import size_text
from bio_rl.rl import base
from bio_rl.rl.replay import Replay
from bio_rl.rl.stored import Stored
from bio_rl.state import index, leaves, tree_map
from bio_rl.training import checkpoint
from bio_rl.training.checkpoint import CheckpointError

FOLDER = "replay"
MOMENTS = 3
"""Tensors that are saved for each weight: itself and two moments of its optimiser."""
_ROWS = re.compile(r"rows_(\d{12})_(\d{12})_[0-9a-f]{8}\.pt")


class ReplayFiles:
    """The files of one run's replay, in `checkpoints/replay`; nothing is there before the first
    `save`.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.folder = checkpoints / FOLDER
        self.written: dict[str, Any] = {}
        """The newest index, whose files the next one goes on from; empty where all rows are to be
        written anew.
        """
        self.names: dict[int, set[str]] = {}
        """File names of rows by the step of the index that needs them, of those that this process
        knows.
        """

    def save(self, step: int, replay: Replay) -> str:
        """Write the rows that are new since the last `save`, then the index of `step`; returns its
        id.

        Raises CheckpointError when writing fails: what was saved before is then untouched.
        """
        before = (
            self.written.get("files", []) if self.written.get("added", -1) <= replay.added else []
        )
        last = _span(before[-1])[1] if before else 0
        oldest = replay.added - replay.size
        self.folder.mkdir(parents=True, exist_ok=True)
        files = [name for name in before if _span(name)[1] > oldest]
        if replay.added > last:
            rows = replay.rows(max(last, oldest))
            name = f"rows_{max(last, oldest):012d}_{replay.added:012d}_{_fresh_id()}.pt"
            checkpoint.save(self.folder / name, rows)
            files.append(name)
        found = {
            "id": _fresh_id(),
            "files": files,
            "oldest": oldest,
            "stride": replay.stride,
            "added": replay.added,
        }
        checkpoint.save(self._index(step), found)
        self.written = {"files": files, "added": replay.added}
        self.names[step] = set(files)
        return found["id"]

    def take_up(self, agent: Agent, tree: Mapping[str, Any]) -> None:
        """Go on from where the restored `agent` of a checkpoint's tree stands; nothing for one
        without a replay.

        Warns where the checkpoint has none: it may have been made by hand from `best.pt`.
        """
        replay = agent.replay
        if replay is None:
            return
        if tree.get("replay") is None and "replay" not in tree["agent"]:
            text = (
                "the checkpoint has no replay: the agent goes on without the experience that it "
                "had kept"
            )
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        self.go_on(tree["runner"]["seen"], replay)

    def go_on(self, step: int, replay: Replay) -> None:
        """Go on from the index of `step`, which `replay` was loaded from.

        A replay that has more room than the saved one counts its rows anew, so all are written
        again.
        """
        with suppress(CheckpointError):
            found = self._read(step)
            if found["added"] == replay.added and found["stride"] == replay.stride:
                self.written = {"files": found["files"], "added": found["added"]}

    def load(self, step: int, wanted: str) -> dict[str, Any]:
        """The state of the replay (`Replay.state_dict`) that was saved with the checkpoint of
        `step` under the id `wanted`.

        Raises CheckpointError, one line, where rows are missing, damaged, or of another save.
        """
        found = self._read(step)
        if found["id"] != wanted:
            raise CheckpointError(
                f"{printable(self._index(step))} belongs to another save than the checkpoint of "
                f"step {step}"
            )
        if not found["added"]:
            return {"added": 0, "kept": (), "states": ()}
        parts = [self._part(name, found) for name in found["files"]]
        try:
            # Of each file its rows and its states.
            kept, states = (_joined([part[i] for part in parts]) for i in range(2))
        except (ValueError, RuntimeError, TypeError, KeyError) as cause:
            raise CheckpointError(
                f"the rows in {printable(self.folder)} do not fit each other ({one_line(cause)})"
            ) from cause
        return {"added": found["added"], "kept": kept, "states": states}

    def prune(self, steps: Collection[int]) -> None:
        """Delete what no checkpoint of these steps needs. Where an index cannot be read, all rows
        stay.
        """
        if not self.folder.is_dir():
            return
        needed: set[str] = set()
        sure = True
        for path in sorted(self.folder.glob("step_*.pt")):
            step = _number(path)
            if step not in steps:
                _delete(path)
                continue
            try:
                needed |= self.names.get(step) or set(self._read(step)["files"])
            except CheckpointError:
                sure = False
        for path in self.folder.glob("rows_*.pt") if sure else ():
            if path.name not in needed:
                _delete(path)
        self.names = {step: names for step, names in self.names.items() if step in steps}
        checkpoint.delete_leftovers(self.folder)

    def _index(self, step: int) -> Path:
        return self.folder / f"step_{step:012d}.pt"

    def _read(self, step: int) -> dict[str, Any]:
        """The index of `step`, its fields checked. Raises CheckpointError."""
        path = self._index(step)
        found = checkpoint.load(path)
        wrong = next((name for name, right in _FIELDS.items() if not right(found.get(name))), None)
        if wrong is not None:
            raise CheckpointError(
                f"{printable(path)} has an unusable {wrong}: "
                f"{printable(repr(found.get(wrong)))[:80]}"
            )
        spans = [_span(name) for name in found["files"]]
        first = spans[0][0] if spans else 0
        last = spans[-1][1] if spans else 0
        gap = any(a[1] != b[0] for a, b in itertools.pairwise(spans))
        if gap or last != found["added"] or not first <= found["oldest"] <= last:
            raise CheckpointError(
                f"{printable(path)} does not name all rows from {found['oldest']} to "
                f"{found['added']}"
            )
        return found

    def _part(self, name: str, found: Mapping[str, Any]) -> tuple[Any, Any]:
        """(rows, states) of one file from the oldest row on that the index still counts."""
        path = self.folder / name
        first, last = _span(name)
        stride = found["stride"]
        skipped = max(0, found["oldest"] - first)
        saved = checkpoint.load(path, mmap=True)
        try:
            kept = Stored(*saved["kept"])
            states = saved["states"]
            lengths = {len(x) for x in leaves(kept)} | {len(x) * stride for x in leaves(states)}
        except (KeyError, TypeError, AttributeError) as cause:
            raise CheckpointError(
                f"{printable(path)} does not hold rows of a replay ({one_line(cause)})"
            ) from cause
        if lengths != {last - first} or skipped % stride:
            raise CheckpointError(
                f"{printable(path)} holds {sorted(lengths)} rows, expected {last - first} of each "
                "kind"
            )
        return tuple(index(kept, slice(skipped, None))), index(
            states, slice(skipped // stride, None)
        )


def add_rows(tree: dict[str, Any], checkpoints: Path) -> None:
    """Put the replay that belongs to a checkpoint's tree where the agent's `load_state_dict`
    expects it.

    Where there are no files of rows at all, somebody has removed them: one warning says so, and the
    agent begins without. Raises CheckpointError where those that are there are damaged or
    incomplete.
    """
    # The id ties rows to their checkpoint: a copied file of another run has another.
    wanted = tree.get("replay")
    if wanted is None:
        return
    files = ReplayFiles(checkpoints)
    if not files.folder.is_dir():
        text = (
            f"{printable(files.folder)} is gone: the agent goes on without the experience that it "
            "had kept"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=3)
        return
    tree["agent"]["replay"] = files.load(tree["runner"]["seen"], wanted)


def check_disk(agent: Agent, parent: Path, steps: int, checkpoints: int, seeds: int = 1) -> None:
    """Raise ValueError, with the flag to change, where the disk of `parent` has no room for the
    files of a run.

    They are the kept checkpoints, the best and the one being written; and of a replay the rows that
    the oldest of these needs. The tensors of an optimiser that is still to move count as well.
    """
    # Seeds are alike but for their numbers.
    one = agent.member(0) if seeds > 1 else agent
    needed = seeds * (checkpoint.KEEP + 2) * MOMENTS * _weights(one)
    advice = "another --run-dir"
    free = free_space(parent)
    if isinstance(one, base.Agent) and one.replay is not None:
        # The oldest kept checkpoint still needs what was lived until then, and a new one is written
        # before that one goes.
        spare = (checkpoint.KEEP + 1) * -(-steps // checkpoints)
        capacity = one.replay.capacity
        row = one.step_bytes()
        fitting = int((0.8 * free - needed) / row / seeds) - spare
        needed += seeds * min(steps, capacity + spare) * row
        if 0 < fitting < capacity:
            advice = f"{one.replay_flag} {fitting} or another --run-dir"
    if needed > free:
        raise ValueError(
            f"the files of this run take {size_text(needed)} in {printable(parent)}, "
            f"where {size_text(free)} are free; {advice} would fit"
        )


def _weights(agent: Agent) -> int:
    """Bytes of the tensors of an agent, the rows of its replay aside."""
    tensors = [x for x in leaves(agent.learned_state()) if isinstance(x, Tensor)]
    return sum(x.numel() * x.element_size() for x in tensors)


def _whole(value: object) -> bool:
    return type(value) is int and value >= 0


_FIELDS = {
    "id": lambda x: type(x) is str,
    "files": lambda x: (
        type(x) is list and all(type(name) is str and _ROWS.fullmatch(name) for name in x)
    ),
    "oldest": _whole,
    "added": _whole,
    "stride": lambda x: _whole(x) and x > 0,
}
"""A test of each field of an index."""


def _joined(parts: list[Any]) -> Any:
    """Trees of one structure, one after the other along their first axis."""
    return tree_map(lambda *x: torch.cat(x), *parts)


def _span(name: str) -> tuple[int, int]:
    """The first row of a file and the one after its last, from its name."""
    match = _ROWS.fullmatch(name)
    if match is None:
        raise CheckpointError(f"{printable(name)} is no name of a file of rows")
    return int(match[1]), int(match[2])


def _number(path: Path) -> int:
    """The step in the name of an index, -1 for another name."""
    # Only to tell files apart: of what is no index, nothing is needed.
    match = re.fullmatch(r"step_(\d+)", path.stem)
    return int(match[1]) if match else -1


def _fresh_id() -> str:
    return os.urandom(4).hex()


def _delete(path: Path) -> None:
    with suppress(OSError):  # somebody reads it on a system that locks: it goes next time
        path.unlink()
