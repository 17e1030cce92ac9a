"""`bio-rl resume RUN`: continue a run, also longer than it was planned."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

from bio_rl.cli._parse import Place, parse
from bio_rl.cli.train import ended, tracked
from bio_rl.training import api


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags(Place):
    """Continue a run from its last checkpoint, exactly where it stopped."""

    steps: int | None = None
    """Environment steps in all, if it is to become longer than it was planned."""
    episodes: int | None = None
    """Episodes in all, if they are to bound it."""
    device: str | None = None
    """auto, cpu or cuda, if the run goes on elsewhere than where it began."""
    track: str | None = None
    """A service that metrics also go to, wandb or mlflow: they go on there as the same run."""


def main(arguments: Sequence[str]) -> None:
    """Continue a run."""
    flags: Flags = parse(Flags, arguments, "resume")
    again = partial(
        api.resume,
        flags.run,
        steps=flags.steps,
        episodes=flags.episodes,
        device=flags.device,
        run_dir=flags.run_dir,
        trust=flags.trust,
    )
    ended([tracked(flags.track, again)])
