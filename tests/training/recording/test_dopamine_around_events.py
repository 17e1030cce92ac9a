"""Dopamine around a cue, a reward and its omission, as Schultz, Dayan & Montague (1997) saw it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bio_rl
from bio_rl.training.recording import Recording


@pytest.fixture(scope="module", params=["rpe", "none"])
def recording(request, tmp_path_factory) -> tuple[str, Recording]:
    """(the signal that gates learning, 200 trials of a brain that begins with nothing).

    A cue of one step is followed by a drop, which is caught by the lick at the cue; in a quarter
    of the last 50 trials of each 200 the drop stays out.
    """
    place: Path = tmp_path_factory.mktemp(request.param)
    run = bio_rl.train(
        "Pavlov-v0",
        agent="three_factor",
        network="cells",
        env_kwargs={
            "interval": 200.0,
            "iti": (400.0, 1200.0),
            "trials": 20,
            "phases": ["acquisition"] * 3 + ["omission"],
        },
        cells={"cells": (100,), "ticks": 4},
        three_factor={
            "actor_lr": 0.3,
            "critic_lr": 0.2,
            "lr_final": 1.0,
            "gamma": 0.9,
            "dopamine": request.param,
        },
        steps=32,
        num_envs=1,
        eval_episodes=0,
        quiet=True,
        run_dir=place,
    )
    return request.param, run.record(episodes=10, learn=True)


def test_dopamine_moves_from_the_reward_to_its_cue_and_dips_where_the_reward_stays_out(recording):
    gate, rec = recording
    cue, drop, caught = rec.events("cue A"), rec.events("drop"), rec.events("reward")
    rewarded = cue[np.isin(cue + 1, caught)]
    omitted = cue[~np.isin(cue + 1, drop)]
    assert len(rewarded) > 20 and len(omitted) > 3
    # columns: one step before the cue, at the cue, and at the moment of the reward
    first = rec.around("dopamine", rewarded[:4], 1, 2).mean(0)
    last = rec.around("dopamine", rewarded[-20:], 1, 2).mean(0)
    without = rec.around("dopamine", omitted[-4:], 1, 2).mean(0)
    assert first[2] > 0.6 and abs(first[1]) < 0.3
    learned = last[1] > 0.2 and last[2] < 0.7 * first[2] and without[2] < -0.25
    # a brain without dopamine has no expectation: the reward stays a surprise
    assert learned == (gate == "rpe"), (first, last, without)


def test_a_peri_event_histogram_takes_five_lines(recording):
    _, rec = recording
    cue = rec.events("cue A")
    aligned = rec.around("dopamine", cue, before=5, after=20)
    seconds = np.arange(-5, 20) * rec.names.dt
    mean = np.nanmean(aligned, axis=0)
    assert mean.shape == seconds.shape == (25,) and seconds[5] == 0.0
    assert aligned.shape == (len(cue), 25)
