"""A copied world continues as the original would have, bit by bit; neither touches the other."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from bio_rl.envs import discover
from bio_rl.testing.lives import assert_same
from bio_rl.vector.rendering import can_render

pytestmark = pytest.mark.thorough

WORLDS = sorted(discover())
PERTURBED = {
    "bio_rl/CartPole-v1": ["force=0.5..1.5", "obs_noise=0.1@life:2", "action_delay=1"],
    "bio_rl/Pendulum-v1": ["length=2@3", "obs_permutation"],
    "bio_rl/HalfCheetah-v5": ["gear=0.5..1.5", "lock:bthigh@hazard:0.3", "obs_delay=2"],
    "bio_rl/Ant-v5": ["friction=0.2@ramp:1-9", "push=3@every:2"],
    "bio_rl/AntDamage-v0": ["gravity=0.5..2"],
}
CASES = [(env_id, ()) for env_id in WORLDS] + list(PERTURBED.items())
WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}
Copy = Callable[[Any], Any]


def vectorised(env_id: str, perturb: Any = (), **settings: Any) -> gym.vector.VectorEnv:
    settings |= {"perturb": perturb} if perturb else {}
    return gym.make_vec(env_id, 3, max_episode_steps=9, **settings)


def single(env_id: str, perturb: Any = ()) -> gym.Env:
    return gym.make(env_id, max_episode_steps=9, **({"perturb": perturb} if perturb else {}))


def lived(env: Any, actions: list[Any]) -> list[Any]:
    """All that `env` returns for actions; a single environment is reset where its episode ends."""
    seen: list[Any] = []
    for action in actions:
        seen.append(env.step(action))
        if isinstance(env, gym.Env) and (seen[-1][2] or seen[-1][3]):
            seen.append(env.reset())
    return seen


def actions_for(env: Any, n: int) -> list[Any]:
    env.action_space.seed(0)
    return [env.action_space.sample() for _ in range(n)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("env_id", "perturb"), CASES)
@pytest.mark.parametrize("make", [vectorised, single])
def test_a_copy_of_a_world_continues_bitwise_and_independently(make, env_id, perturb, way) -> None:
    env = make(env_id, perturb)
    unborn = WAYS[way](env)
    assert_same(
        unborn.reset(seed=3),
        env.reset(seed=3),
        "the first observations of a world and a copy made before them",
    )
    actions = actions_for(env, 17)
    begun = WAYS[way](env)
    assert_same(
        lived(unborn, actions),
        first := lived(env, actions),
        "lives of a world and a copy made before its reset",
    )
    assert_same(lived(begun, actions), first, "lives of a world and a copy made after its reset")
    later = actions_for(env, 14)[3:]
    twin = WAYS[way](env)
    own = lived(env, later)  # the original goes first: what it does must not reach the copy
    assert_same(
        lived(twin, later), own, "lives of a world and a copy made in the middle of an episode"
    )
    assert_same(twin.reset(), env.reset(), "the next episodes of a world and of its copy")
    for one in (env, unborn, begun, twin):
        one.close()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_copy_knows_its_autoreset_mode_its_spec_and_its_spaces_generators(mode) -> None:
    env = gym.make_vec("bio_rl/HalfCheetah-v5", 2, autoreset_mode=mode, ctrl_cost_weight=0.7)
    env.action_space.seed(5)
    env.reset(seed=0)
    for way in WAYS.values():
        twin = way(env)
        assert (
            twin.metadata == env.metadata and twin.spec == env.spec and twin.ctrl_cost_weight == 0.7
        )
        np.testing.assert_array_equal(
            twin.action_space.sample(), copy.deepcopy(env.action_space).sample()
        )


def test_the_generator_of_a_copied_single_world_is_one_with_its_batch() -> None:
    env = gym.make("bio_rl/CartPole-v1").unwrapped
    env.reset(seed=1)
    twin = copy.deepcopy(env)
    assert twin.np_random is twin.batch.rngs[0] and twin.np_random is not env.np_random


def test_what_was_changed_in_the_model_of_a_single_robot_is_copied_with_it() -> None:
    env = gym.make("bio_rl/Hopper-v5").unwrapped
    env.model.opt.gravity[2] = -1.0
    env.reset(seed=0)
    action = np.ones(3, np.float32)
    for way in WAYS.values():
        twin = way(env)
        assert twin.model.opt.gravity[2] == -1.0
        assert twin.model is not env.model and twin.data is not env.data
        assert_same(
            twin.step(action), copy.deepcopy(env).step(action), "steps under another gravity"
        )


@pytest.mark.skipif(
    not can_render(), reason="no OpenGL here: apt-get install libegl1 libgl1-mesa-dri"
)
@pytest.mark.parametrize(
    "env_id",
    [
        "bio_rl/CartPole-v1",
        "bio_rl/Pendulum-v1",
        "bio_rl/GoNoGo-v0",
        "bio_rl/Reach-v0",
        "bio_rl/Hopper-v5",
    ],
)
@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_a_copy_shows_the_same_picture(make, env_id) -> None:
    env = make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    for action in actions_for(env, 3):
        env.step(action)
    env.render()  # its renderer exists now, and cannot be copied
    twins = [way(env) for way in WAYS.values()]
    for twin in twins:
        assert_same(twin.render(), env.render(), "pictures of a world and of its copy")
    for one in (env, *twins):
        one.close()
