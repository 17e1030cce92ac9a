"""The live panel of a training run: a picture in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bio_rl.machine.compiling import working_time
from bio_rl.training.metrics import Lazy, Scalar, to_floats

OTHERS = ("rollout/", "time/", "eval/")
"""Values that the panel shows in words of its own."""
NAMED = 6
"""Others that it shows by their names, where nobody chose some."""
WIDTH = 100
"""Characters that the panel takes at most."""
WIDE = 72
"""Characters from which on two pairs of label and value stand side by side."""
LINE = {
    "return": "return {}",
    "best eval": "best {}",
    "speed": "{}",
    "split": "{}",
    "eta": "eta {}",
}
"""The facts of a plain line after step and percent, where they are known."""


def clock(seconds: float) -> str:
    """`seconds` as 0:31, 1:02:03 or 2d 3:04:05; -:-- when unknown."""
    if not math.isfinite(seconds):
        return "-:--"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    # A run of several days is told in days: 53:10:07 is no time that one knows.
    if days:
        return f"{days}d {h}:{m:02}:{s:02}"
    return f"{h}:{m:02}:{s:02}" if h else f"{m}:{s:02}"


class Sample(NamedTuple):
    """A moment of the training, for its speed."""

    time: float
    """Seconds, without those in which kernels were compiled."""
    step: int
    share: float


class Panel:
    """The live panel of a training run in a terminal, plain lines elsewhere; a context manager,
    clean after Ctrl-C.

    total, start: environment steps of the horizon and of the resumed checkpoint. show: names of the
    values on the panel's last rows; by default the first six outside rollout/, time/ and eval/.
    """

    REFRESH = 0.5
    """Seconds between pictures: one takes 2 ms (measured), so 0.4 % of the time."""
    LINE = 5.0
    """Seconds between plain lines."""

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

        self.total = total
        self.title = title
        self.run = run
        self.step = start
        self.show = tuple(show)
        self.share = start / max(1, total)
        self._console = console or Console()
        self._live: Any = None
        self._values: dict[str, Scalar | Lazy] = {}
        self._lined = -1
        """The step of the last plain line."""
        self._began = self._drawn = time.monotonic()
        self._samples: deque[Sample] = deque(maxlen=32)

    def __enter__(self) -> Panel:
        self._began = time.monotonic()
        self._samples.append(Sample(working_time(), self.step, self.share))
        if self._console.file.isatty() and not self._console.is_dumb_terminal:
            # Only where there is a terminal: plain lines need none of it.
            from rich.live import Live

            live = Live(console=self._console, auto_refresh=False, get_renderable=self._picture)
            self._live = live
            live.start()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._draw()
        finally:
            if self._live is not None:
                self._live.stop()

    def update(
        self,
        step: int,
        values: Mapping[str, Scalar | Lazy] | None = None,
        share: float | None = None,
    ) -> None:
        """Report `step` (environment steps so far) and new `values`; redraws now and then, so it
        may be called often.

        share: of the training that is over, where steps alone do not say it.

        Understood: rollout/ep_rew_mean, rollout/ep_len_mean, eval/best, time/collect and time/learn
        (any one unit).
        """
        self.step = step
        self.share = step / max(1, self.total) if share is None else share
        self._values.update(values or ())
        interval = self.LINE if self._live is None else self.REFRESH
        if time.monotonic() - self._drawn >= interval:
            self._draw()

    def print(self, *message: object) -> None:
        """Print a line above the panel."""
        self._console.print(*message, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._samples.append(Sample(working_time(), self.step, self.share))
        if self._live is not None:
            self._live.refresh()
        # The last line of a run is often there already.
        elif self.step != self._lined:
            self._lined = self.step
            self.print(self._line())

    def _facts(self) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """The texts that both forms show, as far as they are known, and the named values."""
        # Means of nothing yet are None.
        known = {name: value for name, value in self._values.items() if value is not None}
        values = to_floats(known)
        facts = {"percent": f"{math.floor(100 * min(1.0, self.share))}%"}
        mean = values.get("rollout/ep_rew_mean", math.nan)
        if math.isfinite(mean):
            facts["return"] = f"{mean:,.1f}{_length(values)}"
        best = values.get("eval/best", math.nan)
        if math.isfinite(best):
            facts["best eval"] = f"{best:,.1f}"
        facts |= self._speed()
        collect = values.get("time/collect", 0.0)
        learn = values.get("time/learn", 0.0)
        if collect + learn > 0:
            share = round(100 * collect / (collect + learn))
            facts["split"] = f"collect {share}% learn {100 - share}%"
        usual = [name for name in values if not name.startswith(OTHERS)][:NAMED]
        names = [name for name in self.show or usual if name in values]
        return facts, [(name.removeprefix("train/"), f"{values[name]:.4g}") for name in names]

    def _speed(self) -> dict[str, str]:
        """Speed and time left, over the samples that are kept; nothing where nothing moved."""
        first = self._samples[0]
        last = self._samples[-1]
        seconds = last.time - first.time
        if last.step <= first.step or seconds <= 0:
            return {}
        # Over the last pictures, not the whole run: what it did at its beginning is no measure.
        rate = (last.step - first.step) / seconds
        facts = {"speed": f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s"}
        # The share, not the steps, tells what is left where episodes bound the run.
        if last.share > first.share:
            left = max(0.0, 1.0 - self.share)
            facts["eta"] = clock(left * seconds / (last.share - first.share))
        return facts

    def _line(self) -> str:
        facts, _ = self._facts()
        parts = [f"step {self.step:,}/{self.total:,}", facts["percent"]]
        for name, text in LINE.items():
            if name in facts:
                parts.append(text.format(facts[name]))
        return "  ".join(parts)

    def _picture(self) -> Any:
        """The panel: a bar, labels and values (two pairs a row where there is room), and where the
        run is saved.
        """
        from rich import box, panel, table, text

        # Worked out once a picture, however often it is updated.
        facts, named = self._facts()
        width = min(self._console.width, WIDTH)
        whole = table.Table.grid(expand=True)
        whole.add_row(self._bar(facts["percent"]))
        whole.add_row(_grid([*self._cells(facts), *named], pairs=2 if width >= WIDE else 1))
        if self.run is not None:
            saved = text.Text.assemble(("saved in  ", "dim"), str(self.run), overflow="fold")
            whole.add_row(saved)
        return panel.Panel(
            whole,
            title=self.title or None,
            title_align="left",
            box=box.ROUNDED,
            border_style="dim",
            width=width,
        )

    def _cells(self, facts: Mapping[str, str]) -> list[tuple[str, str]]:
        """Labels and values that are always there."""
        return [
            ("return", facts.get("return", "no episode yet")),
            ("best eval", facts.get("best eval", "-")),
            ("speed", facts.get("speed", "-")),
            ("time spent", facts.get("split", "-")),
            ("elapsed", clock(time.monotonic() - self._began)),
            ("left", facts.get("eta", "-:--")),
        ]

    def _bar(self, percent: str) -> Any:
        """The share of the training that is over, as a bar and in numbers."""
        from rich import progress_bar, table

        bar = table.Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        done = progress_bar.ProgressBar(1.0, min(self.share, 1.0), complete_style="cyan")
        bar.add_row(done, f"{self.step:,} / {self.total:,} {percent:>5}")
        return bar


def _length(values: Mapping[str, float]) -> str:
    """The mean length of the episodes, in brackets; "" where it is not known."""
    length = values.get("rollout/ep_len_mean", math.nan)
    return f" (len {length:.0f})" if math.isfinite(length) else ""


def _grid(cells: Sequence[tuple[str, str]], pairs: int) -> Any:
    """Labels and values in rows of so many pairs."""
    from rich import table

    grid = table.Table.grid(expand=True, padding=(0, 2))
    for style, ratio in (("dim", 2), ("", 3)) * pairs:
        # A long value is cut rather than wrapped: the panel must not change its height.
        grid.add_column(style=style, ratio=ratio, no_wrap=True)
    for left in range(0, len(cells), pairs):
        row = cells[left : left + pairs]
        grid.add_row(*(part for cell in row for part in cell))
    return grid
