"""Rules put together: what each part sees, what gates it, what a learner is told of the whole."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from bio_rl import plasticity
from bio_rl.plasticity import Bounds, Chain, Needs, Post, Pre, WithBias, make
from bio_rl.plasticity.intrinsic import Intrinsic
from bio_rl.plasticity.oja import Oja
from bio_rl.plasticity.pair_stdp import PairSTDP
from bio_rl.plasticity.scaling import Scaling, ScalingState
from bio_rl.plasticity.three_factor import ThreeFactor

SPIKING = ("spike", "psi", "v")
PRE = Pre(torch.tensor([1.0, 0.0]))
POST = Post(torch.tensor([1.0, 0.0, 1.0]), p=torch.tensor([0.5, 0.5, 0.25]))


def spikes(ticks: int, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(ticks, n, generator=generator) < 0.2).float()


def test_a_part_sees_the_weights_after_the_change_of_the_part_before():
    # pre 1, signal 1, so e = 1: the first part asks for 0.5, and w is 1.5 when scaling sees it.
    # The rate is 10 Hz under its target: 0.01 · 10 · 1.5 = 0.15
    chain = Chain((ThreeFactor(lr=0.5), Scaling(lr=0.01)))
    w = torch.ones(1, 1)
    first, _ = chain.init(1, 1)
    first = chain.rules[0].trace(first, w, Pre(torch.ones(1)), Post(torch.ones(1)), torch.ones(1))
    state = (first, ScalingState(torch.tensor([-10.0])))
    torch.testing.assert_close(chain.delta(state, w, torch.ones(())), torch.tensor([[0.65]]))


def test_a_modulator_gates_only_the_parts_that_it_is_meant_for():
    chain = Chain((ThreeFactor(lr=0.5), Scaling(lr=0.01)))
    w = torch.ones(3, 2)
    state = chain.trace(chain.init(3, 2), w, PRE, POST)
    alone = chain.rules[1].delta(state[1], w, torch.ones(()))
    assert alone.any()
    assert torch.equal(chain.delta(state, w, torch.zeros(())), alone)
    for_dopamine = chain.rules[0].delta(state[0], w, torch.tensor(-2.0))
    expected = for_dopamine + Scaling(lr=0.01).delta(state[1], w + for_dopamine, torch.ones(()))
    assert torch.equal(chain.delta(state, w, torch.tensor(-2.0)), expected)


def test_a_chain_of_one_is_the_rule():
    w = torch.rand(3, 2)
    rule = ThreeFactor()
    chain = Chain((rule,))
    alone = rule.trace(rule.init(3, 2), w, PRE, POST)
    (state,) = chain.trace(chain.init(3, 2), w, PRE, POST)
    assert all(torch.equal(a, b) for a, b in zip(alone, state, strict=True))
    modulator = torch.tensor(0.3)
    assert torch.equal(chain.delta((state,), w, modulator), rule.delta(alone, w, modulator))


@pytest.mark.parametrize("mu", [0.5, 1.0])
def test_soft_bounds_of_pair_stdp_are_its_own(mu):
    within = PairSTDP(mu=mu)
    around = Bounds(PairSTDP(mu=0.0), w_min=0.0, w_max=1.0, mu=mu)
    pre, post = spikes(200, 4, seed=0), spikes(200, 3, seed=1)
    post = post * (1.0 - pre.amax(-1, keepdim=True))  # no synapse pairs both ways at one tick
    state, w = within.init(3, 4), torch.rand(3, 4, generator=torch.Generator().manual_seed(2))
    for x, y in zip(pre, post, strict=True):
        state = within.trace(state, w, Pre(x), Post(y))
        change = within.delta(state, w, torch.ones(()))
        torch.testing.assert_close(around.delta(state, w, torch.ones(())), change)
        w = w + change


def test_hard_bounds_leave_the_change_alone_until_the_bound():
    rule = Bounds(ThreeFactor(lr=1.0), w_min=-1.0, w_max=1.0)
    w = torch.tensor([[0.5, 0.9, -0.9, 0.9]])
    state = rule.init(1, 4)._replace(e=torch.tensor([[0.25, 0.25, -0.25, -0.25]]))
    expected = torch.tensor([[0.25, 0.1, -0.1, -0.25]])
    torch.testing.assert_close(rule.delta(state, w, torch.ones(())), expected)
    assert not rule.delta(state, w, torch.zeros(())).any()


def test_a_weight_that_began_outside_its_bounds_moves_inwards_only_and_by_its_rule_alone():
    # several brains that share a weight add their changes: a pull to the bound would be added too,
    # and throw the weight further out than it was
    rule = Bounds(ThreeFactor(lr=1.0), w_min=-1.0, w_max=1.0)
    beyond = torch.tensor([[2.0, 2.0, -2.0, -2.0]])
    state = rule.init(1, 4)._replace(e=torch.tensor([[0.25, -0.25, 0.25, -0.25]]))
    assert not rule.delta(state, beyond, torch.zeros(())).any()
    change = rule.delta(state, beyond, torch.ones(()))
    torch.testing.assert_close(change, torch.tensor([[0.0, -0.25, 0.25, 0.0]]))


def test_bounds_hold_through_a_life_of_random_dopamine():
    rule = make("three_factor+scaling+bounds", {"three_factor.lr": 0.5, "mu": 0.0, "w_min": 0.0})
    generator = torch.Generator().manual_seed(0)
    w, state = torch.full((4, 3, 2), 0.5), rule.init(4, 3, 2)
    at_bound = 0
    for _ in range(200):
        pre, post, p = (torch.rand(4, n, generator=generator) for n in (2, 3, 3))
        state = rule.trace(state, w, Pre(pre), Post((post < p).float(), p))
        w = w + rule.delta(state, w, torch.randn(4, generator=generator))
        at_bound += int(((w - 0.5).abs() > 0.4999).sum())
        assert w.min() > -1e-6 and w.max() < 1 + 1e-6
    assert at_bound > 100


def test_the_last_column_has_a_rule_for_biases_and_the_others_one_for_weights():
    rule = WithBias(ThreeFactor(), Intrinsic(lr=0.1))
    w, x = torch.rand(3, 3), Pre(torch.tensor([1.0, 0.5, 1.0]))
    state = rule.trace(rule.init(3, 3), w, x, POST)
    change = rule.delta(state, w, torch.tensor(0.5))
    weights, bias = ThreeFactor(), Intrinsic(lr=0.1)
    alone = weights.trace(weights.init(3, 2), w[:, :2], Pre(x.spike[:2]), POST)
    always_on = bias.trace(bias.init(3, 1), w[:, 2:], Pre(torch.ones(1)), POST)
    assert torch.equal(change[:, :2], weights.delta(alone, w[:, :2], torch.tensor(0.5)))
    assert torch.equal(change[:, 2:], bias.delta(always_on, w[:, 2:], torch.ones(())))
    assert change.all()


def test_a_rule_for_biases_alone_leaves_the_weights():
    rule = make("intrinsic", {"lr": 0.1})
    w = torch.rand(3, 3)
    state = rule.trace(rule.init(3, 3), w, Pre(torch.ones(3)), POST)
    change = rule.delta(state, w, torch.zeros(()))
    assert not change[:, :2].any() and change[:, 2:].all()


def test_scaling_keeps_a_reward_modulated_neuron_at_its_rate():
    # dopamine that only ever rises drives the weights up; with scaling the rate stays near 50 Hz
    def rate(name: str) -> float:
        rule = make(name, {"three_factor.lr": 2e-3, "three_factor.tau_e": 20.0} | constants[name])
        generator = torch.Generator().manual_seed(0)
        w, state, fired = torch.full((1, 10), 0.05), rule.init(1, 10), []
        for _ in range(6000):
            x = (torch.rand(10, generator=generator) < 0.1).float()
            p = (w @ x).clamp(0.0, 1.0)
            y = (torch.rand(1, generator=generator) < p).float()
            state = rule.trace(state, w, Pre(x), Post(y), signal=y)
            w = w + rule.delta(state, w, torch.tensor(0.05))
            fired.append(float(y))
        return sum(fired[-3000:]) / 3.0

    constants: dict[str, dict[str, float]] = {
        "three_factor+bounds": {},
        "three_factor+scaling": {"target": 50.0, "tau_rate": 500.0, "scaling.lr": 1e-4},
    }
    assert rate("three_factor+bounds") > 250.0
    assert 40.0 < rate("three_factor+scaling") < 70.0


# names and constants


def test_a_composition_is_spelt_with_plus_signs():
    chain = Chain((ThreeFactor(lr=0.5), Scaling(target=5.0)))
    constants = {"three_factor.lr": 0.5, "target": 5.0}
    assert make("three_factor+scaling", constants) == chain
    constants = {"three_factor.lr": 0.5, "target": 5.0, "mu": 1.0}
    assert make("three_factor+scaling+bounds", constants) == Bounds(chain, mu=1.0)
    assert make("three_factor+bounds+scaling") == Chain((Bounds(ThreeFactor()), Scaling()))
    assert make("oja", {"lr": 0.5}) == Oja(lr=0.5)
    # biases are not bounded, wherever their rule stands
    expected = WithBias(Bounds(ThreeFactor()), Intrinsic())
    assert make("three_factor+intrinsic+bounds") == expected
    assert make("intrinsic+three_factor+bounds") == expected
    assert make("intrinsic") == WithBias((), Intrinsic())


@pytest.mark.parametrize(
    "name, constants, message",
    [
        ("three_facto", {}, "did you mean 'three_factor'"),
        ("three_factor+", {}, "no plasticity called ''"),
        ("bounds", {}, "no rule of the weights before bounds; give one, as in three_factor+"),
        ("intrinsic+bounds", {}, "no rule of the weights before bounds"),
        ("oja+oja", {}, "names a part twice"),
        ("oja", {"rate": 1.0}, "no constant called 'rate'; known: lr"),
        ("oja+bounds", {"rule": 1.0}, "no constant called 'rule'"),
        ("oja+scaling", {"lr": 1.0}, "more than one lr; write oja.lr or scaling.lr"),
        ("oja", {"scaling.lr": 1.0}, "no constant called 'scaling.lr'"),
    ],
)
def test_a_rule_that_cannot_be_made_says_why(name, constants, message):
    with pytest.raises(ValueError) as error:
        make(name, constants)
    assert message in str(error.value)


def test_constants_are_read_from_texts():
    assert plasticity.parse(["lr=0.5", "scaling.tau_rate=inf"]) == {
        "lr": 0.5,
        "scaling.tau_rate": float("inf"),
    }
    for text in ("lr", "lr=", "lr=fast"):
        with pytest.raises(ValueError, match="is not NAME=NUMBER"):
            plasticity.parse([text])


def test_a_module_without_a_rule_is_refused(monkeypatch):
    class Undeclared(NamedTuple):
        lr: float = 0.1

    monkeypatch.setattr("bio_rl.plasticity.oja.RULE", Undeclared)
    with pytest.raises(ValueError, match="the RULE of oja is Undeclared, which is no rule"):
        make("oja")


# what a learner is told


def test_a_composition_needs_what_any_part_needs():
    needs = make("r_max+scaling+intrinsic+bounds").needs
    assert needs == Needs(
        modulator=True, every_tick=True, post=("spike", "activity", "p"), bias=True
    )
    assert not make("oja+bounds").needs.modulator
    assert make("three_factor").needs.reads_signal and make("eprop").needs.reads_signal
    assert not make("r_max").needs.reads_signal


@pytest.mark.parametrize(
    "name, given, message",
    [
        ("eprop", {"post": SPIKING}, "eprop needs a learning signal for each neuron"),
        (
            "eprop",
            {"post": ("activity",), "signal": True},
            "the rule eprop reads the pseudo-derivative of each spike (psi) of its postsynaptic "
            "neurons, which mlp does not give; it gives: activity",
        ),
        ("r_max", {"post": SPIKING}, "the probability of each spike"),
        ("rstdp", {"post": ("activity",)}, "reads spikes, 0 or 1 (spike) of its postsynaptic"),
        ("rstdp", {"pre": ("activity",), "post": SPIKING}, "of its presynaptic neurons"),
        ("three_factor", {"post": ("activity",)}, "(p) of its postsynaptic"),
        ("three_factor+scaling", {"post": ("activity",), "signal": True}, "(spike) of its post"),
        ("oja", {"pre": (), "post": ()}, "it gives: nothing"),
    ],
)
def test_a_network_that_cannot_give_what_a_rule_reads_is_refused(name, given, message):
    with pytest.raises(ValueError) as error:
        make(name).needs.check(name, "mlp", **{"pre": SPIKING, **given})
    assert message in str(error.value)


@pytest.mark.parametrize(
    "name, given",
    [
        ("eprop", {"post": SPIKING, "signal": True}),
        ("rstdp", {"post": SPIKING}),
        ("oja", {"post": ("spike",)}),  # a spike is an activity
        ("oja", {"post": ("activity",)}),
        ("three_factor", {"post": ("activity", "p")}),
        ("three_factor", {"post": (), "signal": True}),
    ],
)
def test_a_network_that_gives_what_a_rule_reads_is_accepted(name, given):
    assert make(name).needs.check(name, "spiking", pre=SPIKING, **given) is None
