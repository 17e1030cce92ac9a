"""The adapter: ids, action spaces, faults, the packed copy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bio_rl import vector
from bio_rl.vector import FaultyEnvironmentError


def test_names_find_our_own_ids_first_and_a_users_module():
    assert vector.find_id("HalfCheetah-v5") == "bio_rl/HalfCheetah-v5"
    assert vector.find_id("bio_rl/HalfCheetah-v5") == "bio_rl/HalfCheetah-v5"
    assert vector.find_id("CartPole-v1") == "bio_rl/CartPole-v1" and vector.find_id("Acrobot-v1") == "Acrobot-v1"
    assert vector.find_id("tests.worlds:Clock-v0") == "Clock-v0"


@pytest.mark.parametrize(("name", "near"), [("HalfChetah-v5", "HalfCheetah-v5"), ("CartPol-v1", "CartPole-v1")])
def test_an_unknown_id_names_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        vector.find_id(name)
    with pytest.raises(ValueError, match="cannot import 'no_such_module'"):
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
    decode = vector._decoder(space)
    np.testing.assert_allclose(decode(np.array([[-7.0], [-1.0], [0.0], [0.5], [3.0]], np.float32)).ravel(), [0, 0, 2, 3, 4])


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
    arrays = (
        rng.standard_normal((3, 5)).astype(np.float32),
        rng.standard_normal(3),
        np.array([True, False, True]),
        rng.integers(0, 9, (3, 2)),
        rng.integers(0, 255, (3, 4, 4), dtype=np.uint8)[:, ::2],
    )
    for x, t in zip(arrays, vector.transfer(arrays, torch.device("cpu")), strict=True):
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
        assert torch.equal(one.obs, two.obs) and torch.equal(one.reward, two.reward) and torch.equal(one.reset, two.reset)
    assert env.take_episodes()[-1] == other.take_episodes()[-1]


def test_impossible_numbers_of_environments_are_refused():
    with pytest.raises(ValueError, match="--num-envs"):
        vector.make("CartPole-v1", 0)
