"""`bio-rl demo`: a spiking network learns to balance a pole, and you see it do so."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bio_rl.cli._parse import parse
from bio_rl.run import Run
from bio_rl.training import api, config
from bio_rl.training.commands import expanded


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Train a spiking network on CartPole-v1 (about 15 seconds on two cores), then draw its spikes,
    its learning curve and a film.
    """

    steps: int | None = None
    """Environment steps; by default the preset's, with which it learns the task."""
    run_dir: Path = config.Run.run_dir
    """Parent of the run folder, in which everything is written."""


def main(arguments: Sequence[str]) -> None:
    """Train, and show what there is to see."""
    flags: Flags = parse(Flags, arguments, "demo")
    steps: dict[str, Any] = {} if flags.steps is None else {"steps": flags.steps}
    # by the commands' own function, so that the hints are commands too
    trained = Run.of(
        api.train("CartPole-v1", network="spiking", run_dir=expanded(flags.run_dir), **steps)
    )
    print()
    seen = [
        shown("its neurons at work", trained.raster),
        shown("how it learned", trained.curve),
        shown("a film of an episode", lambda: film(trained)),
    ]
    if not any(seen):
        sys.exit(1)


def film(trained: Run) -> Path:
    """A film of one episode. Raises ValueError where an extra is missing."""
    return trained.play(trained.folder / "episode.mp4")


def shown(what: str, draw: Callable[[], Path]) -> bool:
    """Draw something and say where it is, or why it could not be drawn. Whether it was."""
    try:
        path = draw()
    except ValueError as error:
        print(f"{what}: not drawn, {error}")
        return False
    print(f"{what}: {path}")
    return True
