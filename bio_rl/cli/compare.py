"""`bio-rl compare`: train cases over several seeds; a table, a picture and a file of results."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from bio_rl import checks
from bio_rl.cli._parse import parse
from bio_rl.machine import trust
from bio_rl.sweeps import cases, result_file
from bio_rl.sweeps.cases import Plan
from bio_rl.training import build, presets, users
from bio_rl.training.commands import expanded
from bio_rl.training.config import Run
from bio_rl.viz import comparison

FILE = "compare.json"
"""The file of results in the output folder."""
PICTURE = "compare.png"
"""The learning curves in it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Train every network of every agent over several seeds, and compare them.

    Runs that are finished already are not trained again: the same command goes on where it was
    stopped, and more seeds or more networks are added to what is there.
    """

    env: tuple[str, ...] = (Run.env,)
    """Environments, each compared for itself."""
    network: tuple[str, ...] = ("spiking", "mlp")
    """Kinds of network."""
    agent: tuple[str, ...] = (Run.agent,)
    """Learning algorithms."""
    rule: tuple[str, ...] = ()
    """Plasticity rules of an agent that takes them: each makes a case."""
    flags: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Further flags of a training; given several times, each is a case: --flags= "--flags=--neuron
    alif" compares the usual neuron with another one.
    """
    seeds: int = 5
    """How many seeds each case is trained with: 0, 1, …"""
    steps: int | None = None
    """Environment steps of a training; by default the preset's."""
    episodes: int = build.FINAL_EPISODES
    """Episodes of the final greedy evaluation."""
    jobs: int = 2
    """Trainings at a time."""
    out: Path | None = None
    """Folder for runs, compare.json and compare.png; by default runs/compare_ENVIRONMENT."""

    def __post_init__(self) -> None:
        checks.at_least_one(self, "seeds", "episodes", "jobs", "env", "network", "agent")

    @property
    def plan(self) -> Plan:
        """The trainings that these flags ask for."""
        # Every rule with every text of flags.
        rules = [f"--rule {rule}" for rule in self.rule] or [""]
        flags = [" ".join(pair).strip() for pair in itertools.product(rules, self.flags or ("",))]
        return Plan(
            env=self.env,
            network=self.network,
            agent=self.agent,
            flags=flags,
            seeds=range(self.seeds),
            steps=self.steps,
            episodes=self.episodes,
        )

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        if self.out is not None:
            return expanded(self.out)
        # Among the runs, so that plot and TensorBoard find them too.
        tasks = [presets.task(env) for env in self.env]
        name = "_".join(["compare", *tasks])
        return Run.run_dir / name


def main(arguments: Sequence[str]) -> None:
    """Train what is missing, print the table, and draw the curves."""
    for module in users.modules_typed(arguments):
        trust.import_named(module)
    flags: Flags = parse(Flags, arguments, "compare")
    folder = flags.folder
    plan = flags.plan
    found = compared(flags, plan, folder)
    comparison.show({case: found[case] for case in found if case in {*of(plan), comparison.MEAN}})
    print(f"all figures are in {folder / FILE}")
    # The figures are written already: without the extra `plots` they are all there is.
    try:
        print(f"wrote {comparison.draw(plan.trainings, folder / 'runs', folder / PICTURE)}")
    except ValueError as error:
        print(f"no picture: {error}", file=sys.stderr)


def of(plan: Plan) -> list[str]:
    """The names of a plan's cases."""
    cases_of_seeds = [training.case for training in plan.trainings]
    # Each once, in the order in which they were asked for.
    return list(dict.fromkeys(cases_of_seeds))


def compared(flags: Flags, plan: Plan, folder: Path) -> dict[str, Any]:
    """The figures of all cases in the folder, when those that are asked for are trained. Raises
    ValueError where some trainings failed.
    """
    # Settings that changed since are refused before anything is trained.
    done = cases.read(plan, folder / FILE)
    try:
        return cases.train(
            plan, done, partial(save, flags, folder), jobs=flags.jobs, run_dir=folder / "runs"
        )
    except cases.FailedError as error:
        raise ValueError(f"some trainings failed, all others are kept:\n{error}") from error


def save(flags: Flags, folder: Path, found: Mapping[str, Any]) -> None:
    """Write the figures so far."""
    settings = dataclasses.asdict(flags)
    settings["out"] = str(folder)
    report = result_file.report("compare", settings, found)
    result_file.save(folder / FILE, report)
