"""`bio-rl plot RUN...`: learning curves over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro

from bio_rl.cli._parse import parse
from bio_rl.training.commands import expanded
from bio_rl.training.config import Run
from bio_rl.viz import plot


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Draw learning curves, or the scores in result files: runs that differ in their seed alone are
    one curve, environments are panels.
    """

    runs: tyro.conf.Positional[tuple[str, ...]] = ("latest",)
    """Run folders, their names, latest, or folders that hold runs, such as those of `bench learning
    --run-dir`; or files (.json) that `bench learning --out` and `compare` write, whose cases are
    drawn with their seeds.
    """
    out: Path | None = None
    """The picture to write, .png, .svg or .pdf; by default learning_curves.png in the folder that
    holds the runs, or beside the first file with its name.
    """
    key: str = "rollout/ep_rew_mean"
    """The logged quantity, as TensorBoard names it."""
    run_dir: Path = Run.run_dir
    """Parent of the run folders."""


def main(arguments: Sequence[str]) -> None:
    """Draw learning curves."""
    flags: Flags = parse(Flags, arguments, "plot")
    runs = tuple(str(expanded(run)) for run in flags.runs)
    out = None if flags.out is None else expanded(flags.out)
    path = plot.draw(runs, expanded(flags.run_dir), out, flags.key)
    print(f"wrote {path}")
