"""No silent wrong number between a world and its learner: what comes in, what goes out, seeds,
memory, copies, divergence.
"""

from __future__ import annotations

import copy
import pickle
import threading

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics

import bio_rl
import tests.worlds  # noqa: F401  (registers the ids, as a user does by naming the module)
from bio_rl import seeding, vector
from bio_rl.faults import DivergedError, EnvironmentCrashedError, FaultyEnvironmentError
from bio_rl.machine import trust
from bio_rl.rl.observations import for_space
from bio_rl.training import api, config
from bio_rl.training.runner import Runner
from bio_rl.vector import Vector, coding
from bio_rl.vector.guard import Guarded

TOP = float(np.finfo(np.float32).max)
INF = float("inf")


# ---------------------------------- what goes out


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Box(-2.0, 2.0, (2,), np.float32),
        gym.spaces.Box(0.0, INF, (2,), np.float32),
        gym.spaces.Box(-INF, 0.0, (2,), np.float32),
        gym.spaces.Box(-INF, INF, (2,), np.float32),
        gym.spaces.Box(np.array([-0.1, -INF], np.float32), np.array([0.1, INF], np.float32)),
        gym.spaces.Box(-TOP, TOP, (2,), np.float32),
        gym.spaces.Box(0.0, TOP, (2,), np.float32),
        gym.spaces.Box(-3e38, 3e38, (2,), np.float32),
        gym.spaces.Box(-4e4, 4e4, (2,), np.float16),
        gym.spaces.Box(-65504.0, 65504.0, (2,), np.float16),
        gym.spaces.Box(-1e308, 1.7e308, (2,), np.float64),
        gym.spaces.Box(0.1, 0.3, (2,), np.float32),
        gym.spaces.Box(-1e-45, 1e-45, (2,), np.float32),
        gym.spaces.Box(1.0, 1.0, (2,), np.float32),
        gym.spaces.Box(0, 255, (2,), np.uint8),
        gym.spaces.Box(-3, 7, (2,), np.int64),
        gym.spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (2,), np.int64),
    ],
    ids=str,
)
@pytest.mark.parametrize("policy", [-1e30, -1.5, -1.0, -0.3, 0.0, 0.7, 1.0, 1.5, 1e30])
def test_every_action_that_leaves_the_adapter_lies_in_its_space(space, policy):
    action = coding.decoder(space)(np.full((3, 2), policy, np.float32))
    assert action.shape == (3, 2) and np.isfinite(action.astype(np.float64)).all()
    for row in action:
        assert space.contains(row.astype(space.dtype)), (row, space)


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Discrete(3, start=-4),
        gym.spaces.MultiDiscrete([3, 2], start=[-1, 5]),
        gym.spaces.MultiBinary(2),
    ],
    ids=str,
)
def test_choices_that_leave_the_adapter_lie_in_their_space(space):
    chosen = np.ones((2, *space.shape), np.int64) if space.shape else np.array([0, 2])
    assert all(space.contains(row) for row in coding.decoder(space)(chosen))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_no_number_is_the_policys_fault_and_never_reaches_the_world(bad):
    env = vector.make("Pendulum-v1", 3)
    env.reset(0)
    with pytest.raises(DivergedError, match="environment 1 at step 0"):
        env.step(torch.tensor([[0.0], [bad], [0.0]]))


# ---------------------------------- what comes in


SAME = object()
"""Stands for what was shown first."""


class Shows(gym.Env):
    """Shows what it is told to: `first` at a reset, `later` at a step. Episodes end after three
    steps.
    """

    action_space = gym.spaces.Discrete(2)

    def __init__(self, space, first, later=SAME, reward=1.0, resets=0):
        self.observation_space, self.first, self.later = (
            space,
            first,
            first if later is SAME else later,
        )
        self.reward, self.resets = reward, resets

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.resets -= 1
        return self.first, {}

    def step(self, action):
        self.t += 1
        return self.later, self.reward, False, self.t >= 3, {}


def shows(*arguments, n=2, mode=AutoresetMode.SAME_STEP, **named) -> Vector:
    return Vector(
        SyncVectorEnv([lambda: Guarded(Shows(*arguments, **named))] * n, autoreset_mode=mode)
    )


FLOATS = gym.spaces.Box(-INF, INF, (2,), np.float32)
DOUBLES = gym.spaces.Box(-INF, INF, (2,), np.float64)


def first_and_two_steps(env: Vector) -> None:
    env.reset(0)
    for _ in range(4):
        env.step(torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=str)
@pytest.mark.parametrize("when", ["reset", "step"])
@pytest.mark.parametrize(
    "space",
    [FLOATS, DOUBLES, gym.spaces.Dict(a=FLOATS, b=DOUBLES)],
    ids=["float32", "float64", "Dict"],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39, 1.7e308])
def test_numbers_that_no_network_can_take_are_refused_wherever_they_come_from(
    mode, when, space, bad
):
    fine = (
        {"a": np.zeros(2), "b": np.zeros(2)} if isinstance(space, gym.spaces.Dict) else np.zeros(2)
    )
    wrong = (
        {"a": np.zeros(2), "b": np.array([0.0, bad])}
        if isinstance(fine, dict)
        else np.array([0.0, bad])
    )
    env = (
        shows(space, wrong, fine, mode=mode)
        if when == "reset"
        else shows(space, fine, wrong, mode=mode)
    )
    with np.errstate(over="ignore"), pytest.raises(FaultyEnvironmentError, match="NaN or infinite"):
        first_and_two_steps(env)


@pytest.mark.parametrize("bad", [np.nan, -np.inf, -1e39])
def test_rewards_that_no_network_can_take_are_refused(bad):
    with pytest.raises(FaultyEnvironmentError, match="the reward of environment 0"):
        first_and_two_steps(shows(FLOATS, np.zeros(2), reward=bad))


@pytest.mark.parametrize("largest", [TOP, -TOP, 1e20])
def test_large_numbers_that_fit_are_taken(largest):
    env = shows(FLOATS, np.array([largest, largest], np.float32))
    assert env.reset(0)[0, 0] == torch.tensor(largest)


@pytest.mark.parametrize(
    ("space", "obs", "said"),
    [
        (FLOATS, np.zeros(3), r"float64 of shape \[3\], expected float32 of shape \[2\]"),
        (FLOATS, np.zeros((1, 2)), "expected float32"),
        (FLOATS, 0.0, "expected float32"),
        (FLOATS, None, "a NoneType, expected float32"),
        (FLOATS, "left", "a str, expected float32"),
        (FLOATS, np.array(["a", "b"]), "expected float32"),
        (FLOATS, np.zeros(2, complex), "expected float32"),
        (FLOATS, [[0.0], [1.0, 2.0]], "a list, expected float32"),
        (gym.spaces.Box(0, 9, (2,), np.int64), np.array([0.5, 1.0]), "expected int64"),
        (gym.spaces.Box(0, 255, (2,), np.uint8), np.array([0, 300]), "beyond uint8, from 0 to 300"),
        (gym.spaces.Box(0, 255, (2,), np.uint8), np.array([-1, 3]), "beyond uint8"),
        (gym.spaces.Discrete(5, start=1), 6, r"6, outside its space Discrete\(5, start=1\)"),
        (gym.spaces.Discrete(5), -1, "outside its space"),
        (gym.spaces.Discrete(5), 1.5, "expected int64"),
        (gym.spaces.MultiDiscrete([2, 3]), np.array([0, 3]), "outside its space"),
        (gym.spaces.MultiBinary(2), np.array([0, 2]), "outside its space"),
        (
            gym.spaces.Dict(a=FLOATS),
            {"b": np.zeros(2)},
            r"the keys \['b'\], expected the keys \['a'\]",
        ),
        (gym.spaces.Dict(a=FLOATS), np.zeros(2), r"expected the keys \['a'\]"),
        (gym.spaces.Dict(a=FLOATS), {"a": np.zeros(3)}, "'a' is float64"),
    ],
    ids=str,
)
@pytest.mark.parametrize("when", ["reset", "step"])
def test_an_observation_of_another_form_is_said_as_field_expected_and_got(space, obs, said, when):
    fine = space.sample()
    env = shows(space, obs, fine) if when == "reset" else shows(space, fine, obs)
    with pytest.raises(FaultyEnvironmentError, match=said):
        first_and_two_steps(env)


class Returns(Shows):
    """Returns what it is told from `reset` or `step`."""

    def __init__(self, what, value):
        super().__init__(FLOATS, np.zeros(2, np.float32))
        self.what, self.value = what, value

    def reset(self, *, seed=None, options=None):
        return self.value if self.what == "reset" else super().reset(seed=seed)

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.what == "step":
            return self.value
        fields = {"reward": reward, "terminated": terminated, "truncated": truncated, "info": info}
        fields |= {self.what: self.value} if self.what in fields else {}
        return obs, *fields.values()


@pytest.mark.parametrize(
    ("what", "value", "said"),
    [
        (
            "reset",
            np.zeros(2, np.float32),
            r"reset\(\) returned float32 of shape \[2\], expected \(observation, info\)",
        ),
        ("reset", (np.zeros(2, np.float32), None), "the info is a NoneType, expected a dictionary"),
        ("step", (np.zeros(2, np.float32), 1.0, False, {}), r"step\(\) returned a tuple of 4"),
        ("step", None, r"step\(\) returned a NoneType"),
        ("reward", None, "the reward is a NoneType, expected a number"),
        ("reward", "1", "the reward is a str"),
        ("reward", np.zeros(2), r"the reward is float64 of shape \[2\]"),
        ("terminated", None, "terminated is a NoneType, expected True or False"),
        ("truncated", 2, r"truncated is 2 \(int\)"),
        ("info", ["a"], "the info is a list"),
    ],
)
def test_what_a_world_does_against_gymnasiums_interface_is_said(what, value, said):
    env = Vector(
        SyncVectorEnv(
            [lambda: Guarded(Returns(what, value))] * 2, autoreset_mode=AutoresetMode.SAME_STEP
        )
    )
    with pytest.raises(FaultyEnvironmentError, match=said):
        first_and_two_steps(env)


class Batch(VectorEnv):
    """A vectorised world of two rows that returns what it is told to."""

    def __init__(self, mode=AutoresetMode.NEXT_STEP, **told):
        self.num_envs, self.metadata, self.told = 2, {"autoreset_mode": mode}, told
        self.single_observation_space, self.single_action_space = FLOATS, gym.spaces.Discrete(2)
        self.observation_space = batch_space(FLOATS, 2)
        self.action_space = batch_space(self.single_action_space, 2)

    def reset(self, *, seed=None, options=None):
        return self.told.get("first", np.zeros((2, 2), np.float32)), {}

    def step(self, actions):
        fine = {
            "obs": np.zeros((2, 2), np.float32),
            "reward": np.zeros(2),
            "ends": np.zeros(2, bool),
        }
        obs, reward, ends = (self.told.get(name, value) for name, value in fine.items())
        return self.told.get("whole", (obs, reward, ends, np.zeros(2, bool), {}))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"first": np.zeros((3, 2), np.float32)}, r"shape \[2, 2\]"),
        ({"first": [0, 1]}, "a list"),
        (
            {"obs": np.zeros((2, 3), np.float32)},
            r"float32 of shape \[2, 3\], expected numbers of shape \[2, 2\]",
        ),
        ({"reward": np.zeros(3)}, r"reward has shape \[3\], expected \[2\]"),
        ({"reward": None}, "reward"),
        ({"reward": np.array(["a", "b"])}, "reward"),
        ({"ends": np.zeros((2, 1), bool)}, "terminated has shape"),
        ({"whole": (1, 2, 3, 4)}, r"step\(\) returned 4 values"),
        ({"whole": None}, "NoneType"),
        ({"ends": np.ones(2, bool), "mode": AutoresetMode.SAME_STEP}, "no 'final_obs'"),
    ],
    ids=str,
)
def test_what_a_vectorised_world_returns_is_checked_too(told, said):
    with pytest.raises(FaultyEnvironmentError, match=said):
        first_and_two_steps(Vector(Batch(**told)))


def test_ends_that_are_numbers_are_taken_as_truths():
    env = Vector(Batch(ends=np.array([1, 0])))
    env.reset(0)
    assert env.step(torch.zeros(2, dtype=torch.int64)).terminated.tolist() == [True, False]


@pytest.mark.parametrize("where", ["reset", "step", "render", "close"])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("no map"),
        OSError(2, "no map"),
        KeyError("map"),
        RuntimeError(""),
        ZeroDivisionError(),
    ],
)
def test_an_error_of_the_users_own_is_kept_as_the_cause(where, error):
    world = Shows(FLOATS, np.zeros(2))

    def fails(*arguments, **named):
        raise error

    setattr(world, where, fails)
    guarded = Guarded(world)
    call = {
        "reset": guarded.reset,
        "step": lambda: guarded.step(0),
        "render": guarded.render,
        "close": guarded.close,
    }
    with pytest.raises(
        EnvironmentCrashedError, match=rf"{where}\(\) raised {type(error).__name__}"
    ) as caught:
        call[where]()
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [ValueError("no map"), OSError("no map"), KeyError("map"), TypeError("no map")]
)
def test_an_error_in_a_users_constructor_is_theirs(error):
    def make(**settings):
        raise error

    gym.register("Made-v0", entry_point=make)
    try:
        with pytest.raises(
            EnvironmentCrashedError, match=f"its constructor raised {type(error).__name__}"
        ) as caught:
            vector.make("Made-v0", 1)
    finally:
        del gym.registry["Made-v0"]
    cause = caught.value.__cause__
    assert error in (cause, cause.__context__)  # Gymnasium adds words to a TypeError


def test_an_argument_that_a_world_does_not_take_is_named():
    with pytest.raises(
        ValueError, match="--env-arg colour: Acrobot-v1 takes no argument of this name"
    ):
        vector.make("Acrobot-v1", 1, colour="red")


# ---------------------------------- precision


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize("offset", [0, 10**6, 10**8, 1_700_000_000])
def test_a_bit_on_top_of_a_large_offset_survives_until_the_normaliser(dtype, offset):
    space = gym.spaces.Box(-(2**40), 2**40, (1, 1), dtype)
    features = for_space(space, normalise=True)
    seen = (offset + np.array([0, 1] * 50)).astype(dtype).reshape(100, 1, 1)
    (kept,) = coding.encoder(space)(seen)
    obs = torch.from_numpy(kept).view(1, 100, 1, 1)
    features.update(obs, torch.ones(1, 100, dtype=torch.bool))
    found = features(obs)
    assert found.dtype == torch.float32 and float(found[0, 1, 0] - found[0, 0, 0]) == pytest.approx(
        2.0, abs=0.01
    )


@pytest.mark.parametrize(
    "space", [gym.spaces.Box(-1, 1, (), np.float32), gym.spaces.Box(-1, 1, (), np.float64)], ids=str
)
def test_a_box_of_no_dimensions_is_a_number(space):
    assert for_space(space, normalise=True).size == 1
    both = gym.spaces.Dict(speed=space, place=gym.spaces.Box(-1, 1, (2,), np.float32))
    features = for_space(both, normalise=True)
    assert features.size == 3
    obs = {"speed": torch.zeros(4), "place": torch.zeros(4, 2)}
    assert features(obs).shape == (4, 3)


# ---------------------------------- who owns memory


class Reuses(Shows):
    """Shows the time in one buffer that it overwrites, at resets too."""

    def __init__(self):
        super().__init__(FLOATS, np.zeros(2, np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.first[:] = -1.0
        return self.first, {}

    def step(self, action):
        self.t += 1
        self.first[:] = self.t
        return self.first, 1.0, self.t >= 3, False, {}


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=str)
def test_a_world_that_reuses_its_buffer_does_not_change_what_was_seen(mode):
    env = Vector(SyncVectorEnv([lambda: Guarded(Reuses())] * 2, autoreset_mode=mode, copy=False))
    first = env.reset(0)
    steps = [env.step(torch.zeros(2, dtype=torch.int64)) for _ in range(3)]
    assert first[0, 0] == -1.0 and [float(s.final_obs[0, 0]) for s in steps] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64, np.bool_])
def test_a_vectorised_world_that_reuses_its_buffers_does_not_change_what_was_seen(dtype):
    space = gym.spaces.Box(0, 1, (1,), dtype)

    class Ticker(Batch):
        def __init__(self):
            super().__init__()
            self.single_observation_space, self.observation_space = space, batch_space(space, 2)
            self.seen, self.paid, self.over = (
                np.zeros((2, 1), dtype),
                np.zeros(2, np.float32),
                np.zeros(2, bool),
            )

        def reset(self, *, seed=None, options=None):
            self.t = 0
            self.seen[:] = 0
            return self.seen, {}

        def step(self, actions):
            self.t += 1
            self.seen[:], self.paid[:], self.over[:] = self.t % 2, self.t, self.t == 3
            return self.seen, self.paid, self.over, self.over, {}

    env = Vector(Ticker())
    first = env.reset(0)
    steps = [env.step(torch.zeros(2, dtype=torch.int64)) for _ in range(3)]
    assert first[0] == 0 and [int(s.obs[0]) for s in steps] == [1, 0, 1]
    assert [float(s.reward[0]) for s in steps] == [1.0, 2.0, 3.0]
    assert [bool(s.terminated[0]) for s in steps] == [False, False, True]


# ---------------------------------- seeds


def test_runs_of_different_seeds_share_no_environment():
    seeds = [s for seed in range(200) for s in seeding.world_seeds(seed, 16)]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 0 and max(seeds) < 2**31


def test_streams_of_one_seed_share_no_environment():
    streams = [s for stream in range(50) for s in seeding.world_seeds(7, 16, stream)]
    assert len(set(streams)) == len(streams)
    assert (
        seeding.world_seeds(7, 4) == seeding.world_seeds(7, 16)[:4]
    )  # more environments are further ones


def joined(before, step):
    return torch.cat((before, step.obs, step.reward.unsqueeze(1)), 1)


@pytest.mark.parametrize(
    "name", ["Pendulum-v1", "Reach-v0", "BanditReversal-v0", "Acrobot-v1", "Hopper-v5"]
)
def test_worlds_of_neighbouring_seeds_start_differently(name):
    one, two = vector.make(name, 16), vector.make(name, 16)
    actions = torch.zeros(one.no_action().shape, dtype=one.no_action().dtype)
    a, b = one.reset(0), two.reset(1)
    for _ in range(3):
        a = joined(a, one.step(actions))
        b = joined(b, two.step(actions))
    again = vector.make(name, 16)
    assert torch.equal(
        again.reset(0), a[:, : again.observation_space.shape[0]].to(again.reset(0).dtype)
    )
    if name != "BanditReversal-v0":  # its arms alone are no fingerprint
        assert not any(bool((a[i] == b).all(1).any()) for i in range(16))


@pytest.mark.parametrize(
    "pair", [(0, 2**32), (1, 2**32 + 1), (5, 5 + 2**40), (0, 2**62), (3, 2**63 - 1)]
)
def test_every_bit_of_a_seed_counts(pair):
    one, two = (torch.rand(4, generator=seeding.generator(seed)) for seed in pair)
    assert not torch.equal(one, two)
    assert seeding.world_seeds(pair[0], 4) != seeding.world_seeds(pair[1], 4)
    for agent, network in DRAWN:
        drawn = [
            torch.cat([w.flatten() for w in all_numbers(made_agent(agent, network, seed=s))])
            for s in pair
        ]
        assert not torch.equal(*drawn), agent


DRAWN = [("ppo", "mlp"), ("dqn", "mlp"), ("hebbian", "mlp"), ("eprop", "lsnn")]
"""Agents whose weights are drawn; those of three_factor begin at zero."""


def all_numbers(agent):
    return [w for w in agent.state_dict()["modules"].values() if w.is_floating_point()]


def made_agent(agent: str, network: str, seed: int = 0, **settings):
    experiment = config.experiment(
        "CartPole-v1", agent, network, steps=2000, num_envs=2, seed=seed, **settings
    )
    return api.make_agent(experiment, api.make_env(experiment.run, 2))


def test_agents_made_in_threads_have_the_weights_of_one_made_alone():
    made = {}

    def make(i):
        made[i] = torch.cat([p.detach().flatten() for p in made_agent("ppo", "mlp").parameters()])

    make("alone")
    for _ in range(5):
        threads = [threading.Thread(target=make, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(torch.equal(made[i], made["alone"]) for i in range(4))


def test_a_world_that_cannot_save_itself_restarts_with_seeds_that_no_evaluation_uses():
    class Asked(Vector):
        def reset(self, seed=None, stream=0):
            asked.append((seed, stream))
            return super().reset(seed, stream)

    asked: list = []
    env = Asked(gym.make_vec("Acrobot-v1", 2, "sync"))
    runner = Runner(made_agent("ppo", "mlp"), env, seed=3)
    runner.load_state_dict({"life": (), "env": {}, "seen": 1_000_000, "updates": 9})
    assert asked == [(3, 1_000_001)]


# ---------------------------------- wrappers, copies


@pytest.mark.parametrize("wrapper", [NormalizeObservation, RecordEpisodeStatistics])
def test_a_wrapped_world_is_not_called_exact(wrapper):
    assert Vector(gym.make_vec("bio_rl/Hopper-v5", 2)).exact
    assert not Vector(wrapper(gym.make_vec("bio_rl/Hopper-v5", 2))).exact


AGENTS = [*DRAWN, ("ppo", "spiking"), ("ppo", "lstm"), ("three_factor", "cells")]
SMALL = {"ppo": {"update_every": 16, "minibatch": 16, "epochs": 1}, "dqn": {"start": 4, "batch": 8}}


def pickled(agent):
    return pickle.loads(pickle.dumps(agent))


@pytest.mark.thorough
@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, pickled])
@pytest.mark.parametrize(("name", "network"), AGENTS)
def test_a_copied_agent_goes_on_as_the_first_and_apart_from_it(how, name, network):
    agent = made_agent(name, network, agent_settings=SMALL.get(name, {}))
    world = vector.make("CartPole-v1", 2)
    first = Runner(agent, world)
    first.start(0)
    for _ in range(12):
        first.step()
    other_world, other = vector.make("CartPole-v1", 2), how(agent)
    second = Runner(other, other_world, life=copy.deepcopy(first.life))
    other_world.load_state_dict(world.state_dict())
    start = [w.detach().clone() for w in agent.trained_tensors()]
    for _ in range(12):
        second.step()
    assert all(
        torch.equal(a, b) for a, b in zip(start, agent.trained_tensors(), strict=True)
    )  # it did not move the first
    assert any(
        not torch.equal(a, b) for a, b in zip(start, other.trained_tensors(), strict=True)
    )  # and it learned
    for _ in range(12):
        first.step()
    assert all(
        torch.equal(a, b)
        for a, b in zip(agent.trained_tensors(), other.trained_tensors(), strict=True)
    )


@pytest.mark.parametrize(("name", "network"), [("sac", "mlp"), ("td3", "mlp"), ("sac", "spiking")])
def test_a_copied_actor_critic_has_its_weights(name, network):
    env = vector.make("Pendulum-v1", 2)
    experiment = config.experiment("Pendulum-v1", name, network, steps=100, num_envs=2)
    agent = api.make_agent(experiment, env)
    other = copy.deepcopy(agent)
    assert all(
        torch.equal(a, b)
        for a, b in zip(agent.trained_tensors(), other.trained_tensors(), strict=True)
    )
    assert all(
        a.data_ptr() != b.data_ptr()
        for a, b in zip(agent.trained_tensors(), other.trained_tensors(), strict=True)
    )


# ---------------------------------- divergence


@pytest.mark.parametrize(
    ("agent", "network", "world", "own"),
    [
        ("ppo", "mlp", "CartPole-v1", {**SMALL["ppo"], "lr": 1e30, "lr_final": 1.0}),
        ("ppo", "mlp", "Pendulum-v1", {**SMALL["ppo"], "lr": 1e30, "lr_final": 1.0}),
        ("ppo", "spiking", "CartPole-v1", {**SMALL["ppo"], "lr": 1e38, "lr_final": 1.0}),
        ("dqn", "mlp", "CartPole-v1", {**SMALL["dqn"], "lr": 1e30}),
        (
            "sac",
            "mlp",
            "Pendulum-v1",
            {"start": 10, "batch": 8, "lr": 1e30, "critic_lr": 1e30},
        ),
        ("td3", "mlp", "Pendulum-v1", {"start": 10, "batch": 8, "lr": 1e30}),
        ("three_factor", "cells", "CartPole-v1", {"critic_lr": 1e20, "actor_lr": 1e20}),
        ("hebbian", "mlp", "CartPole-v1", {"critic_lr": 1e20, "hidden_lr": 1e20}),
        ("eprop", "lsnn", "CartPole-v1", {"lr": 1e38, "readout_lr": 1e38}),
    ],
)
def test_an_agent_that_diverges_is_named_and_not_trained_to_the_end(
    tmp_path, agent, network, world, own
):
    settings = {
        "steps": 4000,
        "num_envs": 2,
        "eval_episodes": 0,
        "checkpoints": 2,
        "run_dir": tmp_path,
    }
    with pytest.raises(DivergedError, match="diverged"):
        bio_rl.train(world, agent=agent, network=network, **settings, **{agent: own})


def test_a_rollout_of_junk_changes_nothing():
    env = Vector(
        SyncVectorEnv(
            [lambda: Shows(FLOATS, np.zeros(2, np.float32))] * 4,
            autoreset_mode=AutoresetMode.NEXT_STEP,
        )
    )
    own = {"update_every": 1, "minibatch": 4, "epochs": 1}
    experiment = config.experiment(
        "CartPole-v1", "ppo", "mlp", agent_settings=own, steps=1000, num_envs=4
    )
    runner = Runner(api.make_agent(experiment, env), env)
    runner.start(0)
    for update in range(8):
        before = runner.agent.weights[0].detach().clone()
        runner.step()
        assert torch.equal(before, runner.agent.weights[0]) == (update % 4 == 3), update


# ---------------------------------- whose code runs


def test_a_module_is_imported_only_where_it_was_named(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"
    )
    monkeypatch.chdir(tmp_path)
    for call in (vector.find_id, lambda env: api.make_env(config.Run(env=env), 1)):
        with pytest.raises(ValueError, match="if you trust it, add: --trust stranger"):
            call("stranger:Id-v0")
    assert not (tmp_path / "stranger.ran").exists()
    trust.import_named("stranger")
    assert (tmp_path / "stranger.ran").exists()


def test_a_module_that_lies_in_the_run_folder_is_refused_even_if_named(tmp_path, monkeypatch):
    (tmp_path / "beside_a_run.py").write_text("raise SystemExit('code ran')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="lies in the run folder"):
        trust.import_named("beside_a_run", run_folder=tmp_path)


def test_a_users_world_is_not_mistaken_for_a_built_in_one_of_its_name(monkeypatch):
    monkeypatch.setitem(gym.registry, "CueAccumulation-v0", gym.spec("CartPole-v1"))
    assert vector.find_id("tests.worlds:CueAccumulation-v0") == "CueAccumulation-v0"
    assert vector.find_id("CueAccumulation-v0") == "bio_rl/CueAccumulation-v0"
