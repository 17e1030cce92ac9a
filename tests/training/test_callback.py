"""The callback of a run: what it is told, and that it can stop the run, which is saved then."""

import pytest

from bio_rl.training import api
from bio_rl.training.progress import Progress

SMALL = {"steps": 2_000, "checkpoints": 4, "eval_episodes": 2, "network": "mlp", "num_envs": 4}


def test_a_callback_is_told_of_every_row_and_of_the_evaluations(tmp_path):
    told = []
    api.train("CartPole-v1", callback=told.append, run_dir=tmp_path, **SMALL)
    assert [p.steps for p in told] == sorted(p.steps for p in told)
    assert told[-1].share == 1.0 and "rollout/ep_rew_mean" in told[-1].metrics
    assert sum(p.score is not None for p in told) == 4


def test_a_callback_that_returns_true_stops_the_run_which_can_be_resumed(tmp_path):
    def watch(progress: Progress) -> bool:
        return progress.share >= 0.5

    trained = api.train("CartPole-v1", callback=watch, run_dir=tmp_path, **SMALL)
    assert trained.stopped and trained.evaluation is None and 1_000 <= trained.steps < 2_000
    assert api.resume(trained.folder).evaluation is not None


def test_several_seeds_have_no_callback():
    with pytest.raises(ValueError, match="a run of 2 seeds has none"):
        api.train("Pendulum-v1", agent="sac", seeds=2, callback=print)
