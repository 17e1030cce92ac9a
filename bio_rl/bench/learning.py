"""The final greedy returns of whole trainings over several seeds, with t intervals.

Seeds of a learner that can train them side by side share a process, and its seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bio_rl import checks
from bio_rl.bench import _report
from bio_rl.bench._report import Shared
from bio_rl.sweeps import cases, result_file
from bio_rl.sweeps.cases import Plan
from bio_rl.training import statistics

"""Settings of which there must be at least one."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train every network in every environment from every seed.

    Finished seeds in --out are not trained again.
    """

    env: tuple[str, ...] = ("HalfCheetah-v5",)
    """Environment ids."""
    network: tuple[str, ...] = ("spiking",)
    """Kinds of network; with spiking and mlp both, their ratio is reported: of scores between 0,
    random, and 1, the reference, where the world has one, else of returns.
    """
    agent: tuple[str, ...] = ("ppo",)
    """Learning algorithms."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the trainings."""
    steps: int | None = None
    """Environment steps of a training; by default the preset's."""
    flags: str = ""
    """Further flags of train.py for every training, as in --flags="--neuron alif".

    They are part of a case's name.
    """
    jobs: int = 2
    """Trainings at a time."""
    together: bool = True
    """Train the seeds of a case side by side where the learner can; else each alone."""
    episodes: int = 20
    """Episodes of the final greedy evaluation."""
    run_dir: Path | None = None
    """Keep the run folders here; by default they are thrown away."""

    def __post_init__(self) -> None:
        checks.at_least_one(self, "env", "network", "agent", "seeds", "jobs", "episodes")

    @property
    def plan(self) -> Plan:
        """The trainings that these settings ask for."""
        return Plan(
            env=self.env,
            network=self.network,
            agent=self.agent,
            flags=(self.flags,),
            seeds=self.seeds,
            steps=self.steps,
            episodes=self.episodes,
        )


def run(settings: Settings) -> dict[str, Any]:
    """{"env/agent/network flags": figures}, with the seeds' records; and the mean ratio over the
    environments.

    Raises BenchError where a training failed, when all others are finished and kept.
    """
    plan = settings.plan
    try:
        found = cases.train(
            plan,
            cases.read(plan, settings.out),
            partial(save, settings),
            jobs=settings.jobs,
            run_dir=settings.run_dir,
            together=settings.together,
        )
    except cases.FailedError as error:
        raise _report.BenchError(str(error)) from error
    for seeds in sorted({figures["n"] for figures in found.values() if "n" in figures}):
        print(f"[low, high] of an iqm: {statistics.described(seeds)}")
    return found


def save(settings: Settings, found: Mapping[str, Any]) -> None:
    """Write the figures so far to `--out`, if there is one."""
    if settings.out is not None:
        result_file.save(settings.out, result_file.report("learning", settings.measured(), found))
