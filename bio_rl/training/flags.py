"""From the words of a command line to settings: dataclasses of flags, and the experiment of a
training, whose flags are those of its agent and its network.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from bio_rl import networks, vector
from bio_rl.machine import trust
from bio_rl.training import config, users
from bio_rl.training.commands import program
from bio_rl.training.config import Experiment, Run


def parse(kind: Any, arguments: Sequence[str], command: str, **settings: Any) -> Any:
    """`arguments` as an instance of the dataclass `kind`."""
    prog = f"{program()} {command}".strip()
    return tyro.cli(
        kind, args=list(arguments), prog=prog, config=(tyro.conf.FlagCreatePairsOff,), **settings
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Typed(Run):
    """The flags of a training that are no settings of its run."""

    preset: Path | None = None
    """A file of presets of your own, such as `tune` writes: its settings stand over those of the
    presets that come with the agent, and flags over both.
    """
    track: str | None = None
    """A service that metrics also go to: wandb or mlflow. Its own settings say where they are kept,
    WANDB_MODE=offline or MLFLOW_TRACKING_URI.
    """


class Asked(NamedTuple):
    """The meaning of a command line."""

    experiment: Experiment
    track: str | None
    """The service that its metrics also go to."""


def experiment(arguments: Sequence[str]) -> Experiment:
    """The experiment that a command line describes; the modules that it names are imported."""
    return asked(arguments).experiment


def asked(arguments: Sequence[str], examples: str = "") -> Asked:
    """The meaning of a command line of a training; the modules that it names are imported.

    examples: further commands, for the help.
    """
    for module in users.modules_typed(arguments):
        trust.import_named(module)
    chosen = _chosen(arguments)
    vector.find_id(chosen.env)
    base = config.experiment(chosen.env, chosen.agent, chosen.network, preset=chosen.preset)
    # The flags of a run are those of its parts, so the parts are chosen first.
    agent, network = base.prefixes
    parts = {agent: with_flags(base.agent), network: with_flags(base.network.config)}
    kind = dataclasses.make_dataclass(
        "Train",
        [(name, type(part), dataclasses.field(default=part)) for name, part in parts.items()],
        bases=(Typed,),
        frozen=True,
        kw_only=True,
    )
    of_run = {field.name: getattr(base.run, field.name) for field in dataclasses.fields(Run)}
    flags = parse(
        kind,
        arguments,
        "",
        default=kind(**of_run, **parts),
        description=f"{Run.__doc__}\n\n{examples}",
    )
    # Taken apart again: a run's own settings, and those of its two parts.
    run = Run(**{name: getattr(flags, name) for name in of_run})
    own_agent = dataclasses.replace(base.agent, **vars(getattr(flags, agent)))
    # Every network's settings are a dataclass, which their contract cannot say.
    settings: Any = base.network.config
    own_network = dataclasses.replace(settings, **vars(getattr(flags, network)))
    blueprint = networks.Blueprint(base.run.network, own_network)
    return Asked(Experiment(run, own_agent, blueprint, base.preset), flags.track)


def _chosen(arguments: Sequence[str]) -> argparse.Namespace:
    """The world, agent, network and file of presets that a command line names; they decide what
    other flags are, and their defaults.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    defaults = {"env": Run.env, "agent": Run.agent, "network": None, "preset": None}
    for flag, default in defaults.items():
        parser.add_argument(f"--{flag}", default=default)
    chosen, _ = parser.parse_known_args([a for a in arguments if a not in ("--help", "-h")])
    return chosen


def with_flags(config: Any) -> Any:
    """A configuration whose fields with a `flag` in their metadata have that flag, without the name
    of the configuration's owner before it.
    """
    kind = type(config)
    short = [
        (f.name, Annotated[f.type, tyro.conf.arg(name=f.metadata["flag"], prefix_name=False)], f)
        for f in dataclasses.fields(kind)
        if "flag" in f.metadata
    ]
    if not short:
        return config
    # named and placed as the original, in whose source the help text of a flag is found
    place = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    flagged = dataclasses.make_dataclass(
        kind.__name__, short, bases=(kind,), namespace=place, frozen=True, kw_only=True
    )
    return flagged(**{f.name: vars(config)[f.name] for f in dataclasses.fields(kind)})
