"""Presets of the perturbation layer: damaged legs and hidden tasks."""

import gymnasium as gym
import numpy as np
import pytest

from bio_rl.envs.robotics.ant import Ant
from bio_rl.envs.robotics.cheetah_tasks import cheetah_dir, cheetah_vel
from bio_rl.envs.robotics.damage import SHORT, ant_damage, half_cheetah_damage
from bio_rl.envs.robotics.half_cheetah import HalfCheetah
from bio_rl.testing import check_vector_env

ACTIONS = np.random.default_rng(0).uniform(-1, 1, (30, 6)).astype(np.float32)


def lengths(env: Ant) -> np.ndarray:
    """Of each row's feet, in m, [N, 4]."""
    feet = [env.model.geom(f"{leg}_ankle_geom").id for leg in ("left", "right", "third", "fourth")]
    return np.stack([env.batch.get_model(i).geom_size[feet, 1] for i in range(env.num_envs)])


def test_ants_train_with_one_leg_and_are_tested_with_another() -> None:
    whole = lengths(ant_damage(1, damage="none"))[0]
    for damage, leg, draws in (("train", 1, 2), ("test", 0, 1), ("back left", 2, 1)):
        env = ant_damage(12, damage=damage)
        env.reset(seed=0)
        share = lengths(env) / whole
        np.testing.assert_array_equal(np.delete(share, leg, axis=1), 1.0)
        np.testing.assert_allclose(np.unique(share[:, leg].round(12)), [SHORT, 1.0][:draws])


def test_a_damaged_ant_is_paid_for_distance_only() -> None:
    env = ant_damage(2, damage="test")
    obs, info = env.reset(seed=0)
    assert obs.shape == (2, 27) and info["perturbed"].all()
    action = np.full((2, 8), 0.5, np.float32)
    _, reward, _, _, info = env.step(action)
    np.testing.assert_allclose(reward, info["x_velocity"] - 0.1 * 8 * 0.25)


def test_cheetahs_legs_are_limp_or_stiff() -> None:
    env = half_cheetah_damage(8)
    env.reset(seed=0)
    gear = env.batch.expand("actuator_gear")[:, :, 0]
    assert set(gear[:, 0]) == {0.0, 120.0} and (gear[:, 3:] == env.model.actuator_gear[3:, 0]).all()
    assert ((gear[:, 0] == 0) == (gear[:, 2] == 0)).all()
    stiff, plain = (
        half_cheetah_damage(2, damage="test", kind="stiff", perturb="gravity=0.5"),
        HalfCheetah(2),
    )
    for e in (stiff, plain):
        e.reset(seed=0)
        for a in ACTIONS:
            e.step(np.stack([a, a]))
    assert (
        np.ptp(stiff.qpos[:, 6:] - stiff.layer.effects[0].held) < 0.1
        and len(stiff.layer.effects) == 2
    )
    with pytest.raises(ValueError, match="did you mean 'front'"):
        half_cheetah_damage(1, damage="frnt")
    with pytest.raises(ValueError, match="did you mean 'stiff'"):
        half_cheetah_damage(1, kind="stif")


def test_the_direction_is_hidden_and_turns_the_reward_around() -> None:
    forward, back, plain = (
        cheetah_dir(3, direction=1),
        cheetah_dir(3, direction=-1),
        HalfCheetah(3, ctrl_cost_weight=0.05),
    )
    for e in (forward, back, plain):
        e.reset(seed=0)
    for a in ACTIONS[:5]:
        ahead, astern, there = (e.step(np.stack([a, a, a])) for e in (forward, back, plain))
        np.testing.assert_array_equal(ahead[0], astern[0])  # the observation does not tell
        np.testing.assert_array_equal(ahead[1], there[1])
        np.testing.assert_allclose(astern[1], -there[4]["reward_forward"] + there[4]["reward_ctrl"])
    env = cheetah_dir(40)
    assert set(env.reset(seed=0)[1]["task"]) == {-1.0, 1.0}


def test_a_velocity_is_drawn_for_a_life_and_kept_through_its_trials() -> None:
    env = cheetah_vel(2, trial_steps=4, max_episode_steps=10)
    task = env.reset(seed=0)[1]["task"]
    assert ((task >= 0) & (task <= 2)).all() and task[0] != task[1]
    for t in range(10):
        obs, reward, _, truncated, info = env.step(np.stack([ACTIONS[t], ACTIONS[t]]))
        np.testing.assert_array_equal(info["task"], task)
        if t in (4, 8):  # put back: a start state, near the model's own pose, and no reward
            assert not reward.any() and np.abs(obs[:, :8] - env.init_qpos[1:]).max() < 0.1
        else:
            speed = np.abs(info["x_velocity"] - task) + 0.05 * np.square(ACTIONS[t]).sum()
            np.testing.assert_allclose(reward, -speed, rtol=1e-6)
        assert truncated.all() == (t == 9)


@pytest.mark.parametrize("name", ["CheetahDir", "CheetahVel"])
def test_lives_of_several_trials_hold_the_contract(name: str) -> None:
    check_vector_env(
        f"bio_rl/{name}-v0", max_episode_steps=7, trial_steps=3, perturb="gear=0.5..1@2"
    )
    with pytest.raises(ValueError, match="trial_steps is 0"):
        gym.make(f"bio_rl/{name}-v0", trial_steps=0)


@pytest.mark.parametrize("settings", [{}, {"kind": "limp"}, {"damage": "test", "kind": "stiff"}])
def test_damages_hold_the_contract(settings: dict[str, str]) -> None:
    for name in ("AntDamage", "HalfCheetahDamage"):
        check_vector_env(f"bio_rl/{name}-v0", max_episode_steps=5, **settings)
