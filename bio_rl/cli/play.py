"""`bio-rl play RUN`: film an episode, draw what its neurons do, or write it to a file."""

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
from bio_rl.training.recording import files
from bio_rl.training.recording.run import record_run
from bio_rl.viz import raster, video


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags(Chosen):
    """Film a greedy episode of a run, draw what its neurons do, or write it to a file."""

    video: Path | None = None
    """The film to write, .mp4 or .gif; by default episode.mp4 in the run folder."""
    with_: Annotated[Literal["spikes"] | None, tyro.conf.arg(name="with")] = None
    """With --video: show the first eight seconds, with the network's spikes beside the world."""
    raster: Path | None = None
    """The picture to write instead, .png, .svg or .pdf: input, spikes, membranes, action and reward
    on one time axis.
    """
    save: Path | None = None
    """The recording to write instead: .npz (all arrays), .csv (a table of decisions and one of
    spikes) or .nwb (needs the extra nwb): observations, actions, rewards, infos, events, spikes,
    membranes, and with --learn on dopamine, eligibility and weights.
    """
    decisions: int | None = None
    """Length of the raster: by default 50, 60 of a brain that learns; and of the recording: by
    default one episode.
    """
    episodes: int | None = None
    """With --save: number of episodes that are recorded, one after the other."""
    learn: Literal["on", "off"] = "off"
    """With --raster or --save: whether the agent, a copy of it, goes on learning: dopamine, value,
    eligibility and weight change around the end of an episode, or from its beginning in a
    recording.
    """
    seed: int = api.FINAL_SEED
    """Seed from which the start state is drawn."""


def main(arguments: Sequence[str]) -> None:
    """Film an episode of a run, draw what its neurons do, or write it to a file."""
    flags: Flags = parse(Flags, arguments, "play")
    learns = flags.learn == "on"
    if flags.raster is None and flags.save is None and learns:
        raise ValueError("--learn on goes with --raster or --save, as in --raster brain.png")
    if flags.save is None and flags.episodes is not None:
        raise ValueError("--episodes goes with --save, as in --save life.npz")
    trained = flags.load()
    if flags.raster is not None:
        place = expanded(flags.raster)
        print(f"wrote {raster.draw(trained, place, flags.seed, flags.decisions, learns)}")
    if flags.save is not None:
        save(flags, trained, flags.save)
    if flags.video is not None or (flags.raster is None and flags.save is None):
        film(flags, trained)


def save(flags: Flags, trained: api.Trained, place: Path) -> None:
    """Write a recording, and say what is in it."""
    files.check(place)
    learns = flags.learn == "on"
    recording = record_run(trained, flags.decisions, flags.episodes, flags.seed, learns)
    path = recording.save(place)
    # A table has no column for each membrane and weight.
    if path.suffix == ".csv":
        print(f"wrote {path} and {files.spikes_path(path)}: {recording.size}")
    else:
        print(f"wrote {path}: {recording.summary()}")


def film(flags: Flags, trained: api.Trained) -> None:
    """Write a film."""
    # The folder may be a stranger's: a link in it would write elsewhere.
    usual = trained.folder / "episode.mp4"
    refuse_link(usual)
    path, total = video.film(
        trained, expanded(flags.video or usual), flags.seed, with_spikes=flags.with_ == "spikes"
    )
    print(f"return {total:.1f}; wrote {path}")
