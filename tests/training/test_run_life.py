"""A run's life: what signals, crashes, closed pipes and failing evaluations leave of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import bio_rl
from bio_rl.__main__ import main
from bio_rl.faults import EnvironmentCrashedError
from bio_rl.machine import signals
from bio_rl.training import api, checkpoint, config, evaluation, runfolder, scoring, session
from bio_rl.training.metrics import read_rows
from bio_rl.training.saving import new_folder
from bio_rl.vector import Vector

# NumPy 2 warns where a world takes up a saved state that comes as tensors
pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
SMALL = [
    "--network",
    "mlp",
    "--num-envs",
    "2",
    "--ppo.update-every",
    "16",
    "--ppo.minibatch",
    "16",
    "--eval-episodes",
    "2",
]
OWN = {"update_every": 16, "minibatch": 16}


class Life(gym.Env):
    """Episodes of `length` steps, or without end; some instance methods fail or send a signal where
    a test says so.
    """

    observation_space, action_space = (
        gym.spaces.Box(-9, 9, (2,), np.float32),
        gym.spaces.Discrete(2),
    )
    length = 9
    taken = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return (
            self.np_random.uniform(-1, 1, 2).astype(np.float32),
            1.0,
            False,
            self.t == self.length,
            {},
        )


class Endless(Life):
    length = -1


class Robot(Life):
    """There is one of it."""

    def __init__(self):
        if Robot.taken:
            raise ConnectionError("the robot is taken")
        Robot.taken = True

    def close(self):
        Robot.taken = False


for kind in (Life, Endless, Robot):
    if f"RunLife{kind.__name__}-v0" not in gym.registry:
        gym.register(f"RunLife{kind.__name__}-v0", entry_point=kind, disable_env_checker=True)


def train(folder: Path, env: str, **settings) -> api.Trained:
    base = {
        "network": "mlp",
        "steps": 256,
        "num_envs": 2,
        "checkpoints": 4,
        "eval_episodes": 2,
        "ppo": OWN,
    }
    return bio_rl.train(env, run_dir=folder, **{**base, **settings})


def result(trained: api.Trained) -> dict:
    return json.loads((trained.folder / "result.json").read_text())


def steps(folder: Path) -> list[int]:
    return sorted(int(p.stem[5:]) for p in (folder / "checkpoints").glob("step_*.pt"))


@pytest.mark.parametrize("eval_episodes", [2, 0])
def test_an_endless_world_is_trained_to_the_end_and_evaluated_over_a_bounded_number_of_steps(
    tmp_path, monkeypatch, capsys, eval_episodes
):
    monkeypatch.setattr(evaluation, "MAX_STEPS", 50)
    trained = train(tmp_path, "RunLifeEndless-v0", eval_episodes=eval_episodes)
    assert steps(trained.folder)[-1] == 256
    assert result(trained)["cut"] and result(trained)["lengths"] == [50] * 20
    assert "cut after 50 steps, as the environment has no end" in capsys.readouterr().out


def test_an_episode_that_ends_is_not_called_endless(tmp_path):
    assert result(train(tmp_path, "RunLifeLife-v0"))["cut"] is False


@pytest.mark.parametrize(
    "error", [ValueError, OSError, KeyError, RuntimeError, AssertionError, EnvironmentCrashedError]
)
def test_an_evaluation_that_raises_costs_the_evaluation_and_not_the_run(
    tmp_path, monkeypatch, capsys, error
):
    def fail(*_, **__):
        raise error("no light")

    monkeypatch.setattr(scoring, "evaluate", fail)
    trained = train(tmp_path, "CartPole-v1")
    assert trained.evaluation is None and steps(trained.folder)[-1] == 256
    assert result(trained)["mean"] is None and result(trained)["steps"] == 256
    said = capsys.readouterr().out
    assert (
        said.count("the evaluation failed") == 1
        and "no light" in said
        and "the training is not touched by it" in said
    )


@pytest.mark.parametrize("eval_episodes", [2, 0])
def test_a_world_of_one_instance_is_evaluated_in_the_one_there_is(
    tmp_path, monkeypatch, capsys, eval_episodes
):
    monkeypatch.setattr(Robot, "taken", False)
    trained = train(tmp_path, "RunLifeRobot-v0", num_envs=1, eval_episodes=eval_episodes)
    assert result(trained)["returns"] == [9.0] * 20
    assert capsys.readouterr().out.count("no second instance of RunLifeRobot-v0 can be made") == 1
    assert bio_rl.evaluate(trained, 3).returns == [9.0] * 3


def test_a_checkpoint_is_written_before_its_evaluation_and_one_that_was_lost_is_made_up_for(
    tmp_path, monkeypatch
):
    whole = train(tmp_path / "whole", "CartPole-v1")
    calls = []

    def killed(*arguments):
        calls.append(steps(runfolder.resolve("latest", tmp_path / "cut"))[-1])
        if len(calls) == 2:
            raise SystemExit(9)
        return evaluation.evaluate(*arguments)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(scoring, "evaluate", killed)
        train(tmp_path / "cut", "CartPole-v1")
    assert calls == [64, 128]
    again = bio_rl.resume("latest", run_dir=tmp_path / "cut")
    assert scores(again.folder) == scores(whole.folder)
    one, two = (
        checkpoint.load(t.folder / "checkpoints" / "step_000000000256.pt") for t in (whole, again)
    )
    assert one["best"] == two["best"] and result(whole)["returns"] == result(again)["returns"]


def scores(folder: Path) -> list[tuple[int, float]]:
    rows = read_rows(folder / "metrics.jsonl")
    return [(r["step"], r["eval/mean_reward"]) for r in rows if "eval/mean_reward" in r]


def test_a_run_can_be_resumed_from_before_its_first_update(tmp_path):
    whole = train(tmp_path / "whole", "CartPole-v1", checkpoints=1)
    env = api.make_env(whole.experiment.run, 2)
    agent = api.make_agent(whole.experiment, env)
    with new_folder(config.replace_run(whole.experiment, run_dir=tmp_path / "cut")) as folder:
        begun = session.Session(whole.experiment, agent, env, folder, signals.StopRequest())
        begun.runner.start(0)
        begun.open()
        begun.close_log()
    assert steps(folder) == [0]
    resumed = bio_rl.resume(folder)
    assert result(resumed)["returns"] == result(whole)["returns"]


@pytest.mark.parametrize(("minutes", "more"), [(1e-9, True), (0.0, False)])
def test_checkpoints_come_by_the_clock_too_but_evaluations_only_at_the_even_ones(
    tmp_path, minutes, more
):
    trained = train(tmp_path, "CartPole-v1", checkpoints=1, save_minutes=minutes)
    assert steps(trained.folder) == ([192, 224, 256] if more else [0, 256])
    assert [step for step, _ in scores(trained.folder)] == [256]


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf")])
def test_impossible_minutes_between_checkpoints_are_refused(minutes):
    with pytest.raises(ValueError, match="--save-minutes is"):
        config.experiment(save_minutes=minutes)


def test_of_equal_evaluations_the_later_weights_are_kept_as_the_best(tmp_path):
    trained = train(tmp_path, "RunLifeLife-v0")  # every episode scores 9
    assert checkpoint.load(trained.folder / "checkpoints" / "best.pt")["runner"]["seen"] == 256
    assert result(trained)["best_step"] == 256


@pytest.mark.parametrize("lucky", [True, False])
def test_the_best_weights_are_chosen_and_reported_on_starts_that_did_not_select_them(
    tmp_path, monkeypatch, capsys, lucky
):
    """The weights of step 64 score best in training. On other starts they are worse if that was
    luck.
    """
    seeds = []

    def judged(agent, env, seed, explore=False):
        seeds.append(seed)
        early = not any(agent is a for a in last)
        mean = len(seeds) == 1 if seed == scoring.EVAL_SEED else (early and not lucky)
        return evaluation.Evaluation.of([float(mean)] * env.num_envs, [9] * env.num_envs)

    last: list = []
    original = session.Session.finish
    monkeypatch.setattr(
        session.Session,
        "finish",
        lambda self, s: (last.append(self.runner.agent), original(self, s))[1],
    )
    monkeypatch.setattr(scoring, "evaluate", judged)
    trained = train(tmp_path, "CartPole-v1")
    found = result(trained)
    assert found["best_step"] == (256 if lucky else 64) and found["best_eval"] == (
        0.0 if lucky else 1.0
    )
    assert (
        checkpoint.load(trained.folder / "checkpoints" / "best.pt")["runner"]["seen"]
        == found["best_step"]
    )
    assert {scoring.EVAL_SEED, scoring.CHOICE_SEED, api.FINAL_SEED} == set(seeds)
    said = capsys.readouterr().out
    assert ("the best weights are of step 64" in said) == (not lucky)


def test_a_run_without_evaluations_names_no_best_weights(tmp_path):
    found = result(train(tmp_path, "CartPole-v1", eval_episodes=0))
    assert found["best_step"] is None and found["best_eval"] is None


@pytest.mark.parametrize("part", ["make_agent", "reset", "write_config", "save"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_start_that_fails_leaves_no_folder_and_does_not_move_latest(
    tmp_path, monkeypatch, part, earlier
):
    before = train(tmp_path, "CartPole-v1", steps=32, eval_episodes=0).folder if earlier else None

    def fail(*_, **__):
        raise OSError("no space left")

    place = {
        "make_agent": api,
        "reset": Vector,
        "write_config": api.runfolder,
        "save": api.Checkpoints,
    }
    monkeypatch.setattr(place[part], part, fail)
    with pytest.raises(OSError, match="no space left"):
        train(tmp_path, "CartPole-v1")
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == (sorted([before.name, "latest"]) if earlier else [])
    assert not earlier or runfolder.resolve("latest", tmp_path) == before


@pytest.mark.parametrize("error", [ValueError, OSError, KeyError, RuntimeError, ZeroDivisionError])
def test_a_users_own_error_is_shown_with_its_traceback_and_the_way_to_go_on(
    tmp_path, monkeypatch, capsys, error
):
    original = Vector.step

    def users_step(self, action):
        raise error("the wheel came off")

    def step(self, action):
        if self.num_envs == 2 and self.steps == 40:
            try:
                users_step(self, action)
            except Exception as cause:
                raise EnvironmentCrashedError(f"step() raised {cause!r}") from cause
        return original(self, action)

    monkeypatch.setattr(Vector, "step", step)
    with pytest.raises(SystemExit) as stop:
        main(
            [
                *SMALL,
                "--env",
                "CartPole-v1",
                "--steps",
                "256",
                "--eval-episodes",
                "0",
                "--run-dir",
                str(tmp_path),
            ]
        )
    said = capsys.readouterr().err
    assert stop.value.code == 1 and "users_step" in said and Path(__file__).name in said
    assert (
        "last checkpoint: step 64" in said.splitlines()[-1] and " resume " in said.splitlines()[-1]
    )


WORLD = """
import os, signal, sys
import gymnasium as gym, numpy as np
from bio_rl.training import api, checkpoint, evaluation, scoring
phase, name, times = os.environ["PHASE"], os.environ["SIGNAL"], int(os.environ.get("TIMES", "1"))
mine = os.getpid()

def send(at):
    if at == phase and os.getpid() == mine:
        for _ in range(times):
            os.kill(mine, getattr(signal, name))

class World(gym.Env):
    observation_space = gym.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    made = 0
    def __init__(self):
        World.made += 1
        send("start")
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}
    def step(self, action):
        self.t += 1
        if self.t == 9 and World.made == 2:
            send("collect")
        return np.zeros(2, np.float32), 1.0, False, self.t > 9, {}

def wrapped(owner, attribute, at, skip=0):
    original, seen = getattr(owner, attribute), []
    def call(*arguments, **named):
        seen.append(1)
        if len(seen) > skip:
            send(at)
        return original(*arguments, **named)
    setattr(owner, attribute, call)

from bio_rl.agents.ppo import Agent
wrapped(Agent, "update", "update", 1)
wrapped(scoring, "evaluate", "evaluate")
wrapped(checkpoint.torch, "save", "save", 1)
gym.register("World-v0", entry_point=World, disable_env_checker=True)
"""


def signalled(folder: Path, phase: str, name: str, times: int = 1) -> subprocess.CompletedProcess:
    (folder / "signalling.py").write_text(WORLD)
    given = [
        "--env",
        "signalling:World-v0",
        *SMALL,
        "--steps",
        "512",
        "--checkpoints",
        "4",
        "--run-dir",
        "runs",
    ]
    environment = {
        **os.environ,
        "PHASE": phase,
        "SIGNAL": name,
        "TIMES": str(times),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "bio_rl", *given]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120
    )


CASES = [
    ("start", "SIGTERM", 1),
    ("collect", "SIGINT", 1),
    ("update", "SIGTERM", 1),
    ("evaluate", "SIGHUP", 1),
    ("save", "SIGINT", 1),
    ("save", "SIGINT", 2),
]


@pytest.mark.parametrize(("phase", "name", "times"), CASES)
def test_a_signal_saves_and_its_status_tells_a_scheduler(tmp_path, phase, name, times):
    done = signalled(tmp_path, phase, name, times)
    assert done.returncode == 128 + getattr(signal, name) and "Traceback" not in done.stderr, (
        done.stderr
    )
    if phase == "start":
        assert not (tmp_path / "runs").exists()
        return
    if phase in ("collect", "update"):
        assert "stopping after this update; once more stops at once" in done.stderr
    folder = runfolder.resolve("latest", tmp_path / "runs")
    paths = list((folder / "checkpoints").iterdir())
    assert paths and all(path.suffix == ".pt" and checkpoint.load(path) for path in paths)
    assert f" resume runs/{folder.name} --trust signalling" in done.stdout + done.stderr


def test_a_run_in_a_thread_leaves_signals_to_its_caller(tmp_path):
    before, done = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(
        target=lambda: done.append(train(tmp_path, "CartPole-v1", steps=32, eval_episodes=0))
    )
    thread.start()
    thread.join()
    assert done[0].steps == 32 and signal.getsignal(signal.SIGINT) is before


def test_signals_are_the_callers_again_after_a_run(tmp_path):
    before = [signal.getsignal(s) for s in signals.CAUGHT]
    train(tmp_path, "CartPole-v1", steps=32, eval_episodes=0)
    assert [signal.getsignal(s) for s in signals.CAUGHT] == before


def test_a_first_signal_waits_for_the_update_a_second_does_not():
    stop = signals.StopRequest()
    with stop.gently():
        stop._handle(signal.SIGTERM, None)
        assert stop.asked and stop.number == signal.SIGTERM
        with pytest.raises(signals.Interrupted):
            stop._handle(signal.SIGINT, None)
    assert stop.number == signal.SIGTERM


def test_a_save_is_finished_whatever_comes():
    stop, done = signals.StopRequest(), []
    with pytest.raises(signals.Interrupted), stop.gently(), stop.held():
        stop._handle(signal.SIGINT, None)
        stop._handle(signal.SIGINT, None)
        done.append("saved")
    assert done == ["saved"]


def test_a_closed_stdout_costs_no_work(tmp_path):
    given = [*SMALL, "--env", "CartPole-v1", "--steps", "512", "--run-dir", str(tmp_path)]
    command = [sys.executable, "-m", "bio_rl", *given]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(120) == 0 and "BrokenPipe" not in said and "Traceback" not in said, said
    assert (
        json.loads((runfolder.resolve("latest", tmp_path) / "result.json").read_text())["steps"]
        == 512
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_under_stdout_costs_no_work(tmp_path):
    given = [
        *SMALL,
        "--env",
        "CartPole-v1",
        "--steps",
        "64",
        "--eval-episodes",
        "0",
        "--run-dir",
        str(tmp_path),
    ]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bio_rl", *given],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (runfolder.resolve("latest", tmp_path) / "result.json").exists()
