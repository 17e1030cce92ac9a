"""Robots that break: every perturbation acts where, when and as long as it was asked to, and leaves
no trace.
"""

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import bio_rl  # registers the ids
from bio_rl.envs.control.cart_pole import CartPole
from bio_rl.envs.control.pendulum import Pendulum
from bio_rl.envs.robotics.half_cheetah import HalfCheetah
from bio_rl.envs.robotics.hopper import Hopper
from bio_rl.envs.robotics.inverted_double_pendulum import InvertedDoublePendulum
from bio_rl.envs.robotics.inverted_pendulum import InvertedPendulum
from bio_rl.testing import check_vector_env
from bio_rl.vector.native import NativeVectorEnv
from bio_rl.vector.perturb import constants, physics, signals
from bio_rl.vector.perturb.effect import Effect
from bio_rl.vector.perturb.text import Perturbation, Schedule, Value, parse

N, T = 3, 24
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (60, N, 6)).astype(np.float32)
EVERY = {  # one of each kind, all from step 8 on
    "gravity": "gravity=0.3@8",
    "mass": "mass:torso=2@8",
    "friction": "friction=0.1@8",
    "gear": "gear:bthigh+fshin=-1@8",
    "gear_drift": "gear_drift=-0.05@8",
    "wind": "wind=20@8",
    "lock": "lock:bthigh+fshin@8",
    "length": "length:bshin+bfoot=0.5@8",
    "push": "push:torso.x=30@8",
    "obs_noise": "obs_noise:0-7=0.1@8",
    "obs_dropout": "obs_dropout:3=0.9@8",
    "obs_delay": "obs_delay=2@8",
    "obs_permutation": "obs_permutation@8",
    "action_delay": "action_delay=3@8",
    "action_permutation": "action_permutation@8",
}
SENSED = ("obs_noise", "obs_dropout", "obs_delay", "obs_permutation")


def lives(
    perturb: Any, steps: int = T, seed: int = 0, env: NativeVectorEnv | None = None
) -> np.ndarray:
    """Observations and rewards [steps, N, 18] of cheetahs under fixed actions."""
    env = env or HalfCheetah(N, nthread=1, perturb=perturb)
    env.reset(seed=seed)
    return np.stack([np.column_stack(env.step(a)[:2]) for a in ACTIONS[:steps]])


def only_in(row: int, text: str, monkeypatch: pytest.MonkeyPatch) -> HalfCheetah:
    """Cheetahs of which one alone meets the perturbation: in the others its value is the neutral
    one.
    """
    env = HalfCheetah(N, nthread=1, perturb=text)
    (effect,) = env.layer.effects
    amount, draws = effect.range.low, iter(range(10**6))
    neutral = type(
        "Range",
        (),
        {"draw": lambda self, rng, whole: amount if next(draws) % N == row else effect.neutral},
    )
    monkeypatch.setattr(effect, "range", neutral())
    return env


PLAIN = lives(())


def test_every_kind_is_tried_here() -> None:
    assert EVERY.keys() == physics.KINDS.keys() | signals.KINDS.keys()


# where and when


@pytest.mark.parametrize("name", EVERY)
def test_it_acts_from_its_step_on_and_in_its_row_only(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = lives(None, env=only_in(1, EVERY[name], monkeypatch))
    others = [0, 2]
    np.testing.assert_array_equal(seen[:, others], PLAIN[:, others])
    np.testing.assert_array_equal(seen[:8, 1], PLAIN[:8, 1])
    differs = (seen[:, 1] != PLAIN[:, 1]).any(1)
    assert differs[8:10].any() and differs[8:].sum() > 10  # from this step or the next to the end
    if name in SENSED:  # the world itself goes on as if nothing were
        np.testing.assert_array_equal(seen[..., -1], PLAIN[..., -1])


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"push"}))
def test_undoing_it_restores_the_very_dynamics(name: str) -> None:
    """On for steps 8 to 15; then the state of an unperturbed life is put back, which must go on as
    that one does.
    """
    env, plain = (
        HalfCheetah(N, nthread=1, perturb=EVERY[name].replace("@8", "@every:8")),
        HalfCheetah(N, nthread=1),
    )
    for e in (env, plain):
        e.reset(seed=0)
    for t in range(T):
        if (
            t == 17 + (name == "obs_delay") * 3 + (name == "action_delay") * 3
        ):  # its buffers have filled again
            assert not env.layer.info(slice(None))["perturbed"].any()
            assert (env.batch.state != plain.batch.state).any() or name in SENSED
            env.batch.state[:] = plain.batch.state
        obs, expected = env.step(ACTIONS[t])[:2], plain.step(ACTIONS[t])[:2]
    np.testing.assert_array_equal(obs[0], expected[0])
    np.testing.assert_array_equal(obs[1], expected[1])


def test_fields_are_the_models_own_again_after_an_episode() -> None:
    texts = [
        text.replace("@8", "")
        for name, text in EVERY.items()
        if name in physics.KINDS and name != "length"
    ]
    env = HalfCheetah(
        N, nthread=1, max_episode_steps=5, perturb=[*texts[:-1], "length:bfoot=0.5|0.5"]
    )
    env.reset(seed=0)
    for e in env.layer.effects:
        assert (e.amount != e.neutral).all()
        e.range = Value(e.neutral, e.neutral)
    env.reset()
    for i in range(N):
        model = env.batch.get_model(i)
        for name in dir(model):
            value = getattr(model, name)
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(env.model, name), err_msg=name)


@pytest.mark.parametrize(
    ("schedule", "on"),
    [
        ("", range(20)),
        ("@3", range(3, 20)),
        ("@every:4", [4, 5, 6, 7, 12, 13, 14, 15]),
        ("@life:7", range(7, 20)),
    ],
)
def test_schedules_fire_when_they_say(schedule: str, on: Any) -> None:
    env = HalfCheetah(1, perturb=f"gravity=0.5{schedule}", autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset(seed=0)
    acted = [t for t in range(20) if env.step(ACTIONS[t][:1])[4]["perturbed"][0]]
    assert acted == list(on)


def test_a_life_spans_episodes_and_ends_with_a_new_seed() -> None:
    env = HalfCheetah(
        1,
        perturb=["gravity=0.5@life:7"],
        max_episode_steps=5,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    for seed in (0, 1):
        env.reset(seed=seed)
        assert [t for t in range(12) if env.step(ACTIONS[t][:1])[4]["perturbed"][0]] == list(
            range(7, 12)
        )
    env.reset()
    assert env.step(ACTIONS[0][:1])[4]["perturbed"][0]


def test_a_ramp_is_linear_and_a_hazard_strikes_once_at_its_rate() -> None:
    env = HalfCheetah(1, perturb="gravity=0@ramp:4-8")
    env.reset(seed=0)
    seen = []
    for t in range(10):
        env.step(ACTIONS[t][:1])
        seen.append(env.batch.expand("opt.gravity")[0, 2] / -9.81)
    np.testing.assert_allclose(seen, [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0], atol=1e-15)
    many = InvertedPendulum(400, perturb="gravity=0@hazard:0.25")
    many.reset(seed=0)
    on = np.stack(
        [
            many.layer.advance(np.zeros((400, 1)), None) is not None and many.layer.effects[0].fired
            for _ in "ab"
        ]
    )
    assert (
        abs(on[1].mean() - 0.4375) < 0.1 and not (on[0] & ~on[1]).any()
    )  # 1 - 0.75², and what failed stays so


def test_pushes_come_every_k_steps_and_last_one() -> None:
    env = HalfCheetah(1, perturb=["push:torso.z=5@every:4", "push:torso.x=-2@6"])
    env.reset(seed=0)
    force = []
    for t in range(10):
        env.step(ACTIONS[t][:1])
        force.append(env.batch.bind("xfrc_applied")[0, 1, :3].copy())
    expected = np.zeros((10, 3))
    expected[[4, 8], 2], expected[6, 0] = 5 / env.dt, -2 / env.dt
    np.testing.assert_array_equal(force, expected)


# how much


def test_factors_multiply_the_nominal_values() -> None:
    env = HalfCheetah(
        2,
        perturb=[
            "mass:torso=2",
            "mass=3",
            "gear:bthigh=-0.5",
            "gear_drift:bthigh=-0.5@1",
            "friction=0.5",
        ],
    )
    env.reset(seed=0)
    for t in range(3):
        env.step(ACTIONS[t][:2])
    model = env.batch.get_model(1)
    np.testing.assert_array_equal(model.body_mass[1:3] / env.model.body_mass[1:3], [6, 3])
    np.testing.assert_array_equal(
        model.actuator_gear[:2, 0] / env.model.actuator_gear[:2, 0], [-0.5 * 0.25, 1]
    )
    np.testing.assert_array_equal(model.geom_friction, env.model.geom_friction / 2)
    assert (
        model.body_subtreemass[0] / env.model.body_subtreemass[0]
    ) > 3  # what follows from mass has followed


def test_each_row_and_episode_draws_its_own_value_from_its_generator() -> None:
    def drawn(env: HalfCheetah, seed: int | None) -> np.ndarray:
        env.reset(seed=seed)
        return env.layer.effects[0].value.copy()

    env = HalfCheetah(4, perturb="gravity=0.5..1.5")
    first, again = drawn(env, 0), drawn(env, None)
    assert len(set(first) | set(again)) == 8 and (first >= 0.5).all() and (first <= 1.5).all()
    np.testing.assert_array_equal(drawn(env, 0), first)
    np.testing.assert_array_equal(drawn(HalfCheetah(1, perturb="gravity=0.5..1.5"), 2)[0], first[2])
    start = HalfCheetah(4)
    np.testing.assert_array_equal(
        start.reset(seed=0)[0], env.reset(seed=0)[0]
    )  # the start states are those of before
    assert set(drawn(HalfCheetah(40, perturb="lock:bthigh=0|1"), 0)) == {0.0, 1.0}
    assert set(drawn(HalfCheetah(40, perturb="obs_delay=1..3"), 0)) == {1.0, 2.0, 3.0}


def test_a_locked_joint_holds_its_angle() -> None:
    env = HalfCheetah(2, perturb="lock:bshin@5")
    env.reset(seed=0)
    joint = env.model.joint("bshin").qposadr[0]
    for t in range(60):
        if t == 12:
            held = env.qpos[:, joint].copy()
        env.step(np.sign(ACTIONS[t % 60, :2]))
    assert np.abs(env.qpos[:, joint] - held).max() < 0.02 and (held[0] != held[1])


def test_a_limb_of_another_length_is_what_the_compiler_makes_of_it() -> None:
    """Hopper's leg, 0.5 m of capsule below its joint, halved: the foot hangs 0.25 m higher, the
    mass falls by volume.
    """
    env = Hopper(2, perturb="length:leg=0.5", reset_noise_scale=0.0)
    env.reset(seed=0)
    model, nominal = env.batch.get_model(1), env.model
    heights = []
    for m in (model, nominal):
        data = mujoco.MjData(m)
        mujoco.mj_forward(m, data)
        heights.append(data.geom("foot_geom").xpos[2] - data.body("torso").xpos[2])
    assert heights[0] - heights[1] == pytest.approx(0.25)
    radius = nominal.geom("leg_geom").size[0]
    assert model.body("leg").mass[0] / nominal.body("leg").mass[0] == pytest.approx(
        (0.25 + 4 / 3 * radius) / (0.5 + 4 / 3 * radius)
    )
    assert model.body("foot").mass == nominal.body("foot").mass
    double = InvertedDoublePendulum(
        1, perturb="length:pole2=0.5", reset_noise_scale=0.0
    )  # what it observes is its tip
    double.reset(seed=0)
    assert double.derived["site_xpos"][0, 0, 2] == pytest.approx(0.6 + 0.3)


def test_delays_are_exact() -> None:
    late, plain = HalfCheetah(N, nthread=1, perturb="obs_delay=2"), HalfCheetah(N, nthread=1)
    seen, true = [late.reset(seed=0)[0]], [plain.reset(seed=0)[0]]
    for a in ACTIONS[:8]:
        seen.append(late.step(a)[0])
        true.append(plain.step(a)[0])
    np.testing.assert_array_equal(seen, [true[0], true[0], *true[:-2]])
    late = HalfCheetah(N, nthread=1, perturb="action_delay=2")
    late.reset(seed=0)
    plain.reset(seed=0)
    zero = np.zeros_like(ACTIONS[0])
    for a, delivered in zip(ACTIONS[:8], [zero, zero, *ACTIONS[:6]], strict=True):
        (obs, reward, *_), (expected, of_delivered, *_) = late.step(a), plain.step(delivered)
        np.testing.assert_array_equal(obs, expected)
        cost = 0.1 * (
            np.square(delivered).sum(1) - np.square(a).sum(1)
        )  # effort counts as it was commanded
        np.testing.assert_allclose(reward, of_delivered + cost, atol=1e-5)


def test_signals_do_what_they_say() -> None:
    env = HalfCheetah(
        N, nthread=1, perturb=["obs_permutation:0-3", "obs_dropout:5+7", "obs_noise:8=0.5"]
    )
    plain = HalfCheetah(N, nthread=1)
    seen, true = env.reset(seed=0)[0], plain.reset(seed=0)[0]
    np.testing.assert_array_equal(np.sort(seen[:, :4]), np.sort(true[:, :4]))
    assert (
        (seen[:, :4] != true[:, :4]).any()
        and not seen[:, [5, 7]].any()
        and (seen[:, 8] != true[:, 8]).all()
    )
    np.testing.assert_array_equal(seen[:, [4, 6, *range(9, 17)]], true[:, [4, 6, *range(9, 17)]])
    noisy = HalfCheetah(1, perturb="obs_noise:0=0.5")
    noisy.reset(seed=0)
    plain = noisy.observe(slice(None))[0, 0]
    draws = np.array(
        [
            noisy.layer.observe(noisy.observe(slice(None)), slice(None))[0, 0] - plain
            for _ in range(2000)
        ]
    )
    assert abs(draws.mean()) < 0.05 and abs(draws.std() - 0.5) < 0.04


# classic control


def test_constants_of_a_cart_pole_change_in_their_row_only_and_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for text in ("gravity=3", "mass:pole=5", "mass:cart=0.2", "mass=2", "length=2", "force=-1"):
        plain, env = CartPole(N), CartPole(N, perturb=f"{text}@every:4")
        effect = env.layer.effects[0]
        for e in (plain, env):
            e.reset(seed=0)
        effect.value[[0, 2]] = 1.0
        for t in range(12):
            if t == 8:
                env.physics[:] = plain.physics
            a = ACTIONS[t, :, 0] > 0
            obs, expected = env.step(a.astype(int))[0], plain.step(a.astype(int))[0]
            np.testing.assert_array_equal(obs[[0, 2]], expected[[0, 2]])
            assert (obs[1] != expected[1]).any() == (4 < t < 8 or t == 4), (text, t)


def test_a_force_turned_around_is_the_other_action() -> None:
    plain, env = CartPole(N), CartPole(N, perturb="force=-1")
    torque, turned = Pendulum(N), Pendulum(N, perturb=["force=-2", "length=0.5@3"])
    for e in (plain, env, torque, turned):
        e.reset(seed=0)
    for t in range(8):
        a = (ACTIONS[t, :, 0] > 0).astype(int)
        np.testing.assert_array_equal(env.step(a)[0], plain.step(1 - a)[0])
        u = ACTIONS[t, :, :1]
        same = turned.step(u)[0] == torque.step(-2 * u)[0]
        assert same.all() == (t < 3)


@pytest.mark.parametrize(
    "env_id", ["bio_rl/CartPole-v1", "bio_rl/MaskedCartPole-v0", "bio_rl/Pendulum-v1"]
)
def test_classic_control_holds_the_contract_under_perturbation(env_id: str) -> None:
    perturb = [
        "force=-1..1@3",
        "gravity=2@ramp:1-6",
        "obs_noise=0.3",
        "obs_delay=2@hazard:0.2",
        "action_delay=2",
        "length=1|3",
    ]
    check_vector_env(env_id, max_episode_steps=9, perturb=perturb)
    if "Pendulum" not in env_id:  # poles fall at different times
        check_vector_env(
            env_id, max_episode_steps=30, perturb=["action_delay=2", "obs_delay=1", "force=1..1.5"]
        )
        check_vector_env(
            env_id, max_episode_steps=9, perturb=["action_permutation@every:2", "obs_permutation"]
        )
    with pytest.raises(ValueError, match="did you mean 'force'"):
        gym.make_vec(env_id, perturb=["fource=2"])


# contracts


ALL_AT_ONCE = [text.replace("@8", "@2") for text in EVERY.values()] + [
    "gear=0.8..1.2@hazard:0.2",
    "mass=2@ramp:1-4",
]


@pytest.mark.parametrize(
    "perturb", [ALL_AT_ONCE, ["gear:bthigh=-1..1", "lock:fshin=0|1", "gravity=2@life:9"]]
)
def test_vector_contract_under_perturbation(perturb: list[str]) -> None:
    check_vector_env("bio_rl/HalfCheetah-v5", max_episode_steps=7, perturb=perturb)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_resume_continues_bitwise(mode: AutoresetMode) -> None:
    settings = {
        "max_episode_steps": 11,
        "autoreset_mode": mode,
        "nthread": 1,
        "perturb": ALL_AT_ONCE,
    }
    env, copy = HalfCheetah(N, **settings), HalfCheetah(N, **settings)
    env.reset(seed=0)
    copy.reset(seed=5)

    def go(e: HalfCheetah, start: int, stop: int) -> list[np.ndarray]:
        seen = []
        for t in range(start, stop):
            obs, reward, _, truncated, info = e.step(ACTIONS[t])
            seen.append(np.column_stack((obs, reward, info["perturbed"])))
            if mode is AutoresetMode.DISABLED and truncated.any():
                seen.append(e.reset(options={"reset_mask": truncated})[0])
        return seen

    go(env, 0, 17)
    go(copy, 0, 5)
    copy.load_state_dict(env.state_dict())
    for a, b in zip(go(env, 17, 50), go(copy, 17, 50), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_row_that_begins_anew_leaves_the_others_alone() -> None:
    envs = [
        HalfCheetah(N, nthread=1, autoreset_mode=AutoresetMode.DISABLED, perturb=ALL_AT_ONCE)
        for _ in "ab"
    ]
    for e in envs:
        e.reset(seed=0)
    for t in range(12):
        a, b = (e.step(ACTIONS[t])[0] for e in envs)
        np.testing.assert_array_equal(a[1:], b[1:])
        assert (a[0] != b[0]).any() == (t > 5)
        if t == 5:
            envs[1].reset(options={"reset_mask": np.arange(N) == 0})


def test_nothing_asked_is_nothing_done() -> None:
    for perturb in ((), []):
        env = HalfCheetah(2, perturb=perturb)
        assert env.layer is None and not env.batch._expanded
    assert not isinstance(
        gym.make("bio_rl/HalfCheetah-v5").unwrapped, bio_rl.vector.single.SingleEnv
    )
    single = gym.make("bio_rl/HalfCheetah-v5", perturb=["gravity=0.5"])
    assert single.reset(seed=0)[1]["perturbed"]


# words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gravity=0.5", Perturbation("gravity", Value(0.5, 0.5))),
        ("mass:torso=2@300", Perturbation("mass", Value(2, 2), "torso", Schedule("at", 300))),
        (
            "friction=0.2@ramp:100-300",
            Perturbation("friction", Value(0.2, 0.2), "", Schedule("ramp", 100, 300)),
        ),
        (
            "lock:bthigh@hazard:0.005",
            Perturbation("lock", None, "bthigh", Schedule("hazard", 0.005)),
        ),
        (
            "gear:a+b=-1@every:200",
            Perturbation("gear", Value(-1, -1), "a+b", Schedule("every", 200)),
        ),
        ("gear=0.5..1.5", Perturbation("gear", Value(0.5, 1.5))),
        ("length:bfoot=1|0.5", Perturbation("length", Value(0.5, 1, (1, 0.5)), "bfoot")),
    ],
)
def test_grammar(text: str, expected: Perturbation) -> None:
    assert parse(text) == expected and str(expected) == text and parse(expected) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "incomplete, expected NAME"),
        ("gravity=", "incomplete"),
        ("gear:=2", "incomplete"),
        ("gravity=0.5@", "incomplete"),
        ("gravity=low", "'low' is no number"),
        ("gravity=nan", "not finite"),
        ("gravity=2..1", "the lower bound comes first"),
        ("gravity=0.5@evry:5", "did you mean 'every'"),
        ("gravity=0.5@ramp:5", "expected ramp:FROM-TO"),
        ("gravity=0.5@ramp:5-5", "with TO the later step"),
        ("gravity=0.5@hazard:2", "expected a probability"),
        ("gravity=0.5@2.5", "whole number of steps"),
        ("gravity=0.5@every:0", "whole number of steps"),
        ("gravty=0.5", "did you mean 'gravity'"),
        ("gravity", "needs a value"),
        ("gravity:torso=1", "takes no target"),
        ("mass:torsoo=2", "no body called 'torsoo'; did you mean 'torso'"),
        ("gear:bthig=2", "no actuator called 'bthig'; did you mean 'bthigh'"),
        ("lock:bthgh", "no joint called 'bthgh'; did you mean 'bthigh'"),
        ("friction:flor=2", "no geom called 'flor'; did you mean 'floor'"),
        ("push:torso.w=2", "no axis called 'w'"),
        ("mass=-1", "expected a number from 0.001"),
        ("mass=1..2000", "the value is 2000"),
        ("obs_delay=1.5", "expected a whole number"),
        ("obs_dropout=1.5", "from 0 to 1"),
        ("obs_noise:17=0.1", "there are 0 to 16"),
        ("lock", "lock needs a joint"),
        ("lock:bthigh@ramp:1-2", "cannot come gradually"),
        ("gravity=0.5@1000", "episodes end after 1000"),
        ("friction:bfoot=0.5", "changes nothing: a contact takes the larger friction"),
    ],
)
def test_bad_input_is_refused_at_construction(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        HalfCheetah(1, perturb=[text])


def test_what_cannot_act_on_a_model_or_together_is_refused() -> None:
    with pytest.raises(ValueError, match="ever in a contact with friction"):
        InvertedPendulum(1, perturb="friction=0.5")
    for name in ("Swimmer", "Reacher"):  # they move in a horizontal plane
        with pytest.raises(ValueError, match="gravity moves none of the joints"):
            gym.make_vec(f"bio_rl/{name}-v5", perturb="gravity=0.5")
    with pytest.raises(ValueError, match="at least two channels, here there is 1"):
        InvertedPendulum(1, perturb="action_permutation")
    with pytest.raises(ValueError, match="cannot be combined: both set the lock of 'bthigh'"):
        HalfCheetah(1, perturb=["lock:bthigh", "lock:bfoot+bthigh@5"])
    with pytest.raises(ValueError, match="only hinges and slides can be locked"):
        physics.Lock(_world_with_a_free_joint(), parse("lock:root"))


def _world_with_a_free_joint() -> Any:
    body = "<body><freejoint name='root'/><geom size='1'/></body>"
    xml = f"<mujoco><worldbody>{body}</worldbody></mujoco>"
    return type(
        "World",
        (),
        {"model": mujoco.MjModel.from_xml_string(xml), "num_envs": 1, "max_episode_steps": None},
    )()


def test_effects_document_themselves() -> None:
    for name, kind in [*physics.KINDS.items(), *signals.KINDS.items(), *constants.KINDS.items()]:
        # the form in which an effect is typed comes first, some as code
        assert issubclass(kind, Effect) and (kind.__doc__ or "").lstrip("`").startswith(name)
