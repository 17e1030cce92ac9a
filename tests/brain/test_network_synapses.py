"""Spiking networks whose synapses are sparse, change in the short term, or are late: each does in a
network what its equations say, and what only it can do.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bio_rl.contracts import Percept, Probe
from bio_rl.networks import Blueprint
from bio_rl.networks.recurrent_spiking import Config as Recurrent
from bio_rl.networks.spiking import Config as Spiking
from bio_rl.plasticity.three_factor import ThreeFactor
from bio_rl.rl.hidden import HiddenSynapses
from bio_rl.state import index


def percepts(obs: Tensor) -> Percept:
    """Observations [T, B, F] of one episode."""
    no = torch.zeros(obs.shape[:2], dtype=torch.bool)
    return Percept(obs, torch.zeros(obs.shape[:2]), torch.zeros(obs.shape[:2]), no, no)


def at(xs: Percept, t: int) -> Percept:
    return Percept(*(x[t] for x in xs))


def spiking(n_in: int = 2, n_out: int = 2, **settings: Any) -> Any:
    torch.manual_seed(0)
    return Blueprint("spiking", Spiking(**settings)).build(n_in, n_out)


def arriving(net: Any, obs: Tensor, layer: int = 1) -> Tensor:
    """[T, K, B, pre] what arrives at the weights onto a layer in an episode."""
    xs = percepts(obs)
    state = net.initial_state(obs.shape[1])
    seen = []
    for t in range(len(obs)):
        probe = Probe()
        _, state = net(at(xs, t), state, probe)
        seen += [pre for name, _, pre in probe.products if name == f"layer {layer}"]
    return torch.stack(seen)


def test_a_sparse_network_is_a_dense_one_without_the_missing_synapses():
    shape = {"hidden": (20, 10), "gain": 8.0}
    sparse = spiking(connection="sparse", synapses=("density=0.25",), **shape)
    dense = spiking(**shape)
    saved = sparse.state_dict()
    masks = {name: saved.pop(name) for name in list(saved) if name.endswith("mask")}
    assert [mask.sum(1).unique().tolist() for mask in masks.values()] == [[6.0], [5.0]]
    dense.load_state_dict(saved)
    x = at(percepts(torch.randn(1, 7, 2)), 0)
    out, _ = sparse(x, ())
    expected, _ = dense(x, ())
    assert out.any() and torch.equal(out, expected)


@pytest.mark.parametrize("network", ["spiking", "recurrent_spiking"])
def test_a_local_rule_gives_a_sparse_layer_no_synapse_that_it_lacks(network):
    torch.manual_seed(0)
    settings = {"hidden": (12,), "connection": "sparse", "gain": 8.0}
    config = Spiking(**settings) if network == "spiking" else Recurrent(**settings)
    net = Blueprint(network, config).build(3, 2)
    hidden = HiddenSynapses(net, ThreeFactor(), signals=2)
    x = at(percepts(torch.randn(1, 5, 3)), 0)
    hidden.prepare(index(x, slice(0, 1)))
    connection = net.layers[0].connection
    before = connection.weight.clone()
    bias = connection.bias.clone()
    lived = net.live(x, net.initial_state(5))
    signs = torch.ones(5)
    state = hidden.initial_state(5)._replace(trails=lived.trails)
    hidden.learn(state, torch.randn(5, 2), signs, signs > 2, lr=1.0)
    changed = connection.weight != before
    assert changed.any() and not changed[connection.mask == 0].any()
    assert (connection.bias != bias).any()


def test_short_term_depression_settles_where_its_equations_say_and_answers_to_what_is_new():
    # a held current a releases U a x⁻ at each tick,
    # x⁻ = (1 - b) / (1 - b (1 - U a)),   b = e^{-1/τ_d}
    net = spiking(1, connection="stp", synapses=("U=0.4", "tau_d=10"), memory=True)
    obs = torch.full((30, 1, 1), 1.0)
    obs[20:] = -1.0
    release = arriving(net, obs)[:, :, 0]  # [T, K, pre]
    a = net.encoder(obs[:1], None, None, ())[0][0, 0]
    b = math.exp(-0.1)
    torch.testing.assert_close(release[0, 0], 0.4 * a)
    torch.testing.assert_close(release[19, -1], 0.4 * a * (1 - b) / (1 - b * (1 - 0.4 * a)))
    # the cells that begin to answer are rested, and the drive falls again as they tire
    total = release.sum(-1)
    assert total[20, 0] > 1.5 * total[19, -1] and total[20, 0] > 1.5 * total[29, -1]


def test_a_network_without_memory_begins_every_decision_with_rested_synapses():
    net = spiking(1, connection="stp")
    release = arriving(net, torch.ones(3, 1, 1))
    assert torch.equal(release[0], release[2]) and (release[0, 0] > release[0, 3]).any()


def test_spikes_arrive_at_the_next_layer_after_their_delays():
    settings = {"hidden": (12, 5), "memory": True, "gain": 20.0}
    net = spiking(connection="delay", synapses=("max_delay=6",), **settings)
    torch.manual_seed(1)
    obs = torch.randn(8, 3, 2)
    xs = percepts(obs)
    state = net.initial_state(3)
    fired = []
    for t in range(8):
        probe = Probe()
        _, state = net(at(xs, t), state, probe)
        fired += probe.records["spikes/1"]
    heard = arriving(net, obs, layer=2).flatten(0, 1)  # [T·K, B, pre]
    sent = torch.cat(fired)
    assert sent.any()
    for i, delay in enumerate(net.layers[1].connection.delays.tolist()):
        assert torch.equal(heard[delay:, :, i], sent[: len(sent) - delay, :, i])
        assert not heard[:delay, :, i].any()


def test_local_rules_see_late_spikes_when_they_arrive_and_releases_in_place_of_spikes():
    late = spiking(connection="delay", code="deterministic", memory=True, gain=20.0)
    x = at(percepts(torch.zeros(1, 3, 2)), 0)
    lived = late.live(x, late.initial_state(3))
    probe = Probe()
    late(x, late.initial_state(3), probe)
    met = {name: pre for name, _, pre in probe.products}
    assert torch.equal(lived.trails[0].pre.transpose(0, 1), met["layer 1"])
    assert [synapses.pre for synapses in late.plastic] == ["spike"]
    tired = spiking(connection="stp", code="deterministic")
    assert [synapses.pre for synapses in tired.plastic] == ["activity"]


def recall(connection: str, back: int = 6) -> float:
    """How often a network, trained by gradients, says after `back` decisions of one tick which of
    two things it saw then.
    """
    synapses = (f"max_delay={back}",) if connection == "delay" else ()
    settings = {"connection": connection, "synapses": synapses, "hidden": (64,), "gain": 10.0}
    net = spiking(1, 2, ticks=1, memory=True, population=20, **settings)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    loss = torch.nn.CrossEntropyLoss()
    for step in range(81):
        obs = torch.randint(2, (20, 32, 1), generator=torch.Generator().manual_seed(step))
        out, _ = net.unroll(percepts(2.0 * obs - 1.0), net.initial_state(32))
        answers = out[back:].flatten(0, 1)
        truth = obs[:-back].flatten()
        optimiser.zero_grad()
        loss(answers, truth).backward()
        optimiser.step()
    return (answers.argmax(-1) == truth).float().mean().item()


def test_with_delays_a_feed_forward_network_recalls_what_its_membranes_have_forgotten():
    # 6 ms are three time constants of a membrane that is also reset by its spikes
    assert recall("delay") > 0.95
    assert recall("dense") < 0.7
