"""The front door from Python: a run, and what one does with it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bio_rl
from bio_rl import vector
from bio_rl.run import Run
from bio_rl.training.runner import begin, decide

SMALL = {"steps": 256, "num_envs": 2, "checkpoints": 1, "eval_episodes": 0}
PPO = {"update_every": 32, "minibatch": 32, "epochs": 1, "sequence": 8}


@pytest.fixture(scope="module", params=["mlp", "lstm", "spiking"])
def run(request, tmp_path_factory) -> Run:
    """A short run, of networks without and with a memory."""
    network = request.param
    settings = {"spiking": {"hidden": (8,), "memory": True}, "lstm": {"hidden": 8}}
    own = {network: settings[network]} if network in settings else {}
    folder = tmp_path_factory.mktemp(network)
    return bio_rl.train("CartPole-v1", network=network, run_dir=folder, ppo=PPO, **SMALL, **own)


def test_decisions_one_by_one_are_those_of_the_evaluation(run):
    env = vector.make("bio_rl/CartPole-v1", 1)
    life = begin(run.agent, env, seed=3)
    obs, memory, reward = life.percept.obs.numpy()[0], None, 0.0
    for _ in range(8):
        action, memory = run.predict(obs, memory, reward=reward)
        step, life = decide(run.agent, env, life, explore=False)
        assert type(action) is int and action == int(step.action[0])
        if bool(step.terminated[0]):
            break
        obs, reward = life.percept.obs.numpy()[0], float(step.reward[0])
    env.close()


def test_several_observations_are_decided_as_each_alone(run):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2, 5, 4)).astype(np.float32)
    together, memory = run.predict(rows[0])
    further, _ = run.predict(rows[1], memory)
    for i in range(5):
        first, own = run.predict(rows[0, i])
        second, _ = run.predict(rows[1, i], own)
        assert (first, second) == (together[i], further[i])


def test_an_observation_of_another_shape_is_refused_in_a_sentence(run):
    with pytest.raises(ValueError, match=r"shape \[3\], expected \[4\]"):
        run.predict(np.zeros(3, np.float32))
    _, memory = run.predict(np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="1 observations came with a memory of 2 lives"):
        run.predict(np.zeros(4, np.float32), memory)


def test_a_loaded_run_decides_as_the_trained_one_and_evaluates_the_same(run):
    loaded = bio_rl.load(run.folder)
    obs = np.linspace(-1, 1, 4, dtype=np.float32)
    assert loaded.predict(obs)[0] == run.predict(obs)[0]
    assert loaded.evaluate(3).returns == bio_rl.evaluate(run, 3).returns


def test_actions_of_a_box_are_within_its_bounds(tmp_path):
    run = bio_rl.train("Pendulum-v1", network="mlp", run_dir=tmp_path, ppo=PPO, **SMALL)
    env = bio_rl.make("Pendulum-v1")
    action, _ = run.predict(env.reset(seed=0)[0], explore=True)
    assert env.action_space.contains(action)


def test_pictures_films_and_recordings_are_made_of_it(run, tmp_path):
    assert run.curve().parent == run.folder
    recording = run.record(4)
    assert len(recording.rewards) == 4
    if recording.layers:
        assert run.raster(tmp_path / "brain.png", decisions=4).is_file()
    pytest.importorskip("imageio_ffmpeg")
    pytest.importorskip("pygame")
    assert run.play(tmp_path / "film.gif", seed=1).stat().st_size > 1000


def test_completion_and_help_show_the_front_door():
    assert {"train", "load", "make", "make_vec", "evaluate", "resume"} <= set(dir(bio_rl))
    for name in bio_rl.__all__:
        assert inspect.getdoc(getattr(bio_rl, name)), name
    assert {"agent", "network"} <= set(inspect.signature(bio_rl.train).parameters)


def test_worlds_are_made_by_their_short_names():
    env = bio_rl.make_vec("Catch-v0", 3)
    assert env.num_envs == 3 and env.spec is not None and env.spec.id == "bio_rl/Catch-v0"
    with pytest.raises(ValueError, match="did you mean 'Catch-v0'"):
        bio_rl.make("Cacth-v0")


def test_no_module_hides_the_function_train():
    # the script beside the package is no part of it
    # and the import of the package is light: torch comes with the first function
    code = (
        "import bio_rl, sys; assert 'torch' not in sys.modules\n"
        "try: import bio_rl.train\n"
        "except ImportError: pass\n"
        "print(bio_rl.train)"
    )
    root = Path(__file__).parents[1]
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert "function train" in said.stdout
