"""Simulations stepped with contact forces are MuJoCo's own, whatever the number of threads, and
differ in their models.
"""

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.mujoco_env import expand_model_path
from gymnasium.vector import AutoresetMode

from bio_rl.envs.robotics.ant import Ant
from bio_rl.vector.mujoco_model import load_model
from bio_rl.vector.mujoco_pool import ContactBatch

N = 17


@pytest.fixture(scope="module")
def ant() -> mujoco.MjModel:
    return load_model(expand_model_path("ant.xml"), 64, 64)


def dropped(model: mujoco.MjModel, nthread: int, heavy: bool = False) -> ContactBatch:
    """Ants that fell, each from its own height, and touch the ground; heavy: the third has twice
    its mass.
    """
    batch = ContactBatch(model, N, nthread)
    batch.bind("cfrc_ext")
    if heavy:
        batch.expand("body_mass")[2] *= 2
        batch.set_const(np.array([2]))
    batch.bind("qpos")[:, 2] -= np.linspace(0.0, 0.1, N)
    batch.forward()
    for _ in range(7):
        batch.step(nstep=5)
    return batch


def test_steps_are_mj_step_and_mj_rne_post_constraint(ant: mujoco.MjModel) -> None:
    batch, data = dropped(ant, 2), mujoco.MjData(ant)
    for _ in range(7):
        mujoco.mj_step(ant, data, 5)
        mujoco.mj_rnePostConstraint(ant, data)
    np.testing.assert_array_equal(batch.bind("qpos")[0], data.qpos)
    np.testing.assert_array_equal(batch.bind("cfrc_ext")[0], data.cfrc_ext)
    assert np.abs(data.cfrc_ext).max() > 1 and not batch.bind("cfrc_ext").flags.writeable


@pytest.mark.parametrize("heavy", [False, True])
def test_threads_do_not_change_results(ant: mujoco.MjModel, heavy: bool) -> None:
    one, *more = (dropped(ant, nthread, heavy) for nthread in (1, 2, 3))
    for batch in more:
        np.testing.assert_array_equal(batch.state, one.state)
        np.testing.assert_array_equal(batch.bind("cfrc_ext"), one.bind("cfrc_ext"))


def test_a_heavier_simulation_changes_itself_only(ant: mujoco.MjModel) -> None:
    changed = (dropped(ant, 2).state != dropped(ant, 2, heavy=True).state).any(1)
    np.testing.assert_array_equal(changed, np.arange(N) == 2)


def test_only_the_simulations_named_move(ant: mujoco.MjModel) -> None:
    batch = dropped(ant, 2)
    before, forces = batch.state.copy(), batch.bind("cfrc_ext").copy()
    mask = np.arange(N) % 3 == 0
    batch.step(mask, nstep=5)
    np.testing.assert_array_equal((batch.state != before).any(1), mask)
    np.testing.assert_array_equal(batch.bind("cfrc_ext")[~mask], forces[~mask])
    batch.step(np.zeros(N, np.bool_))  # nobody


def test_an_error_in_a_simulation_is_raised(
    ant: mujoco.MjModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = dropped(ant, 2)

    def fail(*_: object) -> None:
        raise mujoco.FatalError("out of memory")

    monkeypatch.setattr(mujoco, "mj_rnePostConstraint", fail)
    with pytest.raises(mujoco.FatalError, match="out of memory"):
        batch.step()


def test_contact_forces_are_zero_after_a_reset(ant: mujoco.MjModel) -> None:
    batch = dropped(ant, 2)
    batch.reset(np.array([1]), stage=0)
    batch.forward(np.array([1]))
    forces = np.abs(batch.bind("cfrc_ext")).max((1, 2))
    assert forces[1] == 0 and forces[0] > 1


def test_a_diverged_ant_ends_and_the_others_go_on() -> None:
    calm, env = (Ant(4, nthread=2, autoreset_mode=AutoresetMode.SAME_STEP) for _ in range(2))
    calm.reset(seed=0)
    env.reset(seed=0)
    env.qvel[2] = np.nan
    actions = np.zeros((4, 8), np.float32)
    expected, (obs, reward, terminated, truncated, info) = calm.step(actions), env.step(actions)
    others = [0, 1, 3]
    np.testing.assert_array_equal(terminated, [False, False, True, False])
    np.testing.assert_array_equal(info["diverged"], terminated)
    np.testing.assert_array_equal(obs[others], expected[0][others])
    np.testing.assert_array_equal(reward[others], expected[1][others])
    assert (
        np.isfinite(obs).all()
        and np.isfinite(info["final_obs"]).all()
        and reward[2] == 0
        and not truncated.any()
    )
    assert "diverged" not in env.step(actions)[4]


def test_ants_of_one_and_two_threads_live_the_same_lives() -> None:
    lives = []
    for nthread in (1, 2):
        env = gym.make_vec("bio_rl/Ant-v5", 9, nthread=nthread, max_episode_steps=8)
        env.reset(seed=0)
        env.action_space.seed(0)
        lives.append([env.step(env.action_space.sample())[:4] for _ in range(20)])
    for one, two in zip(*lives, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
