"""`bio-rl` without a command: train."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import tyro

from bio_rl import networks, vector
from bio_rl.cli._parse import parse
from bio_rl.machine import signals, trust
from bio_rl.training import api, config, users
from bio_rl.training.config import Experiment, Run
from bio_rl.viz import curves

EXAMPLES = """other commands:
  eval RUN      greedy evaluation            play RUN     film an episode, --raster FILE its spikes
  resume RUN    continue, also longer        list KIND    envs, agents, networks, neurons
  plot RUN...   learning curves over seeds   doctor       what works here, how to get the rest
`train.py COMMAND --help` says more. RUN is a run folder or `latest`."""


def main(arguments: Sequence[str]) -> None:
    """Train; the flags of the chosen agent and network are those of their configs, with the
    preset's values as defaults.
    """
    for module in users.modules_typed(arguments):
        trust.import_named(module)
    experiment = parsed_experiment(arguments)
    if experiment.run.seeds > 1:
        ended(api.run_seeds(experiment))
    else:
        ended([api.run_experiment(experiment)])


def parsed_experiment(arguments: Sequence[str]) -> Experiment:
    """The experiment that a command line describes; the modules that it names are imported."""
    chosen = _chosen(arguments)
    vector.find_id(chosen.env)
    base = config.experiment(chosen.env, chosen.agent, chosen.network)
    # The flags of a run are those of its parts, so the parts are chosen first.
    agent, network = base.prefixes
    parts = {agent: with_flags(base.agent), network: with_flags(base.network.config)}
    kind = dataclasses.make_dataclass(
        "Train",
        [(name, type(part), dataclasses.field(default=part)) for name, part in parts.items()],
        bases=(Run,),
        frozen=True,
        kw_only=True,
    )
    of_run = {field.name: getattr(base.run, field.name) for field in dataclasses.fields(Run)}
    flags = parse(
        kind,
        arguments,
        "",
        default=kind(**of_run, **parts),
        description=f"{Run.__doc__}\n\n{EXAMPLES}",
    )
    run = Run(**{name: getattr(flags, name) for name in of_run})
    own_agent = dataclasses.replace(base.agent, **vars(getattr(flags, agent)))
    # Every network's settings are a dataclass, which their contract cannot say.
    settings: Any = base.network.config
    own_network = dataclasses.replace(settings, **vars(getattr(flags, network)))
    blueprint = networks.Blueprint(base.run.network, own_network)
    return Experiment(run, own_agent, blueprint, base.preset)


def _chosen(arguments: Sequence[str]) -> argparse.Namespace:
    """The world, agent and network that a command line names; they decide what other flags are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag, default in (("env", Run.env), ("agent", Run.agent), ("network", None)):
        parser.add_argument(f"--{flag}", default=default)
    chosen, _ = parser.parse_known_args([a for a in arguments if a not in ("--help", "-h")])
    return chosen


def ended(trained: Sequence[api.Trained]) -> None:
    """Draw the learning curve into each run's folder, and exit as a run that was stopped does."""
    for one in trained:
        run = one.experiment.run
        folders = {run.env: {f"{run.agent} {run.network}": [one.folder]}}
        with suppress(ImportError):  # the extra `plots`
            curves.draw(folders, one.folder / "learning_curve.png")
    # Seeds are stopped together, by one signal.
    stopped = [one.stopped for one in trained if one.stopped is not None]
    if stopped:
        sys.exit(signals.exit_status(stopped[0]))


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
