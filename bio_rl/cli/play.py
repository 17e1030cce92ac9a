"""`bio-rl play RUN`: film an episode, or draw what its neurons do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bio_rl.cli._parse import Chosen, parse
from bio_rl.machine.files import refuse_link
from bio_rl.training import api
from bio_rl.training.commands import expanded
from bio_rl.viz import raster, video


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags(Chosen):
    """Film a greedy episode of a run, or draw what its neurons do."""

    video: Path | None = None
    """The film to write, .mp4 or .gif; by default episode.mp4 in the run folder."""
    with_: Annotated[Literal["spikes"] | None, tyro.conf.arg(name="with")] = None
    """With --video: show the first eight seconds, with the network's spikes beside the world."""
    raster: Path | None = None
    """The picture to write instead, .png, .svg or .pdf: input, spikes, membranes, action and reward
    on one time axis.
    """
    decisions: int | None = None
    """Length of the raster: by default 50, 60 of a brain that learns."""
    learn: Literal["on", "off"] = "off"
    """With --raster: whether the agent, a copy of it, goes on learning: dopamine, value,
    eligibility and weight change around the end of an episode.
    """
    seed: int = api.FINAL_SEED
    """Seed from which the start state is drawn."""


def main(arguments: Sequence[str]) -> None:
    """Film an episode of a run, or draw what its neurons do."""
    flags: Flags = parse(Flags, arguments, "play")
    learns = flags.learn == "on"
    if flags.raster is None and learns:
        raise ValueError("--learn on goes with --raster, as in --raster brain.png")
    trained = flags.load()
    if flags.raster is not None:
        place = expanded(flags.raster)
        path = raster.draw(trained, place, flags.seed, flags.decisions, learns)
        print(f"wrote {path}")
        if flags.video is None:
            return
    # The folder may be a stranger's: a link in it would write elsewhere.
    usual = trained.folder / "episode.mp4"
    refuse_link(usual)
    path, total = video.film(
        trained, expanded(flags.video or usual), flags.seed, with_spikes=flags.with_ == "spikes"
    )
    print(f"return {total:.1f}; wrote {path}")
