"""Contracts over every agent that learns locally: no gradient is prepared, and no synapse knows
what is foreign to it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import pytest

from bio_rl import agents, discovery, vector
from bio_rl.networks import Blueprint
from bio_rl.rl.clock import Horizon
from bio_rl.testing import check_local, no_autograd
from bio_rl.training import config
from bio_rl.training.runner import Runner

LOCAL = [name for name in discovery.names(agents) if config.agents_module(name).Agent.teaches]
"""Those that can teach some networks only: the rules of these networks' synapses."""


class Case(NamedTuple):
    """A synapse from neuron i to neuron j of a small brain, and what it may know: see
    `check_local`.
    """

    agent: str
    settings: dict[str, Any]
    network: dict[str, Any]
    own: dict[str, Any]
    told: dict[str, Any]


POST, PRE = 2, 1
"""j and i."""
OF_POST, OF_PRE, SYNAPSE = (..., POST), (..., PRE), (..., POST, PRE)
"""Indices of what neuron j has, of what neuron i has, and of what the synapse has."""

# V(s') is worked out in the update. So that dopamine is the same whatever else is altered, this
# critic stays at zero
HEBBIAN = {"trace": 0.9, "critic_lr": 0.0, "normalise_obs": False}
OF_HEBBIAN = {
    "agent.modules.network.layers.0.weight": SYNAPSE,
    "state.synapses.0.traces.e": SYNAPSE,
    "extras.x0": OF_PRE,
    "extras.signal0": OF_POST,
}
TOLD_HEBBIAN = {
    "extras.value": ...,
    "agent.modules.critic.weight": ...,
    "agent.modules.critic.bias": ...,
}

LSNN = {
    "lif": 5,
    "alif": 5,
    "ticks": 4,
    "gain": 4.0,
    "recurrent_gain": 2.0,
    "beta": 0.05,
    "tau_out": 40.0,
}
N_IN, N = 4, 10


def of_eprop(i: int, pre: int = N_IN + N) -> dict[str, Any]:
    """The entries of the synapse onto neuron POST from the input i, or from the neuron i - N_IN."""
    at = (..., POST, i)
    return {
        "agent.modules.network.weight": at,
        "agent.modules.asked": (POST * pre + i,),
        "agent.modules.hidden.rate": (POST,),
        "agent.optimisers.synapses.state.0.exp_avg": at,
        "agent.optimisers.synapses.state.0.exp_avg_sq": at,
        "state.hidden.0.eps_v": (..., i),
        "state.hidden.0.eps_a": at,
        "state.hidden.0.e_bar": at,
        "state.hidden.0.f": at,
        "extras.pre0": (..., i),
        "extras.psi": OF_POST,
        "extras.spikes": OF_POST,
    }


ERRORS = {"extras.score": ..., "extras.drift": ..., "extras.value": ..., "state.owed": ...}
TOLD_EPROP = {**ERRORS, "agent.modules.b": (POST,), "agent.optimisers.synapses.state.0.step": ...}
OF_READOUT = {
    "agent.modules.network.readout.weight": (1, PRE),
    "agent.modules.asked": (N * (N_IN + N) + N + PRE,),
    "agent.optimisers.synapses.state.1.exp_avg": (1, PRE),
    "agent.optimisers.synapses.state.1.exp_avg_sq": (1, PRE),
    "state.readout": (..., 1, PRE),
    "extras.x": OF_PRE,
}
TOLD_READOUT = {
    **ERRORS,
    "extras.score": (..., 1),
    "extras.drift": (..., 1),
    "agent.optimisers.synapses.state.1.step": ...,
}
OUTCOME = {"learns": "values", "error": "outcome", "trace": 0.5}

CASES = {
    "three_factor": Case(
        "three_factor",
        {"normalise_obs": False},
        {"cells": (40,)},
        {
            "agent.modules.readout.weight": (..., 1, PRE),
            "state.readout.traces.e": (..., 1, PRE),
            "extras.x": OF_PRE,
            "extras.signal": (..., 1),
        },
        {
            "agent.modules.readout.weight": (..., -1, slice(None)),
            "extras.value": ...,
            "agent.modules.network.code.centres": ...,
        },
    ),
    "hebbian node": Case("hebbian", HEBBIAN, {"hidden": (6,)}, OF_HEBBIAN, TOLD_HEBBIAN),
    "hebbian hebb": Case(
        "hebbian",
        {**HEBBIAN, "rule": "exploratory_hebb"},
        {"hidden": (6,)},
        OF_HEBBIAN,
        TOLD_HEBBIAN,
    ),
    "eprop, input": Case("eprop", {}, LSNN, of_eprop(PRE), TOLD_EPROP),
    "eprop, recurrent": Case("eprop", {}, LSNN, of_eprop(N_IN + 7), TOLD_EPROP),
    "eprop, values": Case("eprop", OUTCOME, LSNN, of_eprop(PRE), TOLD_EPROP),
    "eprop, shuffled": Case(
        "eprop",
        {"dopamine": "shuffled"},
        LSNN,
        of_eprop(PRE),
        {**TOLD_EPROP, "agent.modules.dopamine.past": ...},
    ),
    "eprop, readout": Case("eprop", {}, LSNN, OF_READOUT, TOLD_READOUT),
}


def build(case: Case) -> tuple[Any, vector.Vector]:
    """A maker of its agent, and its world: a pole that falls ends an episode every twenty steps."""
    env = vector.make("CartPole-v1", 3)
    module = config.agents_module(case.agent)
    blueprint = Blueprint.default(config.served(module)[0])
    blueprint = Blueprint(blueprint.name, dataclasses.replace(blueprint.config, **case.network))
    spaces = env.observation_space, env.action_space
    return lambda: module.Agent(
        module.Config(**case.settings), blueprint, *spaces, horizon=Horizon(1000), seed=1
    ), env


def test_every_local_learner_has_a_case():
    assert {case.agent for case in CASES.values()} == set(LOCAL)


@pytest.mark.parametrize("name", CASES)
def test_a_synapse_learns_from_what_is_its_own_and_what_it_is_told(name):
    case = CASES[name]
    make, env = build(case)
    check_local(make, env, case.own, case.told)


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("eprop, input", "extras.psi"),
        ("eprop, input", "agent.modules.b"),
        ("eprop, readout", "extras.score"),
        ("hebbian node", "extras.x0"),
        ("three_factor", "extras.value"),
    ],
)
def test_the_check_fails_where_a_synapse_uses_what_it_is_said_not_to_know(name, hidden):
    case = CASES[name]
    make, env = build(case)
    own, told = (
        {k: v for k, v in entries.items() if k != hidden} for entries in (case.own, case.told)
    )
    with pytest.raises(AssertionError, match="foreign to the synapse"):
        check_local(make, env, own, told)


def test_the_check_fails_where_a_state_keeps_the_history_of_a_trace():
    case = CASES["three_factor"]
    make, env = build(case)

    def with_history() -> Any:
        agent = make()
        update = agent.update

        def leaky(rollout: Any, state: Any) -> Any:
            after, metrics = update(rollout, state)
            traces = after.readout.traces
            traces = traces._replace(e=traces.e.requires_grad_())
            return after._replace(readout=after.readout._replace(traces=traces)), metrics

        agent.update = leaky
        return agent

    with pytest.raises(AssertionError, match=r"history of state\.readout\.traces\.e;"):
        check_local(with_history, env, case.own, case.told)


def test_symmetric_feedback_takes_the_weights_of_other_synapses():
    case = CASES["eprop, input"]
    make, env = build(case._replace(settings={"feedback": "symmetric", "readout_gain": 1.0}))
    told = {k: v for k, v in case.told.items() if k != "agent.modules.b"}
    with pytest.raises(AssertionError, match="foreign to the synapse"):
        check_local(make, env, case.own, told)
    check_local(make, env, case.own, {**told, "agent.modules.network.readout.weight": OF_POST})


@pytest.mark.parametrize("name", CASES)
def test_a_whole_training_prepares_no_gradient(name):
    make, env = build(CASES[name])
    runner = Runner(make(), env)
    runner.start(0)
    assert not any(p.requires_grad for p in runner.agent.parameters())
    with no_autograd():
        while int(runner.agent.clock.episodes) < 10:
            runner.step()
