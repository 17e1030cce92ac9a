"""A run in a notebook: a card with its facts and its learning curve, and files that show
themselves.
"""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bio_rl.machine.files import read_json
from bio_rl.training.build import Trained
from bio_rl.viz import plot

# Path itself is a function that makes one of two classes, which depends on the system.
PathOfSystem = Path if TYPE_CHECKING else type(Path())

PICTURES = {".png": "image/png", ".svg": "image/svg+xml", ".gif": "image/gif"}
FILMS = {".mp4": "video/mp4"}
LARGEST = 20_000_000
"""Bytes of a file that is put into a notebook, where it takes a third more."""


class Shown(PathOfSystem):
    """The path of a picture or a film, which a notebook shows in place of the path."""

    def _repr_html_(self) -> str:
        """The picture or the film; its path where it is gone, too large or of another kind."""
        kind = PICTURES.get(self.suffix) or FILMS.get(self.suffix)
        try:
            content = self.read_bytes()
        except OSError:
            content = b""
        if kind is None or not 0 < len(content) <= LARGEST:
            return f"<code>{html.escape(str(self))}</code>"
        data = inline(content, kind)
        if self.suffix in FILMS:
            how = 'controls loop autoplay muted style="max-width: 100%"'
            return f'<video {how} src="{data}"></video>'
        return f'<img style="max-width: 100%" alt="{html.escape(self.name)}" src="{data}">'


def inline(content: bytes, kind: str) -> str:
    """The address of a content of this kind that is written out in it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def facts(trained: Trained) -> dict[str, str]:
    """The facts of a run, in words, by what they are."""
    run = trained.experiment.run
    return {
        "world": run.env,
        "agent": run.agent,
        "network": run.network,
        "steps": f"{trained.steps:,}",
        "greedy return": score(trained),
        "folder": str(trained.folder),
    }


def score(trained: Trained) -> str:
    """The mean greedy return of its last weights, as it was evaluated at the end of training."""
    if trained.evaluation is not None:
        return str(trained.evaluation)
    with suppress(ValueError):
        result = read_json(trained.folder / "result.json")
        # The file may be of another step than these weights, or somebody else's.
        right = isinstance(result, Mapping) and result.get("steps") == trained.steps
        if right and isinstance(result.get("mean"), int | float):
            return f"{result['mean']:.1f}"
    return "not evaluated"


def card(trained: Trained) -> str:
    """A run as HTML: its facts, and its learning curve where the extra `plots` is there and
    something was logged.
    """
    rows = [
        f'<tr><th style="text-align: left">{html.escape(name)}</th>'
        f'<td style="text-align: left">{html.escape(value)}</td></tr>'
        for name, value in facts(trained).items()
    ]
    return f"<table>{''.join(rows)}</table>{_curve(trained.folder)}"


def _curve(folder: Path) -> str:
    # A card is shown of any run: what cannot be drawn is left out.
    with suppress(ValueError, OSError), tempfile.TemporaryDirectory() as place:
        path = plot.draw([str(folder)], folder.parent, Path(place) / "curve.png")
        address = inline(path.read_bytes(), PICTURES[".png"])
        return f'<img alt="learning curve" style="max-width: 600px" src="{address}">'
    return ""
