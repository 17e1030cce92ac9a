"""The frontier of return against operations a decision: MLPs and spiking networks of many sizes.

A network of each size is trained from each seed; its operations are all effective ones of a
decision in closed loop, those of neurons and codes included (`bio_rl.energy`). All actors have the
same critic, an MLP of the default size, so that a small actor is not held back by a small critic.
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
from bio_rl.viz import frontier


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train MLPs and spiking networks of several sizes. Finished seeds in --out are not trained
    again.
    """

    env: tuple[str, ...] = ("HalfCheetah-v5", "Hopper-v5")
    """Environment ids."""
    mlp: tuple[str, ...] = ("8 8", "16 16", "32 32", "64 64", "128 128")
    """Hidden layers of each MLP."""
    spiking: tuple[str, ...] = ("16", "32", "64", "128", "256")
    """Hidden layers of each spiking network."""
    ticks: tuple[int, ...] = (1, 2, 4)
    """K of each spiking network."""
    flags: str = ""
    """Further flags of train.py for every spiking network."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the trainings."""
    steps: int | None = None
    """Environment steps of a training; by default the preset's."""
    jobs: int = 2
    """Trainings at a time."""
    episodes: int = 20
    """Episodes of the final greedy evaluation."""
    picture: Path | None = None
    """Draw the frontier into this file, such as frontier.png."""

    def __post_init__(self) -> None:
        checks.at_least_one(self, "env", "seeds", "jobs", "episodes")

    @property
    def plans(self) -> tuple[Plan, Plan]:
        """The trainings of MLPs, and those of spiking networks."""
        spiking = [
            f"--spiking.hidden {hidden} --spiking.ticks {k} {self.flags}".strip()
            for hidden in self.spiking
            for k in self.ticks
        ]
        mlps = [f"--mlp.hidden {hidden} --mlp.critic-hidden 64 64" for hidden in self.mlp]
        return self._plan("mlp", mlps), self._plan("spiking", spiking)

    def _plan(self, network: str, flags: list[str]) -> Plan:
        return Plan(
            env=self.env,
            network=(network,),
            flags=flags,
            seeds=self.seeds,
            steps=self.steps,
            episodes=self.episodes,
        )


def run(settings: Settings) -> dict[str, Any]:
    """{"env/agent/network flags": figures}, with the seeds' records.

    Raises BenchError where a training failed, when all others are finished and kept.
    """
    found: dict[str, Any] = {}
    for plan in settings.plans:
        own = cases.read(plan, settings.out)
        try:
            found |= cases.train(plan, own, partial(save, settings, found), jobs=settings.jobs)
        except cases.FailedError as error:
            raise _report.BenchError(str(error)) from error
    for sentence in frontier.sentences(found):
        print(sentence)
    if settings.picture is not None:
        print(f"drew {frontier.draw(found, settings.picture)}")
    return found


def save(settings: Settings, before: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Write the figures so far to `--out`, if there is one."""
    if settings.out is not None:
        whole = {**before, **found}
        result_file.save(settings.out, result_file.report("frontier", settings.measured(), whole))
