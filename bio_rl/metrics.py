"""Where numbers go: `metrics.jsonl` and TensorBoard (x axis: environment steps), episode statistics, the live panel.

Names are SB3's: `rollout/ep_rew_mean`, `rollout/ep_len_mean`, `train/...`, `time/...`, `eval/...`.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bio_rl.runfolder import replacing

Scalar = float | int | Tensor


def to_floats(values: Mapping[str, Scalar]) -> dict[str, float]:
    """`values` as Python floats, in one device synchronisation. Raises ValueError for a tensor that is no scalar."""
    tensors = {name: value.detach() for name, value in values.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():
        if value.numel() != 1:
            raise ValueError(f"metric {name!r} has shape {tuple(value.shape)}, expected a scalar; take its mean, say")
    if not tensors:
        return {name: float(value) for name, value in values.items()}
    exact = torch.float32 if any(value.device.type == "mps" for value in tensors.values()) else torch.float64
    stacked = torch.stack([value.reshape(()).to(exact) for value in tensors.values()])
    read = dict(zip(tensors, stacked.tolist(), strict=True))
    return {name: read[name] if name in read else float(value) for name, value in values.items()}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, a torn one (a crash, a full disk) left out; empty when there is no file."""
    rows: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and "step" in row:
                rows.append(row)
    return rows


class MetricsLog:
    """Appends named scalars to `folder/metrics.jsonl` and TensorBoard events in `folder`; None: only converts them.

    With `resume_step`, what either holds beyond that step is dropped first. A disk that fails while the training runs
    does not stop it: that is reported once, and rows are lost until it works again.
    """

    def __init__(self, folder: Path | None, *, tensorboard: bool = True, resume_step: int | None = None) -> None:
        self._path = None if folder is None else folder / "metrics.jsonl"
        self._board: Any = None
        self._warned = self._torn = False
        self._file: Any = None
        if folder is None or self._path is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if resume_step is not None:
            _truncate(self._path, resume_step)
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115  (closed in close)
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # 0.15 s to import, measured; a play or a test needs none

            purge = None if resume_step is None else resume_step + 1
            self._board = SummaryWriter(str(folder), purge_step=purge, flush_secs=10)

    def write(self, step: int, values: Mapping[str, Scalar]) -> dict[str, float]:
        """Log `values` at `step` (environment steps) and return them as floats; non-finite ones are null in JSON."""
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
        line = b"\n" + line if self._torn else line
        self._torn = True
        self._torn = self._file.write(line) != len(line)
        if self._torn:
            raise OSError("only a part of the row fitted on the disk")

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Call, and turn a failing disk into one warning; TensorBoard raises what its writer thread met."""
        try:
            call(*arguments)
        except OSError as cause:
            if not self._warned:
                where = self._path.parent if self._path else "nowhere"
                text = f"metrics could not be written to {where} ({cause}); training goes on without them"
                warnings.warn(text, RuntimeWarning, stacklevel=3)
            self._warned = True

    def text(self, name: str, markdown: str) -> None:
        """Put a text, such as the table of hyperparameters, on TensorBoard's text page."""
        if self._board is not None:
            self._guarded(self._board.add_text, name, markdown, 0)

    def flush(self) -> None:
        """Hand TensorBoard's queue to the system; `metrics.jsonl` is never behind."""
        if self._board is not None:
            self._guarded(self._board.flush)

    def close(self) -> None:
        """Flush and close both; a second call does nothing."""
        board, file, self._board, self._file = self._board, self._file, None, None
        if board is not None:
            self._guarded(board.close)
        if file is not None:
            file.close()


def _truncate(path: Path, step: int) -> None:
    """Drop the rows beyond `step` and torn ones, in one atomic replacement."""
    if path.is_file():
        with replacing(path) as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in read_rows(path) if row["step"] <= step)


class EpisodeStats:
    """Means over the last `window` finished episodes; NaN before the first one. Its state is exact."""

    def __init__(self, window: int = 100) -> None:
        self.count = 0  # episodes finished since the run began
        self._returns: deque[float] = deque(maxlen=window)
        self._lengths: deque[int] = deque(maxlen=window)

    def add(self, returns: Iterable[float], lengths: Iterable[int]) -> None:
        """Count finished episodes: their undiscounted returns and lengths in steps, oldest first."""
        for episode_return, length in zip(returns, lengths, strict=True):
            self._returns.append(float(episode_return))
            self._lengths.append(int(length))
            self.count += 1

    @property
    def mean_return(self) -> float:
        """Mean undiscounted return over the window."""
        return math.fsum(self._returns) / len(self._returns) if self._returns else math.nan

    @property
    def mean_length(self) -> float:
        """Mean length over the window, in steps."""
        return sum(self._lengths) / len(self._lengths) if self._lengths else math.nan

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


def clock(seconds: float) -> str:
    """`seconds` as 0:31, 1:02:03 or 2d 3:04:05; -:-- when unknown."""
    if not math.isfinite(seconds):
        return "-:--"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{days}d {h}:{m:02}:{s:02}" if days else f"{h}:{m:02}:{s:02}" if h else f"{m}:{s:02}"


class Panel:
    """The live panel of a training run in a terminal, plain lines elsewhere; a context manager, clean after Ctrl-C.

    total, start: environment steps of the horizon and of the resumed checkpoint. show: names of the values on the
    panel's last rows; by default the first six outside rollout/, time/ and eval/.
    """

    REFRESH = 0.5  # s between pictures: one takes 2 ms (measured), so 0.4 % of the time
    LINE = 5.0  # s between plain lines

    def __init__(
        self,
        total: int,
        title: str = "",
        run: Path | None = None,
        start: int = 0,
        show: Sequence[str] = (),
        console: Any = None,
    ) -> None:
        from rich.console import Console

        self.total, self.title, self.run, self.step, self.show = total, title, run, start, tuple(show)
        self._console = console or Console()
        self._live: Any = None
        self._values: dict[str, Scalar] = {}
        self._lined = -1  # the step of the last plain line
        self._began = self._drawn = time.monotonic()
        self._samples: deque[tuple[float, int]] = deque(maxlen=32)  # (time, step), for the speed

    def __enter__(self) -> Panel:
        self._began = time.monotonic()
        self._samples.append((self._began, self.step))
        if self._console.file.isatty() and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, get_renderable=self._picture)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._draw()
        finally:
            if self._live is not None:
                self._live.stop()

    def update(self, step: int, values: Mapping[str, Scalar] | None = None) -> None:
        """Report `step` (environment steps so far) and new `values`; redraws now and then, so it may be called often.

        Understood: rollout/ep_rew_mean, rollout/ep_len_mean, eval/best, time/collect and time/learn (any one unit).
        """
        self.step = step
        self._values.update(values or ())
        if time.monotonic() - self._drawn >= (self.LINE if self._live is None else self.REFRESH):
            self._draw()

    def print(self, *message: object) -> None:
        """Print a line above the panel."""
        self._console.print(*message, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._samples.append((self._drawn, self.step))
        if self._live is not None:
            self._live.refresh()
        elif self.step != self._lined:
            self._lined = self.step
            self.print(self._line())

    def _facts(self) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """What both forms show, as text (what is not known yet is absent), and the named values."""
        v = to_floats({name: value for name, value in self._values.items() if value is not None})
        facts = {"percent": f"{math.floor(100 * min(1.0, self.step / max(1, self.total)))}%"}
        if math.isfinite(mean := v.get("rollout/ep_rew_mean", math.nan)):
            length = v.get("rollout/ep_len_mean", math.nan)
            facts["return"] = f"{mean:,.1f}" + (f" (len {length:.0f})" if math.isfinite(length) else "")
        if math.isfinite(best := v.get("eval/best", math.nan)):
            facts["best eval"] = f"{best:,.1f}"
        (t_0, step_0), (t_1, step_1) = self._samples[0], self._samples[-1]
        if step_1 > step_0 and t_1 > t_0:
            rate = (step_1 - step_0) / (t_1 - t_0)
            facts["speed"] = f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s"
            facts["eta"] = clock(max(0, self.total - self.step) / rate)
        collect, learn = v.get("time/collect", 0.0), v.get("time/learn", 0.0)
        if collect + learn > 0:
            share = round(100 * collect / (collect + learn))
            facts["split"] = f"collect {share}% learn {100 - share}%"
        names = self.show or [n for n in v if not n.startswith(("rollout/", "time/", "eval/"))][:6]
        return facts, [(name.removeprefix("train/"), f"{v[name]:.4g}") for name in names if name in v]

    def _line(self) -> str:
        f, _ = self._facts()
        parts = [f"step {self.step:,}/{self.total:,}", f["percent"], f"return {f['return']}" if "return" in f else ""]
        parts += [f"best {f['best eval']}" if "best eval" in f else "", f.get("speed", ""), f.get("split", "")]
        return "  ".join(p for p in [*parts, f"eta {f['eta']}" if "eta" in f else ""] if p)

    def _picture(self) -> Any:
        """The panel: a bar, labels and values (two pairs a row where there is room), and where the run is saved."""
        from rich import box, panel, progress_bar, table, text

        f, named = self._facts()
        width = min(self._console.width, 100)
        pairs = 2 if width >= 72 else 1
        cells = [("return", f.get("return", "no episode yet")), ("best eval", f.get("best eval", "-"))]
        cells += [("speed", f.get("speed", "-")), ("time spent", f.get("split", "-"))]
        cells += [("elapsed", clock(time.monotonic() - self._began)), ("left", f.get("eta", "-:--")), *named]
        bar = table.Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        done = progress_bar.ProgressBar(max(1, self.total), min(self.step, self.total), complete_style="cyan")
        bar.add_row(done, f"{self.step:,} / {self.total:,} {f['percent']:>5}")
        grid = table.Table.grid(expand=True, padding=(0, 2))
        for style, ratio in (("dim", 2), ("", 3)) * pairs:
            grid.add_column(style=style, ratio=ratio, no_wrap=True)
        for left in range(0, len(cells), pairs):
            grid.add_row(*(part for cell in cells[left : left + pairs] for part in cell))
        whole = table.Table.grid(expand=True)
        whole.add_row(bar)
        whole.add_row(grid)
        if self.run is not None:
            whole.add_row(text.Text.assemble(("saved in  ", "dim"), str(self.run), overflow="fold"))
        return panel.Panel(
            whole, title=self.title or None, title_align="left", box=box.ROUNDED, border_style="dim", width=width
        )
