"""The agent three_factor: its step by the equations, its locality, its lives and its controls."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bio_rl import vector
from bio_rl.agents import three_factor
from bio_rl.faults import DivergedError
from bio_rl.networks import Blueprint, cells, mlp
from bio_rl.plasticity import Post, Pre, load
from bio_rl.rl.clock import Horizon
from bio_rl.rl.network_reset import reset_on_surprise
from bio_rl.testing import no_autograd
from bio_rl.training import api, config
from bio_rl.training.evaluation import evaluate
from bio_rl.training.runner import Runner, collect

GIVEN = Blueprint("cells", cells.Config(cells=(), gain=4.0, ticks=4))


def make(
    env="tests.worlds:Identity-v0",
    num_envs=3,
    network=GIVEN,
    seed=0,
    horizon=1000,
    world=None,
    **settings,
):
    """A runner; without normalisation, schedules or noise that lasts unless asked for."""
    worlds = vector.make(env, num_envs, **(world or {}))
    learner = three_factor.Agent(
        three_factor.Config(**{"lr_final": 1.0, "normalise_obs": False, **settings}),
        network,
        worlds.observation_space,
        worlds.action_space,
        horizon=Horizon(horizon),
        seed=seed,
    )
    runner = Runner(learner, worlds)
    runner.start(learner.seeds[0])
    return runner


def test_one_decision_by_hand():
    # one life of the identity task: two cells, one of them active (x_i = 1), all weights 0, V_0 = ½
    runner = make(num_envs=1, gamma=0.9, trace=0.5, actor_lr=0.1, critic_lr=0.2, initial_value=0.5)
    rollout, life = collect(runner.agent, runner.env, runner.life)
    seen, action, reward = (
        int(rollout.steps.percept.obs),
        int(rollout.steps.action),
        float(rollout.steps.reward),
    )
    runner.agent.update(rollout, life.state)
    # δ = r + 0.9 · ½ - ½; the chosen action's synapse from the active cell grows by 0.1 δ (1 - ½),
    # the other's shrinks by as
    # much, the critic's grows by 0.2 δ; those from the silent cell stay
    rpe = reward + 0.45 - 0.5
    expected = torch.zeros(3, 2)
    expected[:, seen] = torch.tensor([-0.05 * rpe, -0.05 * rpe, 0.2 * rpe])
    expected[action, seen] = 0.05 * rpe
    torch.testing.assert_close(runner.agent.readout.weight[0], expected)


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_dopamine_at_the_end_of_an_episode_bootstraps_only_where_a_time_limit_cut_it(ends):
    runner = make(
        "tests.worlds:Clock-v0",
        1,
        world={"length": 1, "ends": ends},
        gamma=0.9,
        initial_value=10.0,
        critic_lr=0.0,
    )
    rollout, life = collect(runner.agent, runner.env, runner.life)
    _, metrics = runner.agent.update(rollout, life.state)
    assert float(metrics["dopamine/rpe"]) == pytest.approx(
        1.0 - 10.0 + (9.0 if ends == "truncated" else 0.0)
    )


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_every_weight_changes_as_the_rule_says_for_its_own_synapse_through_a_whole_training(seeds):
    seed = range(seeds)
    runner = make(num_envs=4, seed=seed, gamma=0.9, trace=0.8, actor_lr=0.05, critic_lr=0.1)
    agent, rates = runner.agent, [0.05, 0.05, 0.1]
    rule = load("three_factor")
    one = torch.zeros(1, 1)
    states = {(b, j, i): rule().init(1, 1) for b in range(4) for j in range(3) for i in range(2)}
    expected = torch.zeros_like(agent.readout.weight)
    for _ in range(50):
        rollout, life = collect(agent, runner.env, runner.life)
        steps, was = rollout.steps, agent.readout.weight.clone()
        x, signal, value, reset = (
            *(steps.extras[k][0] for k in ("x", "signal", "value")),
            steps.percept.reset[0],
        )
        state, _ = agent.update(rollout, life.state)
        x_next = state.lived.activity
        ahead = torch.stack([was[b * seeds // 4, -1] @ x_next[b] for b in range(4)])
        final_percept = agent.see(rollout.next._replace(obs=steps.final_obs[0]))
        final = agent.network.active(final_percept, ())[0]
        last = torch.stack([was[b * seeds // 4, -1] @ final[b] for b in range(4)])
        rpe = steps.reward[0] + 0.9 * torch.where(steps.truncated[0], last, ahead) - value
        for (b, j, i), before in states.items():
            p = rule(tau_e=-1.0 / math.log(0.9 * 0.8), lr=rates[j])
            before = p.init(1, 1) if reset[b] else before
            state_1 = p.trace(
                before, one, Pre(x[b, i].view(1)), Post(one[0]), signal[b, j].view(1), dt=1.0
            )
            expected[b * seeds // 4, j, i] += p.delta(state_1, one, rpe[b]).item()
            states[b, j, i] = state_1
        torch.testing.assert_close(agent.readout.weight, expected, atol=1e-6, rtol=1e-4)
        runner.life = life._replace(state=state)


def test_no_gradient_is_ever_prepared():
    runner = make(
        network=Blueprint("cells", cells.Config(cells=(20,))), cells_lr=0.1, normalise_obs=True
    )
    assert not any(p.requires_grad for p in runner.agent.parameters())
    with no_autograd():
        for _ in range(30):
            runner.step()


def test_the_check_for_gradients_can_fail():
    with pytest.raises(AssertionError, match="autograd"), no_autograd():
        torch.ones(2, requires_grad=True).square().sum()


def test_seeds_side_by_side_are_the_seeds_alone():
    # without noise of their own: greedy lives of a world without chance, which differ in what they
    # have learned so far
    together = make(
        "tests.worlds:Clock-v0",
        2,
        seed=range(2),
        world={"length": 3},
        critic_lr=0.1,
        actor_lr=0.0,
    )
    together.agent.readout.weight[1] = 0.3
    alone = make("tests.worlds:Clock-v0", 1, world={"length": 3}, critic_lr=0.1, actor_lr=0.0)
    alone.agent.readout.weight[:] = 0.3
    for _ in range(12):
        together.step()
        alone.step()
    side, one = together.agent.readout.weight, alone.agent.readout.weight
    torch.testing.assert_close(side[1, -1], one[0, -1])
    assert not torch.equal(side[0, -1], one[0, -1])


def test_cells_that_learn_move_to_where_the_observations_are():
    runner = make(
        "tests.worlds:Clock-v0",
        1,
        network=Blueprint("cells", cells.Config(cells=(30,), reach=(5.0,))),
        cells_lr=0.3,
    )
    code = runner.agent.network.code
    seen = runner.life.percept.obs

    def nearest() -> float:
        return float((code.centres[0] - seen[:, code.looks[0]]).norm(dim=-1).min())

    before = nearest()
    runner.step()
    assert nearest() < before


def test_a_brain_lets_go_of_its_weights_when_errors_are_suddenly_larger():
    runner = make(
        "tests.worlds:Clock-v0",
        1,
        world={"length": 2},
        critic_lr=0.0,
        actor_lr=0.0,
        reset_on_surprise=1.0,
    )
    weight = runner.agent.readout.weight
    weight[:] = 0.01
    state = runner.life.state
    quiet, loud = torch.tensor([0.01]), torch.tensor([500.0])
    surprise = state.surprise
    for _ in range(10_000):
        surprise = reset_on_surprise(weight, surprise, quiet, 1.0)
    assert weight.abs().min() > 0
    reset_on_surprise(weight, surprise, loud, 1.0)
    assert weight.abs().max() == 0


def test_lasting_exploration_repeats_itself():
    steady = make(num_envs=1, exploration_time=1e9, actor_lr=0.0)
    actions = []
    for _ in range(15):
        rollout, life = collect(steady.agent, steady.env, steady.life)
        actions.append(int(rollout.steps.action))
        state, _ = steady.agent.update(rollout, life.state)
        steady.life = life._replace(state=state)
    assert len(set(actions)) == 1


def learned(**settings) -> float:
    """The greedy mean return of the identity task (at best 20) after 150 steps of four lives."""
    runner = make(num_envs=4, actor_lr=0.2, critic_lr=0.2, gamma=0.0, trace=0.0, **settings)
    for _ in range(150):
        runner.step()
    return evaluate(runner.agent, vector.make("tests.worlds:Identity-v0", 10), 7).mean


def test_it_learns_and_not_with_dopamine_of_other_moments_or_none():
    assert learned() > 19.0
    assert learned(hebbian=True, bound=3.0) > 19.0
    assert learned(dopamine="none") < 15.0
    assert sum(learned(dopamine="shuffled", seed=seed) for seed in range(6)) / 6 < 15.0


NETWORK = Blueprint("mlp", mlp.Config(hidden=(5,)))


@pytest.mark.parametrize("dopamine", ["rpe", "shuffled"])
@pytest.mark.parametrize("rule", ["three_factor", "eprop", "oja", "three_factor+oja+bounds"])
def test_a_step_of_junk_rows_teaches_nothing(rule, dopamine):
    runner = make(network=NETWORK, rule=rule, dopamine=dopamine)
    check_junk(runner, rows=[])


@pytest.mark.parametrize("dopamine", ["rpe", "shuffled"])
def test_a_step_of_junk_rows_moves_no_cells(dopamine):
    scattered = Blueprint("cells", cells.Config(cells=(20,)))
    runner = make("CartPole-v1", network=scattered, cells_lr=0.3, dopamine=dopamine)
    check_junk(runner, rows=[])


def check_junk(runner: Runner, rows: list[int]) -> None:
    """A step of which the rows count changes trained tensors where there are any, and only then."""
    for _ in range(3):
        runner.step()
    if runner.agent.dopamine.past is not None:
        runner.agent.dopamine.past.fill_(3.0)  # zeros at first, of which nothing would be learned
    before = [x.clone() for x in runner.agent.trained_tensors()]
    rollout, life = collect(runner.agent, runner.env, runner.life)
    valid = torch.zeros_like(rollout.steps.valid)
    valid[:, rows] = True
    steps = rollout.steps._replace(valid=valid)
    runner.agent.update(rollout._replace(steps=steps), life.state)
    after = runner.agent.trained_tensors()
    unchanged = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert all(unchanged) if not rows else not any(unchanged)


@pytest.mark.parametrize("rule", ["three_factor", "oja"])
def test_a_step_of_which_some_rows_count_teaches(rule):
    check_junk(make(network=NETWORK, rule=rule), rows=[1])


def test_a_critic_that_diverges_is_said():
    runner = make("tests.worlds:Clock-v0", 4, world={"length": 1000}, critic_lr=5.0, trace=1.0)
    with pytest.raises(DivergedError, match="diverged"):
        for _ in range(2000):
            runner.step()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dopamine": "rpes"}, "did you mean"),
        ({"gamma": 1.5}, "from 0 to 1"),
        ({"actor_lr": -1.0}, "0 or more"),
        ({"exploration_time": 0.5}, "1 or more decisions"),
        ({"cells_lr": 0.1}, "scattered cells"),
        ({"rule": "oja"}, "cells has no hidden synapses"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(network=replace(GIVEN, config=cells.Config(cells=(2, 2))), **settings)


def test_the_cartpole_preset_reaches_hundreds_within_forty_episodes():
    experiment = config.experiment("CartPole-v1", "three_factor", seed=5)
    env = api.make_env(experiment.run, experiment.run.num_envs)
    runner = Runner(api.make_agent(experiment, env), env)
    runner.start(5)
    returns: list[float] = []
    while len(returns) < 40:
        runner.step()
        returns += [end.ret for end in runner.episodes]
    assert sum(returns[-10:]) / 10 > 100  # 20 without learning
