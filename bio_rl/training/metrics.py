"""Where numbers go: `metrics.jsonl` and TensorBoard (x axis: environment steps), episode
statistics.

Names are SB3's: `rollout/ep_rew_mean`, `rollout/ep_len_mean`, `train/...`, `time/...`, `eval/...`.
TensorBoard's pages are filled as far as they go: scalars (in the order of their names, which nobody
can change), custom scalars (what matters first), text, images, and hparams when a run has ended.
"""

from __future__ import annotations

import json
import math
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bio_rl.machine.files import parse_json, refuse_link, replacing

Scalar = float | int | Tensor
WINDOW = 100
"""Finished episodes over which a training's return is a mean."""
FINAL = "final/mean_reward"
"""The score on TensorBoard's page of hyperparameters: of the last weights, greedy."""
FIRST = {
    "how it goes": {
        "return: training and evaluation": [
            "Multiline",
            ["rollout/ep_rew_mean", "eval/mean_reward"],
        ],
        "length of an episode": ["Multiline", ["rollout/ep_len_mean"]],
        "steps a second": ["Multiline", ["time/fps"]],
    }
}
"""The charts of TensorBoard's page of custom scalars."""
Lazy = Callable[[], Scalar]
"""A scalar that is worked out only when it is read."""


def to_floats(values: Mapping[str, Scalar | Lazy]) -> dict[str, float]:
    """`values` as Python floats, in one device synchronisation. Raises ValueError for a tensor that
    is no scalar.
    """
    scalars = {name: value() if callable(value) else value for name, value in values.items()}
    tensors = {name: x.detach() for name, x in scalars.items() if isinstance(x, Tensor)}
    for name, value in tensors.items():
        if value.numel() != 1:
            raise ValueError(
                f"metric {name!r} has shape {tuple(value.shape)}, expected a scalar; "
                "take its mean, say"
            )
    if not tensors:
        return {name: float(value) for name, value in scalars.items()}
    # Apple's GPUs know no float64.
    on_mps = any(value.device.type == "mps" for value in tensors.values())
    exact = torch.float32 if on_mps else torch.float64
    stacked = torch.stack([value.reshape(()).to(exact) for value in tensors.values()])
    floats = dict(zip(tensors, stacked.tolist(), strict=True))
    return {name: floats[name] if name in floats else float(x) for name, x in scalars.items()}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, a torn one (a crash, a full disk) left out; empty when there
    is no file.

    A row that no training writes, without a step or with values that are no numbers, counts as
    torn.
    """
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for line in lines:
        with suppress(ValueError):
            row = parse_json(line)
            if _is_row(row):
                rows.append(row)
    return rows


def _is_row(row: Any) -> bool:
    # Any JSON value may stand on a line that somebody else wrote.
    if not isinstance(row, dict) or not _is_step(row.get("step")):
        return False
    return all(map(_is_logged, row.values()))


def _is_step(value: Any) -> bool:
    return type(value) in (int, float) and value >= 0


def _is_logged(value: Any) -> bool:
    return value is None or type(value) in (int, float)


class MetricsLog:
    """Appends named scalars to `folder/metrics.jsonl` and TensorBoard events in `folder`; None:
    only converts them.

    With `resume_step`, what either holds beyond that step is dropped first. A disk that fails while
    the training runs does not stop it: that is reported once, and rows are lost until it works
    again.
    """

    def __init__(
        self, folder: Path | None, *, tensorboard: bool = True, resume_step: int | None = None
    ) -> None:
        self._path = None if folder is None else folder / "metrics.jsonl"
        self._board: Any = None
        self._warned = False
        self._torn = False
        self._file: Any = None
        if folder is None or self._path is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        # A link would be appended to elsewhere.
        refuse_link(self._path)
        if resume_step is not None:
            _truncate(self._path, resume_step)
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115  (closed in close)
        if tensorboard:
            _hush_the_writers_thread()
            # It takes 0.15 s to import (measured), and a play or a test needs none.
            from torch.utils.tensorboard import SummaryWriter

            purge = None if resume_step is None else resume_step + 1
            self._board = SummaryWriter(str(folder), purge_step=purge, flush_secs=10)
            self._guarded(self._board.add_custom_scalars, FIRST)

    def write(self, step: int, values: Mapping[str, Scalar | Lazy]) -> dict[str, float]:
        """Log `values` at `step` (environment steps) and return them as floats; non-finite ones are
        null in JSON.
        """
        # One synchronisation for the file and the board together.
        floats = to_floats(values)
        row = {"step": step, "time": round(time.time(), 3)}
        row |= {name: value if math.isfinite(value) else None for name, value in floats.items()}
        self._guarded(self._append, json.dumps(row).encode() + b"\n")
        if self._board is not None:
            for name, value in floats.items():
                self._guarded(self._board.add_scalar, name, value, step)
        return floats

    def _append(self, line: bytes) -> None:
        if self._file is None:
            return
        # A torn row is ended first, so that it spoils no other; and this one counts as torn until
        # the disk has taken all of it, also where it raises.
        line = b"\n" + line if self._torn else line
        self._torn = True
        self._torn = self._file.write(line) != len(line)
        if self._torn:
            raise OSError("only a part of the row fitted on the disk")

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Call, and turn a failing disk into one warning; TensorBoard raises what its writer thread
        met.
        """
        try:
            call(*arguments)
        except OSError as cause:
            if not self._warned:
                where = self._path.parent if self._path else "nowhere"
                text = (
                    f"metrics could not be written to {where} ({cause}); "
                    "training goes on without them"
                )
                warnings.warn(text, RuntimeWarning, stacklevel=3)
            self._warned = True

    def text(self, name: str, markdown: str) -> None:
        """Put a text, such as the table of hyperparameters, on TensorBoard's text page."""
        if self._board is not None:
            self._guarded(self._board.add_text, name, markdown, 0)

    def image(self, name: str, pixels: Any, step: int) -> None:
        """Put a grey picture [H, W], 0 black to 1 white, on TensorBoard's image page."""
        if self._board is not None:
            self._guarded(partial(self._board.add_image, dataformats="HW"), name, pixels, step)

    def flush(self) -> None:
        """Hand TensorBoard's queue to the system; `metrics.jsonl` is never behind."""
        if self._board is not None:
            self._guarded(self._board.flush)

    def close(self) -> None:
        """Flush and close both; a second call does nothing."""
        board = self._board
        file = self._file
        self._board = None
        self._file = None
        if board is not None:
            self._guarded(board.close)
        if file is not None:
            file.close()


def note_score(folder: Path, settings: Mapping[str, Any], score: float, step: int) -> None:
    """Put the settings of a run and its final score on TensorBoard's page of hyperparameters.

    Call it when the `MetricsLog` of the folder is closed: TensorBoard reads no file further after
    it has found a later one. A disk that fails costs a warning.
    """
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    # The page takes texts, truths and numbers.
    known = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in settings.items()}
    try:
        _hush_the_writers_thread()
        with SummaryWriter(str(folder)) as board:
            assert board.file_writer is not None  # it is open
            for summary in hparams(known, {FINAL: score}):
                board.file_writer.add_summary(summary)
            board.add_scalar(FINAL, score, step)
    except OSError as cause:
        warnings.warn(
            f"the score is not on TensorBoard's page of hyperparameters: {cause}",
            RuntimeWarning,
            stacklevel=2,
        )


def _hush_the_writers_thread() -> None:
    """Keep TensorBoard's thread from printing the traceback of a failing disk: `MetricsLog` says it
    in one sentence.
    """
    before = threading.excepthook
    if before is not _hook_without_writers:
        _others.append(before)
        threading.excepthook = _hook_without_writers


_others: list[Callable[[threading.ExceptHookArgs], Any]] = []
"""Hooks that reported errors of threads before ours, the last of which still does."""


def _hook_without_writers(error: threading.ExceptHookArgs) -> None:
    is_writer = type(error.thread).__module__.startswith("tensorboard.")
    if is_writer and issubclass(error.exc_type, OSError):
        return
    _others[-1](error)


def _truncate(path: Path, step: int) -> None:
    """Drop the rows beyond `step` and torn ones, in one atomic replacement."""
    if not path.is_file():
        return
    # What came after the checkpoint is lived once more, and logged once more.
    rows = [row for row in read_rows(path) if row["step"] <= step]
    with replacing(path) as file:
        file.writelines(json.dumps(row).encode() + b"\n" for row in rows)


class Means:
    """Means of what updates report, from one logged row to the next: of an agent that learns at
    every step, one alone is noise.

    A lazy scalar is the last one: the others are never worked out. A sum is left for later, as
    `add` is called at every step.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[Scalar]] = {}
        self._lazy: dict[str, Lazy] = {}

    def add(self, values: Mapping[str, Scalar | Lazy]) -> None:
        """Count what one update reported."""
        for name, value in values.items():
            # A lazy scalar is replaced, never added: to add is to work it out.
            if callable(value):
                self._lazy[name] = value
            else:
                # What was kept with its graph would keep all that it was made of.
                if isinstance(value, Tensor) and value.requires_grad:
                    value = value.detach()
                self._values.setdefault(name, []).append(value)

    def take(self) -> dict[str, Scalar | Lazy]:
        """The means since the last call, still on their device."""
        means: dict[str, Scalar | Lazy] = {name: _mean(x) for name, x in self._values.items()}
        means |= self._lazy
        self._values = {}
        self._lazy = {}
        return means


def _mean(x: list[Scalar]) -> Scalar:
    if not any(isinstance(value, Tensor) for value in x):
        return sum(x) / len(x)
    if len(x) == 1:
        return x[0]
    stacked = torch.stack([torch.as_tensor(value) for value in x])
    return stacked.float().mean(0)


class EpisodeStats:
    """Means over the last `window` finished episodes, NaN before any. Its state is exact."""

    def __init__(self, window: int = WINDOW) -> None:
        self.count = 0
        """Episodes finished since the run began."""
        self._returns: deque[float] = deque(maxlen=window)
        self._lengths: deque[int] = deque(maxlen=window)

    def add(self, returns: Iterable[float], lengths: Iterable[int]) -> None:
        """Count finished episodes by undiscounted returns and lengths in steps, oldest first."""
        for episode_return, length in zip(returns, lengths, strict=True):
            self._returns.append(float(episode_return))
            self._lengths.append(int(length))
            self.count += 1

    @property
    def mean_return(self) -> float:
        """Mean undiscounted return over the window."""
        if not self._returns:
            return math.nan
        return math.fsum(self._returns) / len(self._returns)

    @property
    def mean_length(self) -> float:
        """Mean length over the window, in steps."""
        if not self._lengths:
            return math.nan
        return sum(self._lengths) / len(self._lengths)

    def state_dict(self) -> dict[str, Tensor]:
        """The window and the counter as tensors."""
        return {
            "returns": torch.tensor(list(self._returns), dtype=torch.float64),
            "lengths": torch.tensor(list(self._lengths), dtype=torch.int64),
            "count": torch.tensor(self.count),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self._returns = deque(state["returns"].tolist(), self._returns.maxlen)
        self._lengths = deque(state["lengths"].tolist(), self._lengths.maxlen)
        self.count = int(state["count"])
