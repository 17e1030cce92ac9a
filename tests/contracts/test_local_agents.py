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
    network: str
    settings: dict[str, Any]
    network_settings: dict[str, Any]
    own: dict[str, Any]
    told: dict[str, Any]


N_IN, N = 4, 10
"""Numbers of a pole, and neurons of the lsnn."""
POST, PRE = 2, 1
"""j and i."""
OF_POST = (..., POST)
OF_PRE = (..., PRE)
SYNAPSE = (..., POST, PRE)
"""Indices of what neuron j has, of what neuron i has, and of what the synapse has."""

MLP = {"hidden": (6,)}
SPIKING = {"hidden": (6,), "gain": 8.0}
SPIKES_IN = {**SPIKING, "code": "deterministic"}
LSNN = {
    "lif": 5,
    "alif": 5,
    "ticks": 4,
    "gain": 4.0,
    "recurrent_gain": 2.0,
    "beta": 0.05,
    "tau_out": 40.0,
}
CELL = 5
"""An input of a spiking network that a pole near its centre drives: of 12 for each number."""

# V(s') is worked out in the update. So that dopamine is the same whatever else is altered, the
# critic stays at zero where the synapse is not its own
CALM = {"trace": 0.9, "critic_lr": 0.0, "normalise_obs": False}


def of_hebbian(weight: str, i: int) -> dict[str, Any]:
    """The entries of the synapse onto the hidden neuron POST from the input i."""
    return {
        weight: (POST, i),
        "state.synapses.0.traces.e": (..., POST, i),
        "extras.x0": (..., i),
        "extras.signal0": OF_POST,
    }


TOLD_HEBBIAN = {
    "extras.value": ...,
    "agent.modules.critic.weight": ...,
    "agent.modules.critic.bias": ...,
}


def of_eprop(i: int, pre: int = N_IN + N) -> dict[str, Any]:
    """The entries of the synapse onto neuron POST from the input i, or from the neuron i - N_IN."""
    at = (..., POST, i)
    return {
        "agent.modules.network.weight": at,
        "agent.modules.gradient": (POST * pre + i,),
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


def of_eprop_layer(weight: str, connection: int, i: int, place: int) -> dict[str, Any]:
    """The entries of a synapse onto neuron POST of recurrent_spiking from neuron i of a connection.

    place: its place in the flat gradient of all weights.
    """
    at = (..., POST, i)
    optimiser = f"agent.optimisers.synapses.state.{connection}"
    return {
        f"agent.modules.network.layers.0.{weight}": at,
        "agent.modules.gradient": (place,),
        "agent.modules.hidden.rate": (POST,),
        f"{optimiser}.exp_avg": at,
        f"{optimiser}.exp_avg_sq": at,
        f"state.hidden.{connection}.eps_v": (..., i),
        f"state.hidden.{connection}.e_bar": at,
        f"state.hidden.{connection}.f": at,
        f"extras.pre{connection}": (..., i),
        "extras.psi": OF_POST,
        "extras.spikes": OF_POST,
    }


ERRORS = {"extras.score": ..., "extras.drift": ..., "extras.value": ..., "state.pending": ...}
STEP = "agent.optimisers.synapses.state.{}.step"
TOLD_EPROP = {**ERRORS, "agent.modules.b": (POST,), STEP.format(0): ...}
OF_READOUT = {
    "agent.modules.network.readout.weight": (1, PRE),
    "agent.modules.gradient": (N * (N_IN + N) + N + PRE,),
    "agent.optimisers.synapses.state.1.exp_avg": (1, PRE),
    "agent.optimisers.synapses.state.1.exp_avg_sq": (1, PRE),
    "state.readout": (..., 1, PRE),
    "extras.x": OF_PRE,
}
TOLD_READOUT = {
    **ERRORS,
    "extras.score": (..., 1),
    "extras.drift": (..., 1),
    STEP.format(1): ...,
}
OUTCOME = {"learns": "values", "error": "outcome", "trace": 0.5}


class Trace(NamedTuple):
    """A trace of a rule's state."""

    name: str
    """Its field."""
    of: str
    """Whose it is: pre, post, or synapse."""


TRACES = {
    "three_factor": (Trace("x", "pre"), Trace("e", "synapse")),
    "rstdp": (Trace("x", "pre"), Trace("y", "post"), Trace("c", "synapse")),
    "eprop": (Trace("eps_v", "pre"), Trace("e_bar", "synapse"), Trace("f", "synapse")),
    "oja": (Trace("x", "pre"), Trace("y", "post")),
}
MET = {
    "three_factor": ("psi",),
    "rstdp": ("spike",),
    "eprop": ("psi",),
    "oja": ("spike",),
}
"""Variables of the postsynaptic neuron that the rule reads, by itself or in its signal."""
TOLD_SIGNAL = {"extras.signal": ..., "agent.modules.hidden.b0": (POST,)}
TOLD_DOPAMINE = {"extras.value": ..., "agent.modules.readout.weight": (..., -1, slice(None))}
TOLD_RULE = {
    "three_factor": {**TOLD_SIGNAL, **TOLD_DOPAMINE},
    "rstdp": TOLD_DOPAMINE,
    "eprop": {**TOLD_SIGNAL, **TOLD_DOPAMINE},
    "oja": {},
}


def hidden(rule: str, network: str, weight: str, i: int, **settings: Any) -> Case:
    """The case of three_factor's hidden synapse onto neuron POST from the input i, by a rule."""
    places = {"pre": (..., i), "post": OF_POST, "synapse": (..., POST, i)}
    own: dict[str, Any] = {f"agent.modules.network.{weight}": (POST, i)}
    own |= {
        f"state.hidden.synapses.0.traces.{trace.name}": places[trace.of] for trace in TRACES[rule]
    }
    own |= {"state.hidden.trails.0.pre": (..., i)}
    own |= {f"state.hidden.trails.0.post.{variable}": OF_POST for variable in MET[rule]}
    return Case("three_factor", network, {**CALM, "rule": rule}, settings, own, TOLD_RULE[rule])


CONNECTION = "layers.0.connection.weight"
CASES = {
    "three_factor": Case(
        "three_factor",
        "cells",
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
    "three_factor, mlp": hidden("three_factor", "mlp", "layers.0.weight", PRE, **MLP),
    "eprop, mlp": hidden("eprop", "mlp", "layers.0.weight", PRE, **MLP),
    "oja, mlp": hidden("oja", "mlp", "layers.0.weight", PRE, **MLP),
    "three_factor, spiking": hidden("three_factor", "spiking", CONNECTION, CELL, **SPIKING),
    "eprop, spiking": hidden("eprop", "spiking", CONNECTION, CELL, **SPIKING),
    "oja, spiking": hidden("oja", "spiking", CONNECTION, CELL, **SPIKING),
    "rstdp, spiking": hidden("rstdp", "spiking", CONNECTION, CELL, **SPIKES_IN),
    "three_factor, recurrent_spiking": hidden(
        "three_factor", "recurrent_spiking", CONNECTION, CELL, **SPIKING
    ),
    "three_factor, lsnn": hidden("three_factor", "lsnn", "weight", PRE, **LSNN),
    "hebbian three_factor": Case(
        "hebbian",
        "mlp",
        CALM,
        MLP,
        of_hebbian("agent.modules.network.layers.0.weight", PRE),
        TOLD_HEBBIAN,
    ),
    "hebbian exploratory_hebb": Case(
        "hebbian",
        "mlp",
        {**CALM, "rule": "exploratory_hebb"},
        MLP,
        of_hebbian("agent.modules.network.layers.0.weight", PRE),
        TOLD_HEBBIAN,
    ),
    "hebbian, spiking": Case(
        "hebbian",
        "spiking",
        CALM,
        SPIKING,
        of_hebbian(f"agent.modules.network.{CONNECTION}", CELL),
        TOLD_HEBBIAN,
    ),
    "eprop, input": Case("eprop", "lsnn", {}, LSNN, of_eprop(PRE), TOLD_EPROP),
    "eprop, recurrent": Case("eprop", "lsnn", {}, LSNN, of_eprop(N_IN + 7), TOLD_EPROP),
    "eprop, values": Case("eprop", "lsnn", OUTCOME, LSNN, of_eprop(PRE), TOLD_EPROP),
    "eprop, shuffled": Case(
        "eprop",
        "lsnn",
        {"dopamine": "shuffled"},
        LSNN,
        of_eprop(PRE),
        {**TOLD_EPROP, "agent.modules.dopamine.past": ...},
    ),
    "eprop, readout": Case("eprop", "lsnn", {}, LSNN, OF_READOUT, TOLD_READOUT),
    "eprop, recurrent_spiking's input": Case(
        "eprop",
        "recurrent_spiking",
        {},
        SPIKING,
        of_eprop_layer("connection.weight", 0, CELL, POST * 48 + CELL),
        TOLD_EPROP,
    ),
    "eprop, within recurrent_spiking": Case(
        "eprop",
        "recurrent_spiking",
        {},
        SPIKING,
        of_eprop_layer("recurrent.weight", 1, 4, 6 * 48 + POST * 6 + 4),
        {**ERRORS, "agent.modules.b": (POST,), STEP.format(1): ...},
    ),
}


def build(case: Case) -> tuple[Any, vector.Vector]:
    """A maker of its agent, and its world: a pole that falls ends an episode every twenty steps."""
    env = vector.make("CartPole-v1", 3)
    module = config.agents_module(case.agent)
    network = dataclasses.replace(Blueprint.default(case.network).config, **case.network_settings)
    blueprint = Blueprint(case.network, network)
    spaces = env.observation_space, env.action_space
    return lambda: module.Agent(
        module.Config(**case.settings), blueprint, *spaces, horizon=Horizon(1000), seed=1
    ), env


def test_every_local_learner_has_a_case_on_every_network_that_it_teaches():
    pairs = {(case.agent, case.network) for case in CASES.values()}
    taught = {name: config.agents_module(name).Agent.teaches for name in LOCAL}
    assert pairs == {(name, network) for name, networks in taught.items() for network in networks}


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
        ("hebbian three_factor", "extras.x0"),
        ("three_factor", "extras.value"),
        ("three_factor, mlp", "agent.modules.hidden.b0"),
        ("three_factor, spiking", "state.hidden.trails.0.post.psi"),
        ("rstdp, spiking", "state.hidden.trails.0.pre"),
        ("eprop, spiking", "extras.signal"),
        ("oja, mlp", "state.hidden.trails.0.post.spike"),
        ("hebbian, spiking", "extras.signal0"),
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
