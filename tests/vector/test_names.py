"""The words that worlds have for their channels and actions."""

import gymnasium as gym
import numpy as np
import pytest

from bio_rl import envs
from bio_rl.vector import NativeVectorEnv, names
from bio_rl.viz import worlds


@pytest.mark.parametrize("env_id", envs.discover())
def test_every_world_of_ours_names_each_channel_and_each_action_once(env_id):
    env = gym.make_vec(env_id, 1)
    try:
        found = names(env)
        space = env.single_action_space
    finally:
        env.close()
    count = space.n if isinstance(space, gym.spaces.Discrete) else space.shape[0]
    assert len(found.channels) == np.prod(env.single_observation_space.shape)
    assert len(found.actions) == count
    for words in (found.channels, found.actions):
        assert len(set(words)) == len(words)
        assert not any(word.startswith(("obs ", "action ")) for word in words)


@pytest.mark.parametrize(
    ("env_id", "settings", "channels"),
    [
        ("Bandit-v0", {"arms": 3}, 5),
        ("CueAccumulation-v0", {"code": "rates"}, 4),
        ("DMS-v0", {"stimuli": 2}, 4),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False}, 27),
        ("HalfCheetah-v5", {"exclude_current_positions_from_observation": False}, 18),
        ("Humanoid-v5", {"include_cinert_in_observation": False}, 218),
        ("WaterMaze-v0", {"control": "turn"}, 68),
    ],
)
def test_names_follow_the_settings_of_a_world(env_id, settings, channels):
    assert len(worlds.names(env_id, **settings).channels) == channels


def test_a_robots_channels_stand_in_the_order_of_its_observation():
    env = gym.make_vec("bio_rl/HalfCheetah-v5", 1)
    obs, _ = env.reset(seed=0)
    found = names(env).channels
    joints = env.unwrapped.model.joint
    thigh = joints("bthigh")
    assert obs[0, found.index("bthigh angle")] == env.unwrapped.qpos[0, thigh.qposadr[0]]
    assert obs[0, found.index("bthigh velocity")] == env.unwrapped.qvel[0, thigh.dofadr[0]]
    assert names(env).dt == 0.05
    env.close()


def test_a_humanoids_wrenches_stand_where_they_are_named():
    env = gym.make_vec("bio_rl/Humanoid-v5", 1)
    env.reset(seed=0)
    for _ in range(20):
        obs, *_ = env.step(np.zeros((1, 17)))
    found = names(env).channels
    body = env.unwrapped.model.body("right_foot").id
    force = env.unwrapped.derived["cfrc_ext"][0, body, 5]
    assert obs[0, found.index("right foot force z")] == force
    torque = env.unwrapped.model.joint("left_knee").dofadr[0]
    assert (
        obs[0, found.index("left knee torque")] == env.unwrapped.derived["qfrc_actuator"][0, torque]
    )
    env.close()


def test_a_world_that_says_nothing_has_numbered_names():
    found = worlds.names("tests.worlds:Clock-v0")
    assert found == (("obs 0", "obs 1"), ("action 0", "action 1"), None)


def test_the_choices_of_a_space_that_begins_elsewhere_keep_their_numbers():
    found = worlds.names("tests.worlds:Identity-v0", space="shifted")
    assert found.actions == ("action 5", "action 6")


class _Misnamed(NativeVectorEnv):
    """A world with a name too few."""

    metadata = {"render_modes": [], "channels": ("left",)}  # noqa: RUF012

    def __init__(self):
        super().__init__(1)
        self.set_spaces(gym.spaces.Box(0.0, 1.0, (2,)), gym.spaces.Discrete(2))

    def advance(self, actions, begun):
        """Nothing moves."""

    def outcome(self, actions):
        return np.zeros(1), np.zeros(1, bool), {}

    def observe(self, rows):
        return np.zeros((1, 2), np.float32)


def test_a_world_with_a_name_too_few_is_numbered_with_a_warning():
    with pytest.warns(UserWarning, match="has 1 names, and the space has 2"):
        assert names(_Misnamed()).channels == ("obs 0", "obs 1")
