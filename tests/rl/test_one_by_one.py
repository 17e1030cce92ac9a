"""Several seeds one by one: each learns bit by bit what it would alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bio_rl import vector
from bio_rl.contracts import Probe, Rollout
from bio_rl.networks import Blueprint, cells, mlp
from bio_rl.rl.base import Agent, Spec
from bio_rl.rl.clock import Horizon
from bio_rl.rl.one_by_one import OneByOne, of_seeds
from bio_rl.state import leaves, tree_map
from bio_rl.training import config
from bio_rl.training.runner import Runner, begin, collect, decide
from bio_rl.vector import SideBySide

ENVS, SEEDS = 2, (3, 4, 5)
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"update_every": 16, "minibatch": 16, "epochs": 2},
    "hebbian": {},
    "hebbian, shuffled": {"dopamine": "shuffled", "rule": "exploratory_hebb"},
}
UPDATES = {"ppo": 4, "hebbian": 60, "hebbian, shuffled": 60}


def spec(name: str, env: Any, network: str = "mlp") -> tuple[type[Agent], Spec]:
    """The class of an agent and what it is made from, on a small network."""
    module = config.agents_module(name.split(",")[0])
    settings = module.Config(**SETTINGS.get(name, {}))
    small = mlp.Config(hidden=(8,)) if network == "mlp" else cells.Config(cells=(20,))
    blueprint = Blueprint(network, small)
    return module.Agent, Spec(settings, blueprint, env.observation_space, env.action_space)


def world(env: str = "CartPole-v1") -> vector.Vector:
    return vector.make(env, ENVS)


def group(name: str) -> Runner:
    """The seeds side by side."""
    env = SideBySide([world() for _ in SEEDS])
    kind, made_of = spec(name, env)
    runner = Runner(of_seeds(kind, made_of, horizon=Horizon(2000), seeds=SEEDS), env)
    runner.start(SEEDS[0])
    return runner


def alone(name: str, seed: int) -> Runner:
    """One of them alone."""
    env = world()
    kind, made_of = spec(name, env)
    runner = Runner(kind(*made_of, horizon=Horizon(2000), seed=seed), env)
    runner.start(seed)
    return runner


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in leaves(tree) if isinstance(x, torch.Tensor)]


def block(tree: Any, i: int) -> Any:
    """The rows of the i-th seed."""
    return tree_map(lambda x: x.chunk(len(SEEDS))[i], tree)


@pytest.mark.parametrize("name", SETTINGS)
def test_each_seed_is_bit_by_bit_the_seed_alone_through_a_whole_training(name):
    together = group(name)
    singles = [alone(name, seed) for seed in SEEDS]
    assert isinstance(together.agent, OneByOne)
    start = [x.clone() for x in together.agent.trained_tensors()]
    ended = 0
    for update in range(UPDATES[name]):
        metrics = together.step()
        ended += len(together.episodes)
        for i, single in enumerate(singles):
            reported = single.step()
            where = f"update {update}, seed {SEEDS[i]}"
            assert same(together.agent.member(i).state_dict(), single.agent.state_dict()), where
            assert same(block(together.life.state, i), single.life.state), where
            assert same(block(together.life.percept, i), single.life.percept), where
            assert set(metrics) <= set(reported), where
            assert all(same(x[i], reported[k]) for k, x in metrics.items() if not callable(x[i]))
    learned = list(together.agent.trained_tensors())
    assert all(not torch.equal(a, b) for a, b in zip(start, learned, strict=True))
    per_seed = len(learned) // len(SEEDS)
    assert not torch.equal(learned[0], learned[per_seed])
    assert ended > 0


@pytest.mark.parametrize("name", SETTINGS)
def test_a_member_is_a_copy_that_stays_while_the_group_learns_and_can_go_on(name):
    together = group(name)
    for _ in range(3):
        together.step()
    rollout, life = collect(together.agent, together.env, together.life)
    member = together.agent.member(1)
    first = tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, member.state_dict())
    assert same(first, together.agent.agents[1].state_dict())
    together.agent.update(rollout, life.state)
    assert same(member.state_dict(), first)
    # the copy learns from its block what the seed has learned from it
    steps, states = (tree_map(lambda x: x.chunk(3, 1)[1], part) for part in rollout[:2])
    own = Rollout(steps, states, block(rollout.next, 1))
    member.update(own, block(life.state, 1))
    assert same(member.state_dict(), together.agent.agents[1].state_dict())
    assert not same(member.state_dict(), first)


def test_greedy_decisions_are_those_of_the_members_and_draw_nothing():
    together = group("hebbian")
    for _ in range(5):
        together.step()
    agent = together.agent
    before = agent.state_dict()
    before = tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, before)
    life = begin(agent, together.env, 7)
    for _ in range(3):
        out = agent.act(life.percept, life.state, explore=False)
        for i in range(len(SEEDS)):
            one = agent.member(i).act(block(life.percept, i), block(life.state, i), explore=False)
            assert torch.equal(block(out.action, i), one.action)
        _, life = decide(agent, together.env, life, explore=False)
    assert same(before, agent.state_dict())


def test_a_probe_hears_of_every_seed():
    together = group("hebbian")
    probe = Probe()
    together.agent.act(together.life.percept, together.life.state, probe=probe)
    assert [name for name, _, _ in probe.products] == ["layer 1", "readout"] * len(SEEDS)


@pytest.mark.parametrize("name", ["ppo", "hebbian"])
def test_what_is_saved_goes_on_bit_by_bit(name):
    first, second = group(name), group(name).agent
    for _ in range(3):
        first.step()
    second.load_state_dict(first.agent.state_dict())
    for _ in range(3):
        before = first.life
        rollout, life = collect(first.agent, first.env, before)
        again = second.act(before.percept, before.state)
        assert torch.equal(again.action, rollout.steps.action[0])
        second.load_state_dict(first.agent.state_dict())  # the generators have moved on
        states = [agent.update(rollout, life.state)[0] for agent in (first.agent, second)]
        assert same(*states)
        first.life = life._replace(state=states[0])
    assert same(first.agent.state_dict(), second.state_dict())


def test_without_replays_the_learned_state_is_the_whole_one():
    agent = group("ppo").agent
    assert agent.replay is None
    assert same(agent.state_dict(), agent.learned_state())


def test_seeds_are_batched_only_where_the_agent_has_such_a_form():
    env = world()
    for name, network, seeds, kind in [
        ("three_factor", "cells", (0, 1), "Agent"),
        ("three_factor", "mlp", (0, 1), "OneByOne"),
        ("three_factor", "mlp", (7,), "Agent"),
        ("hebbian", "mlp", (0, 1), "OneByOne"),
        ("ppo", "mlp", (5,), "Agent"),
    ]:
        made = of_seeds(*spec(name, env, network), horizon=Horizon(10), seeds=seeds)
        assert type(made).__name__ == kind, (name, network, seeds)
        if kind == "Agent":
            assert made.seeds == seeds
