"""Our vectorised MuJoCo worlds equal Gymnasium's SyncVectorEnv over the single environments, to the
last bit.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv

import bio_rl  # noqa: F401  (registers the ids)

N = 4
LIMITS = {  # steps: short episodes, so that many resets are compared
    "HalfCheetah-v5": 20,
    "Hopper-v5": 20,
    "Walker2d-v5": 20,
    "Swimmer-v5": 20,
    "Reacher-v5": 20,
    "InvertedPendulum-v5": 6,
    "InvertedDoublePendulum-v5": 6,
    "Ant-v5": 20,
    "Humanoid-v5": 20,
    "HumanoidStandup-v5": 20,
    "Pusher-v5": 20,
}
OTHER_SETTINGS: list[tuple[str, dict[str, Any]]] = [
    (
        "HalfCheetah-v5",
        {
            "forward_reward_weight": 0.7,
            "ctrl_cost_weight": 0.3,
            "frame_skip": 2,
            "reset_noise_scale": 0.3,
        },
    ),
    ("HalfCheetah-v5", {"exclude_current_positions_from_observation": False}),
    (
        "Hopper-v5",
        {"terminate_when_unhealthy": False, "healthy_reward": 2, "healthy_z_range": (1.0, 1.3)},
    ),
    (
        "Hopper-v5",
        {"healthy_state_range": (-0.5, 0.5), "exclude_current_positions_from_observation": False},
    ),
    (
        "Walker2d-v5",
        {"healthy_angle_range": (-0.1, 0.1), "ctrl_cost_weight": 1.0, "xml_file": "walker2d.xml"},
    ),
    ("Swimmer-v5", {"exclude_current_positions_from_observation": False, "reset_noise_scale": 1.0}),
    ("Reacher-v5", {"reward_dist_weight": 3.0, "reward_control_weight": 0.1}),
    ("InvertedPendulum-v5", {"reset_noise_scale": 0.1, "frame_skip": 4}),
    ("InvertedDoublePendulum-v5", {"healthy_reward": 3, "reset_noise_scale": 0.4}),
    (
        "Ant-v5",
        {
            "main_body": "front_left_leg",
            "contact_force_range": (-0.5, 2.0),
            "contact_cost_weight": 0.1,
            "healthy_reward": 2,
        },
    ),
    (
        "Ant-v5",
        {"include_cfrc_ext_in_observation": False, "healthy_z_range": (0.5, 0.8), "frame_skip": 3},
    ),
    (
        "Ant-v5",
        {"exclude_current_positions_from_observation": False, "terminate_when_unhealthy": False},
    ),
    (
        "Humanoid-v5",
        {
            "contact_cost_weight": 1e-3,
            "contact_cost_range": (0.1, 5.0),
            "forward_reward_weight": 2.0,
        },
    ),
    (
        "Humanoid-v5",
        {"include_cinert_in_observation": False, "include_cfrc_ext_in_observation": False},
    ),
    (
        "Humanoid-v5",
        {
            "include_cvel_in_observation": False,
            "include_qfrc_actuator_in_observation": False,
            "exclude_current_positions_from_observation": False,
            "healthy_z_range": (1.3, 1.42),
        },
    ),
    (
        "HumanoidStandup-v5",
        {"impact_cost_weight": 1e-3, "impact_cost_range": (0.1, 5.0), "uph_cost_weight": 3},
    ),
    (
        "HumanoidStandup-v5",
        {"include_qfrc_actuator_in_observation": False, "reset_noise_scale": 0.1},
    ),
    (
        "Pusher-v5",
        {"reward_near_weight": 0.1, "reward_dist_weight": 2.0, "reward_control_weight": 1},
    ),
]


def both(name: str, mode: AutoresetMode, **settings: Any) -> tuple[VectorEnv, VectorEnv]:
    ours = gym.make_vec(
        f"bio_rl/{name}", N, autoreset_mode=mode, nthread=2, **settings
    )  # first: it turns the log off
    theirs = gym.make_vec(
        name, N, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **settings
    )
    return theirs, ours


def assert_same(theirs: Any, ours: Any, where: str) -> None:
    if isinstance(theirs, dict):
        assert theirs.keys() == ours.keys(), where
        for key in theirs:
            if key == "final_obs":  # theirs: an object array with None; ours: dense
                ended = theirs["_final_obs"]
                assert_same(np.stack(theirs[key][ended]), ours[key][ended], f"{where} {key}")
            else:
                assert_same(theirs[key], ours[key], f"{where} {key}")
    else:
        assert theirs.dtype == ours.dtype, f"{where}: {theirs.dtype} {ours.dtype}"
        np.testing.assert_array_equal(theirs, ours, err_msg=where)


def assert_same_lives(
    theirs: VectorEnv, ours: VectorEnv, steps: int, scale: float, dtype: type = np.float32
) -> int:
    """Steps both with random actions; returns the number of episodes that ended."""
    rng, episodes = np.random.default_rng(0), 0
    assert_same(theirs.reset(seed=3)[0], ours.reset(seed=3)[0], "reset")
    for t in range(steps):
        actions = (scale * rng.uniform(-1, 1, theirs.action_space.shape)).astype(dtype)
        actions[0] *= 0.1  # a calmer row lives longer
        a, b = theirs.step(actions), ours.step(np.asfortranarray(actions))
        for i, what in enumerate(("obs", "reward", "terminated", "truncated", "info")):
            assert_same(a[i], b[i], f"step {t} {what}")
        done = a[2] | a[3]
        episodes += done.sum()
        if ours.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
            a, b = (env.reset(options={"reset_mask": done.copy()}) for env in (theirs, ours))
            assert_same(a[0], b[0], f"step {t} masked reset")
            assert_same(a[1], b[1], f"step {t} masked reset info")
    theirs.close()
    ours.close()
    return int(episodes)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", LIMITS)
def test_equals_gymnasium_bit_for_bit(name: str, mode: AutoresetMode) -> None:
    theirs, ours = both(name, mode, max_episode_steps=LIMITS[name])
    assert (
        theirs.observation_space == ours.observation_space
        and theirs.action_space == ours.action_space
    )
    assert theirs.metadata["render_fps"] == ours.metadata["render_fps"]
    assert (
        assert_same_lives(theirs, ours, steps=60, scale=3.0) > N
    )  # three times the action bounds: neither side clips


@pytest.mark.parametrize(("name", "settings"), OTHER_SETTINGS)
def test_equals_gymnasium_with_other_settings(name: str, settings: dict[str, Any]) -> None:
    theirs, ours = both(name, AutoresetMode.SAME_STEP, max_episode_steps=15, **settings)
    assert theirs.observation_space == ours.observation_space
    assert_same_lives(theirs, ours, steps=40, scale=1.0, dtype=np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_equals_gymnasium_over_1000_steps(name: str) -> None:
    theirs, ours = both(name, AutoresetMode.SAME_STEP)
    assert assert_same_lives(theirs, ours, steps=1000, scale=1.0) >= N


def test_defaults_are_gymnasiums() -> None:
    for name in LIMITS:
        ours, theirs = gym.spec(f"bio_rl/{name}"), gym.spec(name)
        assert ours.max_episode_steps == theirs.max_episode_steps, name
        assert ours.reward_threshold == theirs.reward_threshold, name
        assert gym.make_vec(f"bio_rl/{name}").max_episode_steps == theirs.max_episode_steps, name
