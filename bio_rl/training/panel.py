"""The live panel of a training run: a picture in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bio_rl.training.metrics import Lazy, Scalar, to_floats


def clock(seconds: float) -> str:
    """`seconds` as 0:31, 1:02:03 or 2d 3:04:05; -:-- when unknown."""
    if not math.isfinite(seconds):
        return "-:--"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{days}d {h}:{m:02}:{s:02}" if days else f"{h}:{m:02}:{s:02}" if h else f"{m}:{s:02}"


class Panel:
    """The live panel of a training run in a terminal, plain lines elsewhere; a context manager,
    clean after Ctrl-C.

    total, start: environment steps of the horizon and of the resumed checkpoint. show: names of the
    values on the panel's last rows; by default the first six outside rollout/, time/ and eval/.
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

        self.total, self.title, self.run, self.step, self.show = (
            total,
            title,
            run,
            start,
            tuple(show),
        )
        self.share = start / max(1, total)
        self._console = console or Console()
        self._live: Any = None
        self._values: dict[str, Scalar | Lazy] = {}
        self._lined = -1  # the step of the last plain line
        self._began = self._drawn = time.monotonic()
        self._samples: deque[tuple[float, int, float]] = deque(
            maxlen=32
        )  # (time, step, share), for the speed

    def __enter__(self) -> Panel:
        self._began = time.monotonic()
        self._samples.append((self._began, self.step, self.share))
        if self._console.file.isatty() and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(
                console=self._console, auto_refresh=False, get_renderable=self._picture
            )
            self._live.start()
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
        if time.monotonic() - self._drawn >= (self.LINE if self._live is None else self.REFRESH):
            self._draw()

    def print(self, *message: object) -> None:
        """Print a line above the panel."""
        self._console.print(*message, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._samples.append((self._drawn, self.step, self.share))
        if self._live is not None:
            self._live.refresh()
        elif self.step != self._lined:
            self._lined = self.step
            self.print(self._line())

    def _facts(self) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """What both forms show, as text (what is not known yet is absent), and the named values."""
        v = to_floats({name: value for name, value in self._values.items() if value is not None})
        facts = {"percent": f"{math.floor(100 * min(1.0, self.share))}%"}
        if math.isfinite(mean := v.get("rollout/ep_rew_mean", math.nan)):
            length = v.get("rollout/ep_len_mean", math.nan)
            facts["return"] = f"{mean:,.1f}" + (
                f" (len {length:.0f})" if math.isfinite(length) else ""
            )
        if math.isfinite(best := v.get("eval/best", math.nan)):
            facts["best eval"] = f"{best:,.1f}"
        (t_0, step_0, share_0), (t_1, step_1, share_1) = self._samples[0], self._samples[-1]
        if step_1 > step_0 and t_1 > t_0:
            rate = (step_1 - step_0) / (t_1 - t_0)
            facts["speed"] = f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s"
            if share_1 > share_0:
                facts["eta"] = clock(max(0.0, 1.0 - self.share) * (t_1 - t_0) / (share_1 - share_0))
        collect, learn = v.get("time/collect", 0.0), v.get("time/learn", 0.0)
        if collect + learn > 0:
            share = round(100 * collect / (collect + learn))
            facts["split"] = f"collect {share}% learn {100 - share}%"
        names = self.show or [n for n in v if not n.startswith(("rollout/", "time/", "eval/"))][:6]
        return facts, [
            (name.removeprefix("train/"), f"{v[name]:.4g}") for name in names if name in v
        ]

    def _line(self) -> str:
        f, _ = self._facts()
        parts = [
            f"step {self.step:,}/{self.total:,}",
            f["percent"],
            f"return {f['return']}" if "return" in f else "",
        ]
        parts += [
            f"best {f['best eval']}" if "best eval" in f else "",
            f.get("speed", ""),
            f.get("split", ""),
        ]
        return "  ".join(p for p in [*parts, f"eta {f['eta']}" if "eta" in f else ""] if p)

    def _picture(self) -> Any:
        """The panel: a bar, labels and values (two pairs a row where there is room), and where the
        run is saved.
        """
        from rich import box, panel, progress_bar, table, text

        f, named = self._facts()
        width = min(self._console.width, 100)
        pairs = 2 if width >= 72 else 1
        cells = [
            ("return", f.get("return", "no episode yet")),
            ("best eval", f.get("best eval", "-")),
        ]
        cells += [("speed", f.get("speed", "-")), ("time spent", f.get("split", "-"))]
        cells += [
            ("elapsed", clock(time.monotonic() - self._began)),
            ("left", f.get("eta", "-:--")),
            *named,
        ]
        bar = table.Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        done = progress_bar.ProgressBar(1.0, min(self.share, 1.0), complete_style="cyan")
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
            whole,
            title=self.title or None,
            title_align="left",
            box=box.ROUNDED,
            border_style="dim",
            width=width,
        )
