"""How a training speaks: silence, hints in the form in which it was begun, and who may stop it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import bio_rl
from bio_rl.training import api, commands

SMALL = {"steps": 1024, "num_envs": 2, "checkpoints": 4, "eval_episodes": 2, "network": "mlp"}
PPO = {"update_every": 32, "minibatch": 32, "epochs": 1, "sequence": 8}


def train(tmp_path: Path, **settings) -> bio_rl.Run:
    return bio_rl.train("CartPole-v1", run_dir=tmp_path, ppo=PPO, **{**SMALL, **settings})


def stop_by_exception(progress: bio_rl.Progress) -> None:
    raise bio_rl.StopTraining


@pytest.mark.parametrize("callback", [lambda progress: True, stop_by_exception])
def test_a_callback_stops_a_run_that_goes_on_as_if_it_never_stopped(tmp_path, callback, capsys):
    run = train(tmp_path, callback=callback)
    assert run.stopped == signal.SIGINT and run.evaluation is None
    assert run.steps < SMALL["steps"]
    assert f"bio_rl.resume('{run.folder}')" in capsys.readouterr().out
    whole = bio_rl.resume(run.folder, quiet=True)
    alone = train(tmp_path, quiet=True)
    assert whole.steps == SMALL["steps"] and whole.stopped is None
    assert whole.evaluate(3).returns == alone.evaluate(3).returns


def test_another_error_of_a_callback_reaches_the_caller_and_the_run_can_be_resumed(tmp_path):
    def pruned(progress: bio_rl.Progress) -> None:
        if progress.score is not None:
            raise RuntimeError("pruned")

    with pytest.raises(RuntimeError, match=r"^pruned$"):
        train(tmp_path, callback=pruned)
    assert bio_rl.resume("latest", run_dir=tmp_path, quiet=True).steps == SMALL["steps"]


def test_only_true_stops_a_run_not_any_other_answer(tmp_path):
    assert train(tmp_path, callback=lambda progress: 1, quiet=True).stopped is None


def test_a_resumed_run_has_a_callback_too(tmp_path):
    run = train(tmp_path, quiet=True)
    told: list[bio_rl.Progress] = []
    bio_rl.resume(run.folder, steps=2048, quiet=True, callback=told.append)
    assert told[0].steps > 1024 and told[-1].steps == 2048


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_quiet_run_prints_nothing_and_is_the_same(tmp_path, capsys, seeds):
    choice = {"agent": "dqn", "seeds": seeds, "steps": 600}
    run = bio_rl.train("CartPole-v1", network="mlp", run_dir=tmp_path, quiet=True, **choice)
    assert capsys.readouterr().out == ""
    loud = bio_rl.train("CartPole-v1", network="mlp", run_dir=tmp_path, **choice)
    assert "greedy evaluation" in capsys.readouterr().out
    assert loud.evaluate(3).returns == run.evaluate(3).returns


def test_hints_are_lines_of_python_where_the_run_was_begun_in_python(tmp_path, capsys):
    run = train(tmp_path)
    said = capsys.readouterr().out
    assert f"  bio_rl.load('{run.folder}').evaluate()\n" in said
    assert f"  bio_rl.resume('{run.folder}', steps=2_048)\n" in said
    api.resume(run.folder)
    said = capsys.readouterr().out
    assert f" eval {run.folder}" in said and "bio_rl.load" not in said


def test_hints_of_python_trust_what_the_run_needs():
    hints = commands.Hints(Path("runs/a"), ("mine",), python=True)
    assert hints.resume(10) == "bio_rl.resume('runs/a', steps=10, trust=('mine',))"
    assert hints.play() == "bio_rl.load('runs/a', trust=('mine',)).play()"
