"""The flags of each command, as dataclasses that tyro reads: a docstring is a flag's help."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from bio_rl.training import api
from bio_rl.training.config import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Names a run, and where runs are."""

    run: tyro.conf.Positional[str] = "latest"
    """A run folder, its name, or latest."""
    run_dir: Path = Run.run_dir
    """Parent of the run folders."""
    trust: tuple[str, ...] = ()
    """Modules that may be imported, and so run, for what the run has of somebody's own: my_module
    of --env my_module:Id-v0, of --agent my_module:Agent and so on.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval(Place):
    """Evaluate a run greedily over fixed start states."""

    episodes: int | None = None
    """Number of episodes that are played, one from each start state; by default 20. With --perturb
    the number of lives: by default 20, or 10 with --learn on.
    """
    seed: int = api.FINAL_SEED
    """Seed from which all start states are drawn: the same seed gives the same ones."""
    best: bool = False
    """The weights that evaluated best in training, instead of the last."""
    json: bool = False
    """Print one JSON object: episodes, mean, std, median, min, max, returns, lengths, operations (a
    decision's, by network), normalised (0 random, 1 the expert's or ideal mean; null where no
    reference is known); with --perturb the fields of `bio_rl.training.resilience.Resilience`.
    """
    perturb: tuple[str, ...] = ()
    """Break the world half way through each episode and report drop and recovery: gear:bthigh=-1,
    gravity=2, … (see docs/perturbations.md).
    """
    at: int | None = None
    """Step of the perturbation, if not half way; with --learn on after 5 episodes' limits."""
    steps: int | None = None
    """Length of a perturbed life, if not one episode. With --learn on it lasts until 40 episodes'
    limits after the perturbation: in CartPole with its motor inverted the slowest of 10 brains
    needed 20 of them.
    """
    learn: Literal["on", "off"] = "off"
    """With --perturb: whether brains go on learning. Each life is then a copy of the agent, alone
    in its environment, one life after the other. off: the agent is frozen, and all lives run at
    once.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Play(Place):
    """Film a greedy episode of a run, or draw what its neurons do."""

    video: Path | None = None
    """The film to write, .mp4 or .gif; by default episode.mp4 in the run folder."""
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
    best: bool = False
    """The weights that evaluated best in training, instead of the last."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resume(Place):
    """Continue a run from its last checkpoint, exactly where it stopped."""

    steps: int | None = None
    """Environment steps in all, if it is to become longer than it was planned."""
    episodes: int | None = None
    """Episodes in all, if they are to bound it."""
    device: str | None = None
    """auto, cpu or cuda, if the run goes on elsewhere than where it began."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """List what there is."""

    kind: tyro.conf.Positional[str]
    """envs, agents, networks, neurons, rules, modulators, connections or codes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
    """Draw learning curves: runs that differ in their seed alone are one curve, environments are
    panels.
    """

    runs: tyro.conf.Positional[tuple[str, ...]] = ("latest",)
    """Run folders, their names, latest, or folders that hold runs."""
    out: Path | None = None
    """The picture to write, .png, .svg or .pdf; by default learning_curves.png in the folder that
    holds the runs.
    """
    key: str = "rollout/ep_rew_mean"
    """The logged quantity, as TensorBoard names it."""
    run_dir: Path = Run.run_dir
    """Parent of the run folders."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what is installed, what works here and how to get the rest; exits 1 where training
    cannot work.
    """

    run_dir: Path = Run.run_dir
    """Parent of the run folders: is it writable?"""
