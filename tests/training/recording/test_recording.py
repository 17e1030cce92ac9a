"""A recording holds what was seen, done and reported, finds events in it, and is kept in files."""

from __future__ import annotations

import csv
import json
from contextlib import closing
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import bio_rl
from bio_rl import vector
from bio_rl.__main__ import main
from bio_rl.contracts import Probe
from bio_rl.training.recording import Recording
from bio_rl.training.recording.record import flat
from bio_rl.vector.infos import row_of
from bio_rl.vector.labels import Names

SMALL = {"steps": 64, "num_envs": 2, "checkpoints": 1, "eval_episodes": 0, "quiet": True}
PPO = {"update_every": 32, "minibatch": 32, "epochs": 1, "sequence": 8}


@pytest.fixture(scope="module")
def cart(tmp_path_factory) -> bio_rl.Run:
    """A spiking policy that has learned next to nothing."""
    spiking = {"hidden": (8, 6), "ticks": 4}
    folder = tmp_path_factory.mktemp("cart")
    return bio_rl.train("CartPole-v1", run_dir=folder, ppo=PPO, spiking=spiking, **SMALL)


@pytest.fixture(scope="module")
def pavlov(tmp_path_factory) -> bio_rl.Run:
    """A brain that learns at every decision, with few cells."""
    world = {"trials": 4, "interval": 400.0}
    return bio_rl.train(
        "Pavlov-v0",
        agent="three_factor",
        network="cells",
        env_kwargs=world,
        cells={"cells": (20,), "ticks": 4},
        run_dir=tmp_path_factory.mktemp("pavlov"),
        **SMALL,
    )


def by_hand(**more) -> Recording:
    """Six decisions in two episodes of three, a cue in each, a reward at the end of the first."""
    return Recording(
        probe=Probe({"spikes/1": [torch.full((2, 1, 1), float(d)) for d in range(6)]}),
        actions=np.arange(6).reshape(6, 1),
        rewards=np.array([0.0, 0.0, 1.0, 0.0, 0.0, -1.0]),
        terminated=np.array([False, False, True, False, False, False]),
        truncated=np.array([False] * 6),
        reported={"dopamine/rpe": np.arange(10.0, 16.0), "dopamine/value": np.arange(6.0)},
        observations=np.array([[0, 1], [1, 1], [1, 0], [1, 0], [0, 0], [0, 1]], float),
        begins=np.array([True, False, False, True, False, False]),
        infos={"better": np.array([np.nan, 1, 1, 0, 0, 2])},
        names=Names(("cue A", "cue B"), ("left", "right"), 0.5),
        **more,
    )


# ---------------------------------- what was done


def test_a_recording_of_a_run_is_what_the_world_and_the_policy_did(cart):
    recording = cart.record(12, seed=3)
    env = gym.make_vec("bio_rl/CartPole-v1", 1)
    with closing(vector.make("CartPole-v1", 1)) as ours:
        obs = ours.reset(3).numpy()[0]
    memory = None
    assert len(recording) == 12 and recording.begins[0]
    for d in range(len(recording)):
        if recording.begins[d]:
            memory = None
        action, memory = cart.predict(recording.observations[d], memory)
        assert action == recording.actions[d, 0]
    np.testing.assert_array_equal(recording.observations[0], obs)
    assert recording.names.channels == vector.names(env).channels
    assert recording.train("spikes/1").shape == (48, 8)
    assert recording.train("membrane/2").shape == (48, 6)
    env.close()


def test_actions_are_recorded_as_the_world_received_them(tmp_path):
    run = bio_rl.train("Pendulum-v1", network="mlp", run_dir=tmp_path, ppo=PPO, **SMALL)
    recording = run.record(5)
    _, sine, velocity = recording.observations.T
    torque = recording.actions[:, 0]
    # 3 g / 2 l sin θ + 3 u / (m l²), for steps of 0.05 s: the equation takes them in N m
    expected = velocity[:-1] + 0.05 * (15.0 * sine[:-1] + 3.0 * torque[:-1])
    np.testing.assert_allclose(velocity[1:], expected, atol=1e-4)
    assert np.abs(torque).max() <= 2.0


def test_episodes_follow_each_other_until_as_many_have_ended(cart):
    recording = cart.record(episodes=3)
    assert int(recording.ended.sum()) == 3 and recording.ended[-1]
    assert recording.begins.sum() == 3
    np.testing.assert_array_equal(recording.begins[1:], recording.ended[:-1])
    assert len(cart.record()) == recording.events("end")[0]
    for name in ("decisions", "episodes"):
        with pytest.raises(ValueError, match=f"--{name} is 0, expected at least 1"):
            cart.record(**{name: 0})


def test_what_learns_is_recorded_with_dopamine_and_weights_and_the_run_stays_as_it_is(pavlov):
    before = pavlov.agent.readout.weight.clone()
    recording = pavlov.record(30, learn=True)
    assert {"dopamine/rpe", "dopamine/value", "plasticity/eligibility"} <= set(recording.reported)
    weights = recording.weights["readout.weight"]
    assert weights.shape == (31, *before.shape) and list(recording.weights_at) == [*range(31)]
    np.testing.assert_array_equal(weights[0], before)
    assert np.abs(np.diff(weights, axis=0)).max() > 0
    assert torch.equal(pavlov.agent.readout.weight, before)
    assert not pavlov.record(3).weights


def test_infos_are_those_of_the_step_that_ended_an_episode_and_not_of_the_next_start():
    info = {
        "better": np.array([1, 0]),
        "_better": np.array([True, False]),
        "place": np.array([[9.0, 9.0], [1.0, 2.0]]),
        "final_obs": np.zeros((2, 4)),
        "final_info": {"place": np.array([[5.0, 6.0], [0.0, 0.0]]), "words": np.array(["a", ""])},
        "_final_info": np.array([True, False]),
    }
    ended, went_on = row_of(info, 0), row_of(info, 1)
    assert list(ended) == ["place"] and list(ended["place"]) == [5.0, 6.0]
    assert list(went_on) == ["place"] and list(went_on["place"]) == [1.0, 2.0]


def test_infos_of_a_robot_are_recorded(tmp_path):
    run = bio_rl.train("HalfCheetah-v5", network="mlp", run_dir=tmp_path, ppo=PPO, **SMALL)
    recording = run.record(6)
    assert "x_position" in recording.infos and recording.infos["x_position"].shape == (6,)
    moved = np.diff(recording.infos["x_position"]) / recording.names.dt
    np.testing.assert_allclose(moved, recording.infos["x_velocity"][1:], rtol=1e-5)


def test_observations_are_flattened_in_the_order_of_their_names():
    parts = {"a": gym.spaces.Discrete(3, start=5), "b": gym.spaces.Box(-1, 1, (2, 2))}
    obs = {"a": torch.tensor(1), "b": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    assert flat(gym.spaces.Dict(parts), obs).tolist() == [0, 1, 0, 1, 2, 3, 4]
    choices = gym.spaces.MultiDiscrete([2, 3])
    assert flat(choices, torch.tensor([1, 2])).tolist() == [0, 1, 0, 0, 1]


# ---------------------------------- events


@pytest.mark.parametrize(
    ("name", "edges"),
    [
        ("start", [0, 3]),
        ("end", [3]),
        ("terminated", [3]),
        ("truncated", []),
        ("reward", [3]),
        ("cue A", [1, 3]),
        ("cue B", [0, 5]),
        ("cue", [0, 1, 3, 5]),
        ("better", [2, 6]),
    ],
)
def test_events_are_edges_between_decisions(name, edges):
    assert by_hand().events(name).tolist() == edges


def test_a_channel_that_is_on_when_a_record_begins_in_an_episode_is_no_event():
    recording = by_hand()
    object.__setattr__(recording, "begins", np.array([False] * 3 + [True] + [False] * 2))
    assert recording.events("cue B").tolist() == [5]


def test_an_unknown_event_or_series_is_refused_with_what_is_known():
    with pytest.raises(ValueError, match="no event 'cue C'; did you mean 'cue"):
        by_hand().events("cue C")
    with pytest.raises(ValueError, match="has no 'dopamin'; did you mean 'dopamine'"):
        by_hand().series("dopamin")
    with pytest.raises(ValueError, match="before is 0 and after is 0"):
        by_hand().around("dopamine", np.array([1]), 0, 0)


def test_around_an_event_stand_the_answer_to_it_and_what_came_with_it():
    recording = by_hand()
    at = recording.events("reward")
    # it came with the end of decision 2, and decision 3 answers to it
    assert recording.around("dopamine", at, 1, 2).tolist() == [[11.0, 12.0, 13.0]]
    assert recording.around("rewards", at, 1, 2).tolist() == [[0.0, 1.0, 0.0]]
    assert recording.around("actions", at, 1, 2)[..., 0].tolist() == [[2.0, 3.0, 4.0]]
    assert recording.around("value", at, 1, 2).tolist() == [[2.0, 3.0, 4.0]]
    assert recording.around("cue A", at, 1, 2).tolist() == [[1.0, 1.0, 0.0]]
    # two ticks to a decision
    spikes = recording.around("spikes/1", at, 1, 1)
    assert spikes[0, :, 0].tolist() == [2.0, 2.0, 3.0, 3.0]


def test_beyond_the_record_there_is_nothing():
    windows = by_hand().around("dopamine", np.array([0, 6]), 1, 2)
    np.testing.assert_array_equal(windows, [[np.nan, np.nan, 10.0], [14.0, 15.0, np.nan]])


def test_both_clocks_run_from_the_first_decision():
    recording = by_hand()
    assert recording.network_ms.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert recording.world_s.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]


# ---------------------------------- files


def test_an_npz_file_has_all_of_it_without_objects(pavlov, tmp_path):
    recording = pavlov.record(episodes=2, learn=True)
    with np.load(recording.save(tmp_path / "life.npz"), allow_pickle=False) as file:
        kept = dict(file)
    np.testing.assert_array_equal(kept["dopamine/rpe"], recording.reported["dopamine/rpe"])
    np.testing.assert_array_equal(kept["spikes/1"], recording.train("spikes/1") > 0)
    np.testing.assert_array_equal(
        kept["weights/readout.weight"], recording.weights["readout.weight"]
    )
    assert kept["names/channels"].tolist() == ["cue A", "cue B", "cue X", "cue Y", "drop"]
    assert kept["world_s"][1] == 0.2 and kept["network_ms"][1] == 4.0
    about = json.loads(str(kept["about"]))
    assert about["env"] == "Pavlov-v0" and about["units"]["dopamine/rpe"] == "reward"


def test_csv_files_have_a_row_for_each_decision_and_for_each_spike(pavlov, tmp_path):
    recording = pavlov.record(9, learn=True)
    recording.save(tmp_path / "life.csv")
    with (tmp_path / "life.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert [float(row["obs: cue A"]) for row in rows] == recording.observations[:, 0].tolist()
    dopamine = [float(row["dopamine/rpe"]) for row in rows]
    assert dopamine == recording.reported["dopamine/rpe"].tolist()
    with (tmp_path / "life_spikes.csv").open(newline="") as file:
        spikes = list(csv.DictReader(file))
    assert (
        len(spikes)
        == recording.train("spikes/1").sum()
        == sum(float(row["spikes/1"]) for row in rows)
    )


def test_an_nwb_file_opens_in_pynwb(pavlov, tmp_path):
    pynwb = pytest.importorskip("pynwb")
    recording = pavlov.record(episodes=2, learn=True)
    path = recording.save(tmp_path / "life.nwb")
    with pynwb.NWBHDF5IO(path, "r") as file:
        session = file.read()
        trials = session.trials.to_dataframe()
        assert trials.start_time.tolist() == [0.0, recording.events("end")[0] * 0.2]
        assert trials.total_reward.sum() == pytest.approx(recording.rewards.sum())
        dopamine = session.processing["brain"]["dopamine_rpe"]
        np.testing.assert_array_equal(dopamine.data[:], recording.reported["dopamine/rpe"])
        assert (dopamine.starting_time, dopamine.rate) == (0.2, 5.0)
        spikes = recording.train("spikes/1")
        neuron = int(spikes.sum(0).argmax())
        times = session.units["spike_times"][neuron]
        np.testing.assert_allclose(times, (spikes[:, neuron].nonzero()[0] + 1) * 0.05)
        cues = session.intervals["events"].to_dataframe().query("event == 'cue A'").start_time
        np.testing.assert_allclose(cues, recording.events("cue A") * 0.2)
    assert not pynwb.validate(path=str(path))


def test_a_neo_block_has_the_same_spikes_and_signals(pavlov):
    pytest.importorskip("neo")
    recording = pavlov.record(9, learn=True)
    segment = recording.to_neo().segments[0]
    assert sum(map(len, segment.spiketrains)) == recording.train("spikes/1").sum()
    dopamine = next(one for one in segment.analogsignals if one.name == "dopamine/rpe")
    np.testing.assert_array_equal(dopamine.magnitude[:, 0], recording.reported["dopamine/rpe"])
    assert float(dopamine.t_start) == 0.2


def test_a_network_without_spikes_is_recorded_and_saved_too(tmp_path):
    run = bio_rl.train("CartPole-v1", network="mlp", run_dir=tmp_path, ppo=PPO, **SMALL)
    recording = run.record(3)
    assert recording.layers == 0 and recording.network_ms.tolist() == [0, 0, 0, 0]
    for name in ("life.npz", "life.csv"):
        assert recording.save(tmp_path / name).is_file()


def test_play_saves_a_recording_and_says_what_is_in_it(cart, tmp_path, capsys):
    path = tmp_path / "new" / "life.npz"
    main(["play", str(cart.folder), "--save", str(path), "--episodes", "2"])
    said = capsys.readouterr().out
    assert (
        f"wrote {path}: " in said
        and "2 episodes, 2 spiking layers, 4 ticks a decision; observations" in said
    )
    assert not (cart.folder / "episode.mp4").exists()
    with np.load(path) as file:
        assert file["terminated"].sum() + file["truncated"].sum() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--save", "life.mat"], "--save is life.mat, expected a file that ends in .npz, .csv"),
        (["--episodes", "2"], "--episodes goes with --save"),
        (["--save", "x.npz", "--decisions", "0"], "--decisions is 0, expected at least 1"),
        (["--save", "x.npz", "--learn", "on"], "ppo learns after 32 decisions, not at every one"),
    ],
)
def test_a_recording_that_cannot_be_is_refused_in_a_sentence(cart, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(["play", str(cart.folder), *arguments])
    assert stop.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said and "Traceback" not in said


def test_a_file_that_cannot_be_written_leaves_nothing(cart, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        cart.record(2).save(tmp_path / "file" / "life.npz")
