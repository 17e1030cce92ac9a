"""The record of a trained run: `run.record()` and `bio-rl play RUN --save FILE`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bio_rl.contracts import Steps
from bio_rl.training import runfolder
from bio_rl.training.build import FINAL_SEED, Trained, make_env, open_env, single_thread
from bio_rl.training.evaluation import MAX_STEPS
from bio_rl.training.recording.data import Recording
from bio_rl.training.recording.record import record, record_life
from bio_rl.vector import Vector


def record_run(
    trained: Trained,
    decisions: int | None = None,
    episodes: int | None = None,
    seed: int = FINAL_SEED,
    learn: bool = False,
) -> Recording:
    """The record of a run from the start state `seed`: greedy, or with `learn` of a copy that
    explores and goes on learning.

    decisions, episodes: where it ends, whichever comes first; by default with the first episode.
    Raises ValueError for less than one of either, and with `learn` for an agent that does not learn
    at every decision.
    """
    if decisions is None and episodes is None:
        episodes = 1
    most = MAX_STEPS if decisions is None else decisions
    run = trained.experiment.run
    with open_env(make_env(run, 1, trained.agent.device)) as env, single_thread():
        if learn:
            recording = of_learner(
                trained, env, most, lambda agent: record_life(agent, env, seed, most, episodes)
            )
        else:
            recording = record(trained.agent, env, seed, most, episodes)
    about = {
        "env": run.env,
        "agent": run.agent,
        "network": run.network,
        "steps": trained.steps,
        "seed": seed,
        "learn": learn,
        "bio_rl": runfolder.versions()["bio_rl"],
    }
    return replace(recording, about=about)


def of_learner(
    trained: Trained, env: Vector, decisions: int, made: Callable[[Any], Recording]
) -> Recording:
    """The record that `made` makes of a copy of the agent, which goes on learning for so many
    decisions.

    Raises ValueError, with the flag to change, for an agent that does not learn at every decision.
    """
    name = trained.experiment.run.agent
    rollout = trained.agent.rollout
    if isinstance(rollout, Steps) and rollout.n != 1:
        raise ValueError(
            f"--learn on: {name} learns after {rollout.n} decisions, not at every one; leave it off"
        )
    agent = trained.learner(env, decisions)
    try:
        return made(agent)
    # What it learns after may depend on the number of environments.
    except ValueError as error:
        raise ValueError(
            f"--learn on: {name} cannot learn in the one environment that is recorded: {error}"
        ) from error
