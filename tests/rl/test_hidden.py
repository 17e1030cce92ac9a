"""Hidden synapses: what their neurons hear, when they change, and how fast they forget."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bio_rl import plasticity
from bio_rl.contracts import Percept
from bio_rl.networks import lsnn, mlp, spiking
from bio_rl.rl.hidden import HiddenState, HiddenSynapses, make_rule
from bio_rl.state import index, leaves

B, N_IN, N_OUT = 4, 3, 2


def percept(seed: int = 0, batch: int = B) -> Percept:
    obs = torch.randn(batch, N_IN, generator=torch.Generator().manual_seed(seed))
    no = torch.zeros(batch, dtype=torch.bool)
    return Percept(obs, no, no, no, ~no)


def perceptron(*hidden: int) -> mlp.Network:
    torch.manual_seed(0)
    return mlp.Network(mlp.Config(hidden=hidden or (5,)), N_IN, N_OUT)


def spikes(**settings: Any) -> spiking.Network:
    """A spiking network whose input is spikes."""
    torch.manual_seed(0)
    config = spiking.Config(
        **{"hidden": (5,), "population": 4, "code": "deterministic", **settings}
    )
    return spiking.Network(config, N_IN, N_OUT)


def synapses(network: Any, rule: plasticity.Rule) -> HiddenSynapses:
    torch.manual_seed(1)
    hidden = HiddenSynapses(network, rule, N_OUT)
    hidden.prepare(percept(batch=1))
    return hidden


def told(seed: int = 0, batch: int = B) -> tuple[Tensor, Tensor]:
    """(score [B, outputs], dopamine [B])."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, N_OUT, generator=g), torch.randn(batch, generator=g)


def learn(hidden: HiddenSynapses, network: Any, *, lr: float = 1.0, fresh: bool = True, **other):
    """(what the synapses met, the states, the changes of the weights) of one decision."""
    score, modulator = told()
    score, modulator = other.get("score", score), other.get("modulator", modulator)
    batch = len(score)
    before = [w.clone() for w in hidden.weights]
    with torch.no_grad():
        lived = network.live(percept(batch=batch), network.initial_state(batch))
        synapses = other.get("states", hidden.initial_state(batch).synapses)
        state = HiddenState(synapses, lived.trails)
        new = torch.full((batch,), fresh)
        state = hidden.learn(state, score, modulator, new, lr, other.get("valid"))
    changes = [w - old for w, old in zip(hidden.weights, before, strict=True)]
    return lived, state.synapses, changes


# ---------------------------------- what the neurons hear


def test_with_the_readouts_weights_as_feedback_the_change_is_the_gradient():
    network = perceptron()
    hidden = synapses(network, make_rule("three_factor", ["lr=1"], 0.0, 1.0))
    with torch.no_grad():
        hidden.b0.copy_(network.readout.weight.T)
    score, modulator = told()
    weight, bias = network.hidden[0].weight, network.hidden[0].bias
    out = network.readout(torch.tanh(percept().obs @ weight.T + bias))
    objective = (modulator.unsqueeze(1) * score * out).sum()
    gradient = torch.autograd.grad(objective, (weight, bias))
    _, _, (change,) = learn(hidden, network)
    torch.testing.assert_close(change, torch.cat((gradient[0], gradient[1].unsqueeze(1)), 1))


def test_e_prop_is_told_the_error_and_descends_it():
    # with traces that last for the tick alone e-prop on tanh units is three_factor
    network = perceptron()
    as_error = synapses(network, make_rule("eprop", ["lr=1", "tau_mem=0", "tau_out=0"], 0.0, 1.0))
    _, _, (change,) = learn(as_error, network)
    other = perceptron()
    as_score = synapses(other, make_rule("three_factor", ["lr=1"], 0.0, 1.0))
    assert torch.equal(as_error.b0, as_score.b0)
    _, _, (expected,) = learn(as_score, other)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(change, expected)


def test_every_layer_hears_the_outputs_by_feedback_of_its_own_that_stays():
    network = perceptron(6, 5)
    hidden = synapses(network, plasticity.make("three_factor"))
    assert hidden.b0.shape == (6, N_OUT) and hidden.b1.shape == (5, N_OUT)
    before = hidden.b0.clone(), hidden.b1.clone()
    _, _, changes = learn(hidden, network)
    assert all(change.abs().max() > 0 for change in changes)
    assert torch.equal(hidden.b0, before[0]) and torch.equal(hidden.b1, before[1])


def test_a_rule_that_does_not_listen_has_no_feedback_and_hears_no_score():
    network = spikes()
    hidden = synapses(network, plasticity.make("rstdp"))
    assert not hidden.state_dict()
    _, _, (change,) = learn(hidden, network)
    again = spikes()
    silent = synapses(again, plasticity.make("rstdp"))
    _, _, (same,) = learn(silent, again, score=torch.zeros(B, N_OUT))
    assert change.abs().max() > 0 and torch.equal(change, same)


# ---------------------------------- dopamine, rates, rows


@pytest.mark.parametrize("rule", ["three_factor", "eprop", "rstdp"])
def test_without_dopamine_or_without_a_rate_nothing_changes(rule):
    for how in ({"modulator": torch.zeros(B)}, {"lr": 0.0}):
        network = spikes()
        _, _, (change,) = learn(synapses(network, plasticity.make(rule)), network, **how)
        assert change.abs().max() == 0
    network = spikes()
    _, _, (change,) = learn(synapses(network, plasticity.make(rule)), network)
    assert change.abs().max() > 0


def test_dopamine_of_the_other_sign_turns_the_change_round():
    score, modulator = told()
    changes = []
    for sign in (1.0, -1.0):
        network = perceptron()
        hidden = synapses(network, plasticity.make("three_factor"))
        changes += learn(hidden, network, score=score, modulator=sign * modulator)[2]
    torch.testing.assert_close(changes[0], -changes[1])


@pytest.mark.parametrize("rule", ["oja", "bcm"])
def test_a_rule_without_a_neuromodulator_changes_whatever_dopamine_says(rule):
    changes = []
    for modulator in (torch.zeros(B), torch.full((B,), -3.0)):
        network = perceptron()
        hidden = synapses(network, plasticity.make(rule))
        states, now = hidden.initial_state(B).synapses, []
        for _ in range(2):  # bcm knows no threshold at first
            _, states, (change,) = learn(
                hidden, network, modulator=modulator, states=states, fresh=False
            )
            now.append(change)
        changes.append(now[-1])
    assert changes[0].abs().max() > 0 and torch.equal(*changes)


@pytest.mark.parametrize("rule", ["three_factor", "eprop", "rstdp", "oja", "pair_stdp"])
def test_a_row_whose_episode_begins_has_forgotten_what_was_before(rule):
    network = spikes()
    hidden = synapses(network, plasticity.make(rule))
    _, old, _ = learn(hidden, network)
    assert any(x.abs().max() > 0 for x in leaves(old))
    again = spikes()
    _, begun, _ = learn(synapses(again, plasticity.make(rule)), again, lr=0.0)
    once_more = spikes()
    _, state, _ = learn(synapses(once_more, plasticity.make(rule)), once_more, states=old, lr=0.0)
    assert all(torch.equal(a, b) for a, b in zip(leaves(state), leaves(begun), strict=True))


@pytest.mark.parametrize("make", [perceptron, spikes])
@pytest.mark.parametrize("rule", ["three_factor", "eprop"])
def test_rows_share_the_weights_whose_change_is_the_sum_of_theirs(make, rule):
    _, modulator = told()
    network = make()
    _, _, (whole,) = learn(synapses(network, plasticity.make(rule)), network)
    total = torch.zeros_like(whole)
    for row in torch.eye(B):
        one = make()
        hidden = synapses(one, plasticity.make(rule))
        _, _, (change,) = learn(hidden, one, modulator=modulator * row)
        total += change
    torch.testing.assert_close(whole, total, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "rule", ["three_factor", "rstdp", "oja", "pair_stdp", "instar", "three_factor+scaling+bounds"]
)
def test_rows_that_do_not_count_change_nothing_and_keep_their_traces(rule):
    valid = torch.tensor([True, False, False, True])
    score, modulator = told()
    network = spikes()
    hidden = synapses(network, plasticity.make(rule))
    _, old, _ = learn(hidden, network, lr=0.0, fresh=False)
    weights = [w.clone() for w in hidden.weights]
    trails = network.live(percept(), network.initial_state(B)).trails
    state = HiddenState(old, trails)
    fresh = torch.zeros(B, dtype=torch.bool)
    after = hidden.learn(state, score, modulator, fresh, 1.0, valid)

    again = spikes()
    alone = synapses(again, plasticity.make(rule))
    some, few = index((state, score, modulator, fresh), valid), alone.weights[0]
    few.copy_(weights[0])
    expected = alone.learn(*some, 1.0)
    assert torch.equal(hidden.weights[0], few) and not torch.equal(few, weights[0])
    for new, one, was in zip(
        leaves(after.synapses), leaves(expected.synapses), leaves(old), strict=True
    ):
        assert torch.equal(new[valid], one) and torch.equal(new[~valid], was[~valid])

    before = hidden.weights[0].clone()
    none = hidden.learn(state, score, modulator, fresh, 1.0, torch.zeros_like(valid))
    assert torch.equal(hidden.weights[0], before)
    assert all(torch.equal(a, b) for a, b in zip(leaves(none), leaves(state), strict=True))


# ---------------------------------- ticks and means


def test_a_rule_of_activities_sees_the_means_of_a_decision_as_one_long_tick():
    network = spikes(ticks=4)
    constants = {"tau_e": 8.0, "lr": 1.0}
    hidden = synapses(network, plasticity.make("three_factor", constants))
    assert not hidden.tickwise
    lived, states, _ = learn(hidden, network, lr=0.0)
    (trail,) = lived.trails
    score, _ = told()
    signal = (score @ hidden.b0.T) * trail.post.psi.mean(1)
    x = torch.cat((trail.pre.mean(1), torch.ones(B, 1)), 1)
    e = signal.unsqueeze(2) * x.unsqueeze(1)
    torch.testing.assert_close(states[0].traces.e, e)
    _, states, _ = learn(hidden, network, states=states, fresh=False, lr=0.0)
    torch.testing.assert_close(states[0].traces.e, e * (1.0 + math.exp(-4.0 / 8.0)))


def test_a_rule_of_spikes_sees_every_tick_and_hears_the_score_at_the_last():
    network = spikes(ticks=4)
    rule = plasticity.make("eprop")
    hidden = synapses(network, rule)
    assert hidden.tickwise
    lived, states, (change,) = learn(hidden, network)
    (trail,) = lived.trails
    score, modulator = told()
    # tick by tick by the rule itself
    x = torch.cat((trail.pre, torch.ones(B, 4, 1)), 2)
    w = torch.zeros(5, x.shape[2])
    traces = rule.init(B, *w.shape)
    for k in range(4):
        heard = -(score @ hidden.b0.T) if k == 3 else torch.zeros(B, 5)
        _, post = trail.tick(k)
        traces = rule.trace(traces, w, plasticity.Pre(x[:, k]), post, heard)
    expected = rule.delta(traces, w, modulator)
    assert expected.abs().max() > 0
    torch.testing.assert_close(change, expected.sum(0))
    pairs = zip(leaves(states[0].traces), leaves(traces), strict=True)
    assert all(torch.allclose(a, b) for a, b in pairs)


def test_a_rule_that_knows_the_last_tick_alone_changes_the_weights_at_every_tick():
    network = spikes(ticks=4)
    rule = plasticity.make("pair_stdp")
    hidden = synapses(network, rule)
    before = hidden.weights[0].clone()
    lived, _, (change,) = learn(hidden, network)
    (trail,) = lived.trails
    x = torch.cat((trail.pre, torch.ones(B, 4, 1)), 2)
    w = before.clone()
    traces = rule.init(B, *w.shape)
    for k in range(4):
        _, post = trail.tick(k)
        traces = rule.trace(traces, w.expand(B, -1, -1), plasticity.Pre(x[:, k]), post)
        w = w + rule.delta(traces, w.expand(B, -1, -1), torch.ones(B)).sum(0)
    assert (w - before).abs().max() > 0
    torch.testing.assert_close(change, w - before)


def test_the_ticks_of_a_network_are_as_long_as_it_says():
    torch.manual_seed(0)
    network = lsnn.Network(lsnn.Config(lif=5, alif=0, ticks=4, dt=5.0, gain=8.0), N_IN, N_OUT)
    hidden = synapses(network, plasticity.make("three_factor", {"tau_e": 40.0}))
    _, first, _ = learn(hidden, network, lr=0.0)
    _, second, _ = learn(hidden, network, states=first, fresh=False, lr=0.0)
    # 4 ticks of 5 ms, half of the trace's time constant
    e = first[0].traces.e
    assert e.abs().max() > 0
    torch.testing.assert_close(second[0].traces.e, e * (1.0 + math.exp(-0.5)))


def test_where_there_is_no_synapse_none_grows():
    torch.manual_seed(0)
    network = lsnn.Network(lsnn.Config(lif=5, alif=0, gain=8.0), N_IN, N_OUT)
    hidden = synapses(network, plasticity.make("three_factor", {"lr": 1.0}))
    _, _, (change,) = learn(hidden, network)
    (own,) = network.plastic
    assert (network.mask == 0).any()
    assert torch.equal(change[network.mask == 0], torch.zeros(5)) and change.abs().max() > 0
    assert torch.equal(own.mask, network.mask)


# ---------------------------------- which rule


@pytest.mark.parametrize(("rule", "constant"), [
    ("three_factor", "tau_e"),
    ("rstdp", "tau_c"),
    ("eprop", "tau_gamma"),
    ("r_max", "tau_e"),
])  # fmt: skip
def test_eligibility_fades_by_gamma_lambda_in_a_decision(rule, constant):
    made = make_rule(rule, [], 0.8, 4.0)
    assert plasticity.decay(getattr(made, constant), 4.0) == pytest.approx(0.8)
    given = make_rule(rule, [f"{constant}=7"], 0.8, 4.0)
    assert getattr(given, constant) == 7.0


def test_eligibility_that_never_or_at_once_fades():
    assert plasticity.decay(make_rule("three_factor", [], 1.0, 4.0).tau_e, 4.0) == 1.0
    assert plasticity.decay(make_rule("three_factor", [], 0.0, 4.0).tau_e, 4.0) == 0.0


def test_every_part_of_a_chain_fades_so_and_a_constant_may_name_its_part():
    chain = make_rule("three_factor+r_max", ["r_max.tau_e=7"], 0.8, 4.0)
    first, second = chain.rules
    assert plasticity.decay(first.tau_e, 4.0) == pytest.approx(0.8)
    assert second.tau_e == 7.0


@pytest.mark.parametrize(("network", "rule", "missing"), [
    (perceptron, "rstdp", "spikes"),
    (perceptron, "r_max", "probability"),
    (spikes, "r_max", "probability"),
])  # fmt: skip
def test_a_rule_that_reads_what_synapses_do_not_meet_is_refused(network, rule, missing):
    made = network()
    hidden = synapses(made, plasticity.make(rule))
    with pytest.raises(ValueError, match=f"the rule {rule} reads .*{missing}.* this network"):
        hidden.check(rule, "this network")


@pytest.mark.parametrize(("network", "rule"), [
    (perceptron, "three_factor"),
    (perceptron, "eprop"),
    (spikes, "rstdp"),
    (lambda: spikes(neuron="escape_noise"), "r_max"),
])  # fmt: skip
def test_a_rule_that_reads_what_they_meet_is_not(network, rule):
    made = network()
    hidden = synapses(made, plasticity.make(rule))
    hidden.check(rule, "this network")
