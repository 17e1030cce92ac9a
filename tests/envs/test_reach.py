"""Reach-v0 and Reach-Rotated-v0: the arm's geometry, what is seen and rewarded, trials and
rotations, the expert.
"""

from collections.abc import Callable

import mujoco
import numpy as np
import pytest

from bio_rl.envs.robotics.reach import (
    ARM,
    BLOCK,
    HEIGHT,
    MOST,
    RADIUS,
    ROTATION,
    START_NOISE,
    STEPS,
    Reach,
    reach_rotated,
)
from bio_rl.vector.rendering import can_render

AHEAD, LEFT = np.array([0.1, 0.0, 0.02]), np.array([0.0, 0.1, 0.02])  # m
Policy = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


def random_policy(seed: int = 0) -> Policy:
    rng = np.random.default_rng(seed)
    return lambda obs, begun: rng.uniform(-1.0, 1.0, (len(obs), 7)).astype(np.float32)


def returns(env: Reach, policy: Policy, steps: int = STEPS) -> np.ndarray:
    """What each row earns in its first steps, [N]."""
    obs, _ = env.reset(seed=0)
    total = np.zeros(env.num_envs)
    for _ in range(steps):
        obs, reward, *_ = env.step(policy(obs, None))
        total += reward
    return total


def agrees(scores: np.ndarray, reference: float) -> bool:
    """Within two standard errors of the mean, and what rounding does to the reference."""
    return (
        abs(scores.mean() - reference)
        < 2 * scores.std(ddof=1) / np.sqrt(len(scores)) + 0.001 * reference
    )


# the arm


def test_the_arm_compiles_without_warnings() -> None:
    messages: list[str] = []
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(messages.append)
    try:
        model = mujoco.MjModel.from_xml_path(ARM)
    finally:
        mujoco.set_mju_user_warning(before)
    assert not messages and (model.nq, model.nv, model.nu) == (7, 7, 7) and model.jnt_limited.all()
    assert model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST)


def test_nothing_is_pierced_and_no_limit_is_passed_at_the_start() -> None:
    env = Reach(50)
    env.reset(seed=0)
    low, high = env.model.jnt_range.T
    assert (env.qpos > low).all() and (env.qpos < high).all()
    data = mujoco.MjData(env.model)
    for qpos in env.qpos:
        data.qpos[:] = qpos
        mujoco.mj_forward(env.model, data)
        assert data.contact.dist[: data.ncon].min(initial=0.0) > -1e-3  # m


@pytest.mark.parametrize(("obstacle", "shoulder_pitch"), [("table", 1.5), ("post", 2.4)])
def test_the_arm_stretched_out_hits(obstacle: str, shoulder_pitch: float) -> None:
    model = mujoco.MjModel.from_xml_path(ARM)
    data = mujoco.MjData(model)
    data.qpos[1] = shoulder_pitch
    mujoco.mj_forward(model, data)
    assert model.geom(obstacle).id in data.contact.geom[: data.ncon]


def test_the_arm_feels_its_weight() -> None:
    falls, floats = Reach(2), Reach(2, perturb="gravity=0")
    for env in (falls, floats):
        env.reset(seed=0)
        for _ in range(50):
            env.step(np.zeros((2, 7), np.float32))
    assert (np.abs(falls.qpos - falls.home).max(1) > 0.3).all() and np.abs(
        floats.qpos - floats.home
    ).max() < 0.06


# what is seen and rewarded


def test_observations_are_those_of_the_docstring() -> None:
    env = Reach(4)
    obs, _ = env.reset(seed=3)
    policy, data = random_policy(), mujoco.MjData(env.model)
    for _ in range(5):
        actions = policy(obs, None)
        states = env.qpos.copy(), env.qvel.copy()
        obs, *_ = env.step(actions)
        for i, row in enumerate(obs):
            data.qpos[:], data.qvel[:], data.ctrl[:] = states[0][i], states[1][i], actions[i]
            data.qacc_warmstart[:] = 0
            mujoco.mj_step(env.model, data)
            before = data.qvel.copy()
            mujoco.mj_step(
                env.model, data
            )  # derived fields are then those of this substep's start, as in the world
            jac = np.zeros((3, 7))
            mujoco.mj_jacSite(env.model, data, jac, None, data.site("hand").id)
            hand, goal, velocity = row[14:17], row[17:20], row[23:26]
            np.testing.assert_allclose(row[:7], data.qpos, atol=1e-5)
            np.testing.assert_allclose(row[7:14], data.qvel, atol=1e-3)
            np.testing.assert_allclose(hand, data.site("hand").xpos, atol=1e-5)
            np.testing.assert_allclose(velocity, jac @ before, atol=1e-3)
            np.testing.assert_allclose(row[20:23], goal - hand, atol=1e-6)
    assert obs.dtype == np.float32 and env.single_observation_space.is_bounded()


def test_observations_keep_their_bounds() -> None:
    env = Reach(2)
    env.reset(seed=0)
    env.qvel[0] = 100.0
    obs, *_ = env.step(np.zeros((2, 7), np.float32))
    assert (
        obs in env.observation_space
        and (np.abs(obs[0]) == MOST).any()
        and (np.abs(obs[1]) < MOST).all()
    )


def test_reward_is_the_sum_of_its_terms() -> None:
    env = Reach(3)
    env.reset(seed=0)
    actions = np.array([[0.0] * 7, [1.0] * 7, [0.5, -1.0, 0, 0, 0, 0, 0]], np.float32)
    obs, reward, _, _, info = env.step(actions)
    distance = np.linalg.norm(obs[:, 20:23], axis=1)
    np.testing.assert_allclose(info["reward_reach"], np.exp(-5 * distance), rtol=1e-5)
    np.testing.assert_allclose(info["reward_ctrl"], [0.0, -0.07, -0.0125])
    np.testing.assert_array_equal(reward, info["reward_reach"] + info["reward_ctrl"])


def test_goals_fill_the_ring_around_the_start() -> None:
    env = Reach(500)
    obs, _ = env.reset(seed=0)
    x, y, z = (obs[:, 17:20] - env.start).T
    radius = np.hypot(x, y)
    assert (
        radius.min() > RADIUS[0] - 1e-6
        and radius.max() < RADIUS[1] + 1e-6
        and np.abs(z).max() < HEIGHT + 1e-6
    )
    share = np.mean(radius < np.sqrt(np.mean(np.square(RADIUS))))  # half of the ring's area
    assert abs(share - 0.5) < 0.07 and radius.max() > 0.24 and np.abs(z).max() > 0.09
    assert all(
        abs(np.mean(quarter) - 0.25) < 0.06
        for quarter in ((x > 0) & (y > 0), (x < 0) & (y > 0), (x < 0) & (y < 0))
    )


@pytest.mark.parametrize("world", [Reach, reach_rotated])
def test_perturbations_that_draw_leave_goals_and_starts_as_they_are(world: type[Reach]) -> None:
    plain, perturbed = world(3), world(3, perturb=["gravity=0.5..1.5", "mass=1|2"])
    first, other = (env.reset(seed=5)[0] for env in (plain, perturbed))
    np.testing.assert_array_equal(first, other)


def test_threads_do_not_change_results() -> None:
    one, two = (Reach(9, nthread=nthread) for nthread in (1, 2))
    np.testing.assert_array_equal(
        returns(one, random_policy(), 30), returns(two, random_policy(), 30)
    )
    np.testing.assert_array_equal(one.state_dict()["physics"], two.state_dict()["physics"])


# the expert and random actions


def test_the_expert_reaches_every_goal_and_its_reference() -> None:
    env = Reach(200, max_episode_steps=None)
    scores, reference = returns(env, env.expert()), Reach.metadata["reference"]
    assert agrees(scores, reference["expert"])
    distance = env.step(env.expert()(env.observe(slice(None)), None))[4]["distance"]
    assert distance.max() < 1e-2  # m: all goals are within reach
    assert agrees(returns(Reach(200), random_policy()), reference["random"])


@pytest.mark.slow
@pytest.mark.parametrize("world", [Reach, reach_rotated])
def test_references_hold_over_a_thousand_episodes(world: type[Reach]) -> None:
    steps = STEPS if world is Reach else 60 * STEPS
    reference = world.metadata["reference"]
    assert agrees(returns(world(1000), world(1).expert(), steps), reference["expert"])
    assert agrees(returns(world(1000), random_policy(), steps), reference["random"])


# the visuomotor rotation


def test_the_cursor_is_the_hand_turned_about_the_start() -> None:
    """By hand: θ = 90°, the hand 0.1 m ahead of the start (+x) and moving ahead; the cursor is 0.1
    m to its left (+y).
    """
    env = reach_rotated(1)
    env.reset(seed=0)
    env.rotation[:] = np.pi / 2
    env.derived = {
        **env.derived,
        "site_xpos": (env.start + AHEAD)[None, None],
        "sensordata": np.array([[1.0, 0, 0]]),
    }
    env.derived["mocap_pos"][0, 0] = env.start + LEFT
    obs = env.observe(slice(None))[0]
    np.testing.assert_allclose(obs[14:17], env.start + LEFT, atol=1e-6)
    np.testing.assert_allclose(
        obs[20:23], 0.0, atol=1e-6
    )  # the goal is where it is seen, and the cursor is there
    np.testing.assert_allclose(obs[23:26], [0.0, 1.0, 0.0], atol=1e-6)
    assert env.evaluate(np.zeros((1, 7)), env.qpos)[0] == pytest.approx(1.0)


def test_rotations_change_every_twenty_trials_and_the_arm_starts_each_anew() -> None:
    env = reach_rotated(3, trials=2 * BLOCK + 1)
    obs, _ = env.reset(seed=0)
    rotations, goals, zero = [], [obs[:, 17:20]], np.zeros((3, 7), np.float32)
    for t in range(1, env.trials * STEPS + 1):
        obs, _, terminated, truncated, info = env.step(zero)
        assert (terminated == (t == env.trials * STEPS)).all() and not truncated.any()
        assert (info["trial"] == (t - 1) // STEPS).all()
        if t % STEPS == 0:
            rotations.append(info["rotation"])
            goals.append(obs[:, 17:20])
            at_start = (
                np.abs(obs[:, :7] - env.home).max() <= START_NOISE + 1e-6 and not obs[:, 7:14].any()
            )
            at_start &= np.abs(obs[:, 14:17] - env.start).max() < 0.1 and not obs[:, 23:26].any()
            assert at_start == (
                t < env.trials * STEPS
            )  # the last observation is what the last trial led to
            assert (info["distance"] > 0.02).all()  # of the trial that ended: nobody moves this arm
    blocks = np.stack(rotations)[::BLOCK]
    np.testing.assert_array_equal(np.stack(rotations), blocks.repeat(BLOCK, 0)[: env.trials])
    assert (
        len(np.unique(blocks)) == 9 and (np.sign(blocks) < 0).any() and (np.sign(blocks) > 0).any()
    )
    assert (np.abs(blocks) >= ROTATION[0]).all() and (np.abs(blocks) <= ROTATION[1]).all()
    assert len(np.unique(np.stack(goals[:-1]), axis=0)) == env.trials
    with pytest.raises(ValueError, match="trials is 0"):
        reach_rotated(1, trials=0)


def test_a_static_policy_loses_half_and_one_that_sees_the_rotation_nothing() -> None:
    random, best = Reach.metadata["reference"].values()
    adapting = returns(reach_rotated(40, trials=2), reach_rotated(1).expert(), 2 * STEPS).mean() / 2
    static = returns(reach_rotated(40, trials=2), Reach(1).expert(), 2 * STEPS).mean() / 2
    assert adapting > best - 0.5 and 0.25 < (static - random) / (best - random) < 0.5


def test_a_loaded_state_meets_the_same_rotations() -> None:
    env, copy = reach_rotated(2, trials=BLOCK + 2), reach_rotated(2, trials=BLOCK + 2)
    env.reset(seed=0)
    actions = random_policy()
    for _ in range(BLOCK * STEPS - 2):
        env.step(actions(np.zeros((2, 26)), None))
    copy.load_state_dict(env.state_dict())
    before = env.rotation.copy()
    for _ in range(20):
        action = actions(np.zeros((2, 26)), None)
        for ours, theirs in zip(env.step(action)[:4], copy.step(action)[:4], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert (env.rotation != before).all()
    np.testing.assert_array_equal(env.rotation, copy.rotation)


@pytest.mark.skipif(
    not can_render(), reason="no OpenGL here: apt-get install libegl1 libgl1-mesa-dri"
)
def test_pictures_show_the_cursor_and_change_nothing() -> None:
    env = reach_rotated(1, render_mode="rgb_array", width=120, height=80)
    env.reset(seed=0)
    for _ in range(15):
        env.step(reach_rotated(1).expert()(env.observe(slice(None)), None))
    before = env.state_dict()["physics"]
    turned = env.render()[0].astype(int)
    env.rotation[:] = 0.0
    assert (np.abs(turned - env.render()[0]) > 60).any()
    np.testing.assert_array_equal(before, env.state_dict()["physics"])
    env.close()
