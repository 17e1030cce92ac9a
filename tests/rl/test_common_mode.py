"""Action values whose mean comes from a second network."""

import gymnasium as gym
import pytest
import torch
from torch import nn

from bio_rl.agents import dqn
from bio_rl.contracts import Percept
from bio_rl.networks import Blueprint, mlp
from bio_rl.networks.spiking import Config as Spiking
from bio_rl.rl.base import Spec
from bio_rl.rl.clock import Horizon
from bio_rl.rl.common_mode import CommonMode

SPACES = gym.spaces.Box(-1.0, 1.0, (3,)), gym.spaces.Discrete(4)


def percepts(t, b):
    no = torch.zeros(t, b, dtype=torch.bool)
    return Percept(torch.randn(t, b, 3), torch.zeros(t, b), torch.zeros(t, b), no, no)


def made(blueprint, **settings):
    config = dqn.Config(common_mode="mlp", **settings)
    return dqn.Agent(config, blueprint, *SPACES, horizon=Horizon(steps=1000), seed=0)


def test_the_mean_is_the_second_networks_and_the_differences_are_the_first_ones():
    torch.manual_seed(0)
    first = Blueprint("spiking", Spiking(hidden=(9,), gain=8.0)).build(3, 4)
    second = Blueprint("mlp", mlp.Config(hidden=(5,))).build(3, 1)
    whole = CommonMode(first, second)
    xs = percepts(6, 2)
    out, _ = whole.unroll(xs, ())
    own, _ = first.unroll(xs, ())
    torch.testing.assert_close(out.mean(-1, keepdim=True), second.unroll(xs, ())[0])
    torch.testing.assert_close(out - out[..., :1], own - own[..., :1])
    assert torch.equal(out.argmax(-1), own.argmax(-1))


def test_one_step_is_a_step_of_many():
    torch.manual_seed(0)
    build = Blueprint("mlp", mlp.Config(hidden=(5,))).build
    whole = CommonMode(build(3, 4), build(3, 1))
    xs = percepts(3, 2)
    singles = [whole(Percept(*(x[t] for x in xs)), ())[0] for t in range(3)]
    torch.testing.assert_close(torch.stack(singles), whole.unroll(xs, ())[0])


def test_the_second_network_learns_and_does_not_act():
    agent = made(Blueprint("spiking", Spiking(hidden=(9,))))
    assert agent.decider is agent.actor.differences
    assert not any(part.name.startswith("units") for part in agent.decider.parts())
    percept = Percept(*(x[0] for x in percepts(1, 5)))
    before = agent.act(percept, agent.initial_state(5), explore=False).action
    with torch.no_grad():
        for p in agent.actor.common.parameters():
            nn.init.normal_(p, std=10.0)
    assert torch.equal(before, agent.act(percept, agent.initial_state(5), explore=False).action)
    weights, _ = agent.weights.parts["values"]
    of_common = {p.data_ptr() for p in agent.actor.common.parameters()}
    assert of_common <= {w.data_ptr() for w in weights}


def test_a_second_network_with_a_memory_is_refused():
    config = dqn.Config(common_mode="lstm")
    with pytest.raises(ValueError, match="common_mode is lstm, which has a memory"):
        dqn.Agent(config, Blueprint.default("mlp"), *SPACES, horizon=Horizon(steps=1000), seed=0)


def test_seeds_with_a_common_mode_learn_one_by_one():
    spec = Spec(dqn.Config(common_mode="mlp"), Blueprint.default("mlp"), *SPACES)
    assert not dqn.Agent.batches(spec)
