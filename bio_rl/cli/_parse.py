"""The shared half of the commands on a run: the flags that name it and its weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from bio_rl.training import api
from bio_rl.training.config import Run
from bio_rl.training.flags import parse

__all__ = ["Chosen", "Place", "parse"]


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
class Chosen(Place):
    """Names a run and which of its weights."""

    best: bool = False
    """The weights that evaluated best in training, instead of the last."""

    def load(self) -> api.Trained:
        """The trained agent that these flags name."""
        return api.load(self.run, best=self.best, run_dir=self.run_dir, trust=self.trust)
