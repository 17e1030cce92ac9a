"""The agent eprop: its whole change against autograd, its parts by hand, and that dopamine is what
teaches it.
"""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from bio_rl import vector
from bio_rl.agents import eprop
from bio_rl.contracts import Percept, Rollout, Transition
from bio_rl.networks import Blueprint, lsnn
from bio_rl.rl.clock import Horizon
from bio_rl.state import stack, tree_map
from bio_rl.training.evaluation import evaluate
from bio_rl.training.runner import Runner

SMALL = {
    "lif": 4,
    "alif": 4,
    "ticks": 5,
    "gain": 3.0,
    "tau_adapt": 60.0,
    "beta": 0.05,
    "recurrent_gain": 2.0,
}
N_IN, B, T = 3, 4, 5


def make(network: dict | None = None, **settings) -> eprop.Agent:
    config = eprop.Config(
        **{
            "optimiser": "sgd",
            "update_every": 100,
            "rate_weight": 0.0,
            "readout_gain": 1.0,
            **settings,
        }
    )
    blueprint = Blueprint("lsnn", lsnn.Config(**{**SMALL, **(network or {})}))
    spaces = gym.spaces.Box(-1.0, 1.0, (N_IN,), np.float32), gym.spaces.Discrete(2)
    return eprop.Agent(config, blueprint, *spaces, horizon=Horizon(1000), seed=1)


def live(
    agent: eprop.Agent, seed: int = 0, truncated: bool = False
) -> tuple[list[Transition], list]:
    """T decisions of B lives whose episodes end with the last one, and the states before it learns
    from each.
    """
    g = torch.Generator().manual_seed(seed)
    state, action, reward, steps, states = (
        agent.initial_state(B),
        torch.zeros(B, dtype=torch.int64),
        torch.zeros(B),
        [],
        [],
    )
    over = torch.zeros(B, dtype=torch.bool)
    for t in range(T):
        percept = Percept(
            torch.rand(B, N_IN, generator=g), action, reward, over, torch.full((B,), t == 0)
        )
        out = agent.act(percept, state)
        action, reward = out.action, torch.randn(B, generator=g)
        ends = torch.full((B,), t == T - 1)
        final = torch.rand(B, N_IN, generator=g)
        step = Transition(
            percept,
            action,
            reward,
            ends & (not truncated),
            ends & truncated,
            final,
            torch.ones_like(over),
            out.extras,
        )
        states.append(out.state)
        state, _ = agent.update(Rollout(stack([step]), stack([state]), percept), out.state)
        steps.append(step)
    return steps, states


def loss(agent: eprop.Agent, weight, readout, steps: list[Transition]) -> torch.Tensor:
    """-Σ_t δ_t Σ_{t'≤t} (γλ)^(t-t') (log π(a_t') + c_V V_t'), the mean over lives, δ fixed;
    recurrent spikes are detached.

    Where it learns values, the action's Q stands for both. With the error `outcome` only the last
    δ is there.
    """
    net, c, p = agent.network, agent.config, agent.network.neuron
    s, z, x, made, values = p.init(B, net.n), torch.zeros(B, net.n), torch.zeros(B, net.n), [], []
    s = tree_map(torch.Tensor.double, s)
    for step in steps:
        for _ in range(net.config.ticks):
            drive = step.percept.obs.double() @ weight[:, :N_IN].T
            if net.config.recurrent:
                drive = drive + net.jump * z.detach().double() @ (weight * net.mask)[:, N_IN:].T
            z, s = p.step(s, drive, net.config.dt)
            x = math.exp(-net.config.dt / net.config.tau_out) * x + z
        y = x.double() @ readout[:, :-1].T + readout[:, -1]
        chosen = y.gather(1, step.action.unsqueeze(1)).squeeze(1)
        values.append((chosen if c.learns == "values" else y[:, -1]).detach())
        of_policy = agent.policy.log_prob(y[:, :-1], step.action) + c.critic_weight * y[:, -1]
        made.append(chosen if c.learns == "values" else of_policy)
    total = torch.zeros(())
    for t, step in enumerate(steps):
        last = t == len(steps) - 1
        rpe = step.reward + (0.0 if last else c.gamma * values[t + 1]) - values[t]
        if c.error == "outcome":
            rpe = (sum(s.reward for s in steps) - values[t]) * last
        total = (
            total
            - (rpe * sum((c.gamma * c.trace) ** (t - u) * made[u] for u in range(t + 1))).mean()
        )
    return total


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("trace", [1.0, 0.6])
@pytest.mark.parametrize("learns", eprop.LEARNS)
@pytest.mark.parametrize("error", eprop.ERRORS)
def test_the_whole_change_is_the_gradient_of_the_actor_critic(recurrent, trace, learns, error):
    agent = make(
        {"recurrent": recurrent},
        feedback="symmetric",
        gamma=0.9,
        trace=trace,
        learns=learns,
        error=error,
    )
    weight = agent.network.weight.detach().double().requires_grad_()
    out = agent.network.readout
    readout = torch.cat((out.weight, out.bias.unsqueeze(1)), 1).detach().double().requires_grad_()
    steps, states = live(agent)
    assert 0.02 < agent.hidden.rate.mean() * 0.005 < 0.4 and all(
        s.network.x.count_nonzero() > 0 for s in states
    )
    loss(agent, weight, readout, steps).backward()
    of_weight, of_out, of_bias = (w.grad.double() for w in agent.weights)
    assert (weight.grad.abs() > 1e-6).double().mean() > 0.3
    torch.testing.assert_close(
        of_weight * agent.network.mask, weight.grad * agent.network.mask, rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        torch.cat((of_out, of_bias.unsqueeze(1)), 1), readout.grad, rtol=1e-4, atol=1e-5
    )


def learned(seed: int = 0, **settings) -> float:
    """The greedy mean return of the identity task (at best 20, a guess 10) after 150 steps of eight
    lives.
    """
    env = vector.make("tests.worlds:Identity-v0", 8)
    config = eprop.Config(
        **{
            "gamma": 0.0,
            "trace": 0.0,
            "lr": 0.01,
            "readout_lr": 0.01,
            "rate_weight": 0.01,
            **settings,
        }
    )
    blueprint = Blueprint(
        "lsnn", lsnn.Config(lif=20, alif=0, recurrent=False, ticks=5, gain=3.0, tau_out=10.0)
    )
    spaces = env.observation_space, env.action_space
    runner = Runner(
        eprop.Agent(config, blueprint, *spaces, horizon=Horizon(10_000), seed=seed), env
    )
    runner.start(0)
    for _ in range(150):
        runner.step()
    return evaluate(runner.agent, vector.make("tests.worlds:Identity-v0", 10), 7).mean


@pytest.mark.parametrize("learns", eprop.LEARNS)
def test_it_learns_identity_and_not_with_dopamine_of_other_moments(learns):
    assert learned(learns=learns) > 19.0
    assert sum(learned(seed, learns=learns, dopamine="shuffled") for seed in range(3)) / 3 < 15.0
