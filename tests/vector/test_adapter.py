"""The adapter: ids, action spaces, faults, the packed copy."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from bio_rl import seeding, vector
from bio_rl.faults import FaultyEnvironmentError
from bio_rl.vector import arrays, coding, third_party
from tests.worlds import Riddle


def test_names_find_our_own_ids_first_and_a_users_module():
    assert vector.find_id("HalfCheetah-v5") == "bio_rl/HalfCheetah-v5"
    assert vector.find_id("bio_rl/HalfCheetah-v5") == "bio_rl/HalfCheetah-v5"
    assert (
        vector.find_id("CartPole-v1") == "bio_rl/CartPole-v1"
        and vector.find_id("Acrobot-v1") == "Acrobot-v1"
    )
    assert vector.find_id("tests.worlds:Clock-v0") == "Clock-v0"


@pytest.mark.parametrize(
    ("name", "near"), [("HalfChetah-v5", "HalfCheetah-v5"), ("CartPol-v1", "CartPole-v1")]
)
def test_an_unknown_id_names_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        vector.find_id(name)
    with pytest.raises(ValueError, match="--trust no_such_module"):
        vector.find_id("no_such_module:Id-v0")


@pytest.mark.parametrize(
    ("space", "action"),
    [
        ("discrete", torch.tensor([0, 1])),
        ("shifted", torch.tensor([0, 1])),  # Discrete(start=5): the agent counts from zero
        ("multidiscrete", torch.tensor([[0, 1], [1, 1]])),
        ("multibinary", torch.tensor([[0, 1], [1, 1]])),
        ("box", torch.tensor([[-7.0], [0.5]])),
    ],
)
def test_every_action_space_is_served(space, action):
    env = vector.make("tests.worlds:Identity-v0", 2, space=space)
    obs = env.reset(0)
    assert obs.dtype == torch.int64 and obs.shape == (2,)
    step = env.step(action)
    assert step.reward.dtype == torch.float32 and step.reward.shape == (2,)


def test_box_actions_are_half_ranges_around_the_centre_and_clipped():
    space = vector.make("tests.worlds:Identity-v0", 1, space="box").action_space  # [0, 4]
    decode = coding.decoder(space)
    np.testing.assert_allclose(
        decode(np.array([[-7.0], [-1.0], [0.0], [0.5], [3.0]], np.float32)).ravel(), [0, 0, 2, 3, 4]
    )


@pytest.mark.parametrize(("how", "what"), [("nan", "observation"), ("reward", "reward")])
def test_a_number_that_is_not_finite_names_environment_and_step(how, what):
    env = vector.make("tests.worlds:Broken-v0", 3, how=how)
    env.reset(0)
    for _ in range(4):
        env.step(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(FaultyEnvironmentError, match=f"the {what} of environment 0 .* step 5"):
        env.step(torch.zeros(3, dtype=torch.int64))


def test_a_worker_error_shows_the_childs_traceback():
    env = vector.make("tests.worlds:Broken-v0", 2, workers=True, how="raise")
    env.reset(0)
    for _ in range(4):
        env.step(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(FaultyEnvironmentError, match="wheel came off") as caught:
        env.step(torch.zeros(2, dtype=torch.int64))
    env.close()
    assert "worlds.py" in str(caught.value)  # the line in the child that raised


def test_packed_copy_keeps_every_array():
    rng = np.random.default_rng(0)
    given = (
        rng.standard_normal((3, 5)).astype(np.float32),
        rng.standard_normal(3),
        np.array([True, False, True]),
        rng.integers(0, 9, (3, 2)),
        rng.integers(0, 255, (3, 4, 4), dtype=np.uint8)[:, ::2],
    )
    for x, t in zip(given, arrays.transfer(given, torch.device("cpu")), strict=True):
        np.testing.assert_array_equal(t.numpy(), x)


def test_returned_tensors_are_fresh():
    env = vector.make("HalfCheetah-v5", 2)
    first = env.reset(0)
    kept = first.clone()
    step = env.step(torch.ones(2, 6))
    again = step.obs.clone()
    env.step(-torch.ones(2, 6))
    assert torch.equal(first, kept) and torch.equal(step.obs, again)


def test_saved_environments_continue_bitwise():
    env, other = vector.make("Hopper-v5", 3), vector.make("Hopper-v5", 3)
    env.reset(1), other.reset(2)
    actions = torch.rand(60, 3, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for a in actions[:30]:
        env.step(a)
    other.load_state_dict(env.state_dict())
    for a in actions[30:]:
        one, two = env.step(a), other.step(a)
        assert (
            torch.equal(one.obs, two.obs)
            and torch.equal(one.reward, two.reward)
            and torch.equal(one.reset, two.reset)
        )
    assert env.take_episodes()[-1] == other.take_episodes()[-1]


@pytest.mark.parametrize("workers", [False, True])
def test_dictionaries_come_as_dictionaries_of_tensors_final_observations_too(workers):
    env, plain = (
        vector.make("tests.worlds:Riddle-v0", 3, workers=workers),
        [Riddle() for _ in range(3)],
    )
    obs, seeds = env.reset(7), seeding.world_seeds(7, 3)
    for i, one in enumerate(plain):
        assert_row(obs, i, one.reset(seed=seeds[i])[0])
    for t in range(22):
        step = env.step(torch.ones(3, dtype=torch.int64))
        for i, one in enumerate(plain):
            last, reward, _, truncated, _ = one.step(1)
            assert_row(step.final_obs, i, last)
            assert_row(step.obs, i, one.reset()[0] if truncated else last)
            assert step.reward[i] == reward and bool(step.reset[i]) == truncated == (t == 19)
    env.close()


def assert_row(obs, i, expected):
    assert obs.keys() == expected.keys()
    for key, value in expected.items():
        start = 3 if key == "choice" else 0  # Discrete(start=3)
        np.testing.assert_array_equal(
            obs[key][i].numpy(), (value - start).astype(obs[key].numpy().dtype)
        )


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_final_observations_of_rows_that_go_on_are_what_is_seen_whatever_the_environment_left_there(
    shape,
):
    obs, final = np.zeros((4, *shape), np.float32), np.ones((4, *shape), np.float32)
    done = np.array([False, True, True, False])
    objects = np.array([None] * 4, object)
    for i in (1, 2):
        objects[i] = final[i]
    expected = [0.0, 1.0, 1.0, 0.0]
    for given in (final, objects):
        dense = arrays.dense_final(obs, {"final_obs": given}, done)
        np.testing.assert_array_equal(dense.reshape(4, -1).mean(1), expected)
    dense = arrays.dense_final({"a": obs}, {"final_obs": {"a": final}}, done)
    np.testing.assert_array_equal(dense["a"].reshape(4, -1).mean(1), expected)
    assert not obs.any()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_dictionaries_are_served_in_every_autoreset_mode(mode):
    env = vector.Vector(
        gym.make_vec("tests.worlds:Riddle-v0", 2, "sync", vector_kwargs={"autoreset_mode": mode})
    )
    env.reset(0)
    for _ in range(25):
        step = env.step(torch.zeros(2, dtype=torch.int64))
        assert step.obs.keys() == step.final_obs.keys() == env.observation_space.keys()
        assert all(value.shape[0] == 2 for value in (*step.obs.values(), *step.final_obs.values()))
    assert [end.length for end in env.take_episodes()] == [20, 20]


def test_the_packed_copy_brings_dictionaries_too():
    env, other = vector.make("tests.worlds:Riddle-v0", 2), vector.make("tests.worlds:Riddle-v0", 2)
    other._transfer = arrays.transfer
    pairs = [(env.reset(0), other.reset(0))]
    for _ in range(21):
        one, two = (e.step(torch.zeros(2, dtype=torch.int64)) for e in (env, other))
        pairs += [(one.obs, two.obs), (one.final_obs, two.final_obs)]
    for one, two in pairs:
        assert all(
            torch.equal(one[key], two[key]) and one[key].dtype == two[key].dtype for key in one
        )


def test_a_number_that_is_not_finite_names_the_key_of_a_dictionary():
    env = vector.make("tests.worlds:Broken-v0", 3, inside=True)
    env.reset(0)
    for _ in range(4):
        env.step(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(
        FaultyEnvironmentError, match=r"the observation 'touch' of environment 0 .* step 5"
    ):
        env.step(torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("ALE/Pong-v5", "atari"),
        ("MiniGrid-Empty-5x5-v0", "minigrid"),
        ("minigrid:MiniGrid-Empty-5x5-v0", "minigrid"),
        ("LunarLander-v3", "box2d"),
        ("PointMaze_UMaze-v3", "maze"),
        ("highway-fast-v0", "driving"),
        ("popgym-RepeatFirstEasy-v0", "popgym"),
    ],
)
def test_a_world_of_another_package_names_the_extra_to_install(monkeypatch, name, extra):
    package = third_party.family(name.rpartition(":")[2])
    monkeypatch.setitem(sys.modules, package.module, None)  # as if it were not installed
    with pytest.raises(ValueError, match=rf"pip install 'bio-rl\[{extra}\]'"):
        vector.find_id(name)


def test_an_environment_that_fails_when_made_says_where():
    gym.register("Fails-v0", entry_point=fails)
    try:
        with pytest.raises(
            ValueError,
            match="Fails-v0 cannot be made: AssertionError in fails: raise AssertionError",
        ):
            vector.make("Fails-v0", 1)
    finally:
        del gym.registry["Fails-v0"]


def fails():
    raise AssertionError


def test_every_extra_that_is_named_exists():
    table = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {package.extra for package in third_party.FAMILIES} <= table.keys()


def test_a_users_own_world_may_have_the_name_of_anothers(monkeypatch):
    monkeypatch.setitem(sys.modules, "highway_env", None)
    monkeypatch.setitem(gym.registry, "parking-v0", gym.spec("Clock-v0"))
    assert vector.find_id("tests.worlds:parking-v0") == "parking-v0"


def test_missions_are_words_by_number():
    words = third_party.WORDS.split()
    numbers = third_party.tokens("Go to the red ball, xylophone")
    assert [words[n - 1] for n in numbers[:5]] == ["go", "to", "the", "red", "ball"]
    assert numbers[5:].tolist() == [0] * (third_party.MISSION - 5)
    assert (
        len(set(words)) == len(words) and len(third_party.tokens("go " * 99)) == third_party.MISSION
    )


def test_a_grid_of_codes_becomes_planes_of_bits():
    pytest.importorskip("minigrid")
    env = vector.make("MiniGrid-Empty-5x5-v0", 2)
    obs = env.reset(0)
    assert obs["image"].shape == (2, 7, 7, 20) and bool(
        (obs["image"].sum(-1) == 3).all()
    )  # one object, colour and state


def test_impossible_numbers_of_environments_are_refused():
    with pytest.raises(ValueError, match="--num-envs"):
        vector.make("CartPole-v1", 0)
