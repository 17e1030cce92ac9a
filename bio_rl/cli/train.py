"""`bio-rl` without a command: train."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from bio_rl.machine import signals
from bio_rl.training import api, flags
from bio_rl.training.tracking import Tracker
from bio_rl.viz import curves

EXAMPLES = """other commands:
  eval RUN      greedy evaluation            play RUN     film an episode, --raster FILE its spikes
  resume RUN    continue, also longer        list KIND    envs, agents, networks, presets
  plot RUN...   learning curves over seeds   doctor       what works here, how to get the rest
  compare       several networks over seeds    tune         search better settings for a task
`train.py COMMAND --help` says more. RUN is a run folder or `latest`."""


def main(arguments: Sequence[str]) -> None:
    """Train; the flags of the chosen agent and network are those of their configs, with the
    preset's values as defaults.
    """
    experiment, track = flags.asked(arguments, EXAMPLES)
    seeds = experiment.run.seeds
    if seeds > 1 and track is not None:
        raise ValueError(f"--track {track} goes with one seed, not with --seeds {seeds}")
    if seeds > 1:
        ended(api.run_seeds(experiment))
    else:
        ended([tracked(track, partial(api.run_experiment, experiment))])


def tracked(track: str | None, train: Callable[..., api.Trained]) -> api.Trained:
    """The result of a training, whose metrics also go to a service where one is named."""
    if track is None:
        return train()
    with Tracker(track) as tracker:
        trained = train(callback=tracker)
        tracker.finish(trained)
    return trained


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
