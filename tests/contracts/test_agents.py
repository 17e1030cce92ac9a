"""Contracts over every discovered agent, with every network and every kind of action space."""

from __future__ import annotations

import dataclasses
import math

import gymnasium as gym
import pytest
import torch

from bio_rl import agents, discovery, vector
from bio_rl.networks import Blueprint
from bio_rl.rl.clock import Horizon
from bio_rl.state import leaves, tree_map
from bio_rl.training import config, presets
from bio_rl.training.metrics import to_floats
from bio_rl.training.runner import Runner, begin, collect, decide

AGENTS = list(discovery.names(agents))
LEARNERS = [
    (agent, network) for agent in AGENTS for network in config.served(config.agents_module(agent))
]
"""Every agent with every network that it can teach."""
SPACES = ["discrete", "shifted", "multidiscrete", "multibinary", "box"]
SMALL_NETWORKS = {
    "cells": {"cells": (100,), "ticks": 8},
    "lsnn": {"lif": 20, "alif": 20, "ticks": 4},
    "lstm": {"hidden": 16},
    "recurrent_spiking": {"hidden": (20,)},
    "spiking_conv": {"channels": (3,), "kernel": (3,), "stride": (3,), "hidden": (16,)},
}
OFF_POLICY = {"replay": 300, "start": 6, "batch": 8, "sequence": 4, "update_every": 4}
SMALL = {
    "ppo": {"update_every": 8, "minibatch": 16, "epochs": 2, "sequence": 4},
    "dqn": {**OFF_POLICY, "target_every": 2},
    "sac": {**OFF_POLICY, "critic_hidden": (16,)},
    "td3": {**OFF_POLICY, "critic_hidden": (16,)},
}
SERVED = {"dqn": ("discrete", "shifted"), "sac": ("box", "discrete", "shifted"), "td3": ("box",)}
"""The action spaces of those that do not serve all."""


def make(agent, network="mlp", space=None, seed=0, num_envs=3, network_settings=None, **settings):
    space = space or SERVED.get(agent, SPACES)[0]
    env = vector.make(
        "tests.worlds:Identity-v0", num_envs, space=space, pictures=Blueprint.default(network).image
    )
    module = discovery.load(agents, agent)
    settings = module.Config(**SMALL.get(agent, {}), **settings)
    blueprint = Blueprint.default(network)
    own = {**SMALL_NETWORKS.get(network, {}), **(network_settings or {})}
    blueprint = Blueprint(network, dataclasses.replace(blueprint.config, **own))
    learner = module.Agent(
        settings,
        blueprint,
        env.observation_space,
        env.action_space,
        horizon=Horizon(1000),
        seed=seed,
    )
    runner = Runner(learner, env)
    runner.start(seed)
    return runner


def weights(agent):
    """All that it has learned: the clock, which always goes on, and what is drawn once are none of
    it.
    """
    modules = agent.state_dict()["modules"]
    fixed = ("clock.", "code.centres", "code.looks", "hidden.b", "network.seed")
    return [x.clone() for name, x in modules.items() if not any(part in name for part in fixed)]


def random_state(agent):
    """The states of all generators that the agent draws from."""
    return torch.stack([generator.get_state() for generator in agent.generators])


@pytest.mark.thorough
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("agent", "network"), LEARNERS)
def test_it_learns_in_every_action_space_with_every_network(agent, network, space):
    if space not in SERVED.get(agent, SPACES):
        with pytest.raises(ValueError, match=r"action space .* cannot be served"):
            make(agent, network, space)
        return
    runner = make(agent, network, space)
    before = weights(runner.agent)
    for _ in range(3):
        metrics = runner.step()
    assert all(
        math.isfinite(x) for x in to_floats(metrics).values()
    )  # which refuses what is no scalar
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(runner.agent), strict=True))


@pytest.mark.thorough
@pytest.mark.parametrize("sense", ["picture", "tokens", "factors", "all"])
@pytest.mark.parametrize(("agent", "network"), LEARNERS)
def test_it_learns_from_every_kind_of_observation_with_every_network(agent, network, sense):
    if agent in ("dqn", "td3") and sense in ("tokens", "factors"):
        pytest.skip("they are among all of them, and sac sees each through the same encoders")
    if Blueprint.default(network).image and sense != "picture":
        pytest.skip("it looks at pictures alone")
    continuous = {} if "discrete" in SERVED.get(agent, SPACES) else {"space": "box"}
    env = vector.make("tests.worlds:Riddle-v0", 3, sense=sense, **continuous)
    module, blueprint = discovery.load(agents, agent), Blueprint.default(network)
    blueprint = Blueprint(
        network, dataclasses.replace(blueprint.config, **SMALL_NETWORKS.get(network, {}))
    )
    settings = module.Config(**SMALL.get(agent, {}))
    try:
        learner = module.Agent(
            settings,
            blueprint,
            env.observation_space,
            env.action_space,
            horizon=Horizon(1000),
            seed=0,
        )
    except ValueError as refusal:
        # only a local learner may: it has no encoder that learns by gradients
        assert module.Agent.teaches and "cannot be served" in str(refusal)
        return
    runner = Runner(learner, env)
    runner.start(0)
    before = weights(learner)
    for _ in range(3):
        metrics = runner.step()
    assert all(math.isfinite(x) for x in to_floats(metrics).values())
    changed = [not torch.equal(a, b) for a, b in zip(before, weights(learner), strict=True)]
    assert sum(changed) > len(changed) / 2


@pytest.mark.parametrize(("agent", "network"), LEARNERS)
def test_acting_changes_no_weights_and_greedy_acting_no_random_state(agent, network):
    runner = make(agent, network)
    before = tree_map(
        lambda x: x.clone() if isinstance(x, torch.Tensor) else x, runner.agent.state_dict()
    )
    drawn = random_state(runner.agent)
    life = begin(runner.agent, runner.env, 0)
    for _ in range(4):
        _, life = decide(runner.agent, runner.env, life, explore=False)
    after = runner.agent.state_dict()
    assert all(
        torch.equal(a, b)
        for a, b in zip(leaves(before["modules"]), leaves(after["modules"]), strict=True)
    )
    assert torch.equal(drawn, random_state(runner.agent))


@pytest.mark.parametrize(("agent", "network"), LEARNERS)
def test_a_restored_agent_continues_bitwise(agent, network):
    first, second = make(agent, network), make(agent, network, seed=9)
    first.step()
    second.agent.load_state_dict(first.agent.state_dict())
    rollout, life = collect(first.agent, first.env, first.life)
    second.agent.load_state_dict(
        first.agent.state_dict()
    )  # the generator has moved on while acting
    for runner in (first, second):
        runner.agent.update(rollout, life.state)
    assert all(
        torch.equal(a, b) for a, b in zip(weights(first.agent), weights(second.agent), strict=True)
    )
    assert torch.equal(random_state(first.agent), random_state(second.agent))


@pytest.mark.parametrize("agent", AGENTS)
def test_the_same_seed_gives_the_same_weights_and_another_does_not(agent):
    network = next(n for a, n in LEARNERS if a == agent)
    runs = [make(agent, network, seed=s) for s in (3, 3, 4)]
    for runner in runs:
        for _ in range(3):
            runner.step()
    a, b, c = (weights(r.agent) for r in runs)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(a, c, strict=True))


@pytest.mark.parametrize("agent", AGENTS)
def test_a_space_that_it_cannot_serve_is_refused_at_construction(agent):
    module = discovery.load(agents, agent)
    discrete, text = gym.spaces.Discrete(2), gym.spaces.Text(5)
    for observation, action in [(text, discrete), (discrete, text)]:
        with pytest.raises(ValueError, match="cannot be served"):
            network = Blueprint.default(config.served(module)[0])
            module.Agent(module.Config(), network, observation, action, horizon=Horizon(10))


@pytest.mark.parametrize(("agent", "network"), LEARNERS)
def test_every_preset_fits_every_network_that_the_agent_serves(agent, network):
    for name in presets.of_agent(config.agents_module(agent)):
        task, _, only = name.partition("/")
        if task != "*" and only in ("", network):
            config.experiment(task, agent, network)
