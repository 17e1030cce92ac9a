"""Contracts over every discovered plasticity rule."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bio_rl import discovery, plasticity
from bio_rl.plasticity import Post, Pre
from bio_rl.state import leaves, tree_map

T, N_POST, N_PRE = 30, 3, 4
NAMES = list(discovery.names(plasticity))
NOT_LOCAL = {"sanger"}
"""Its Σ_{k≤j} y_k w_ki takes the activities and the weights of the outputs before: that is what
orders the components.
"""
VARIANTS = {
    "pair_stdp": {"mu": 0.5},
    "abcd": {
        k: torch.linspace(-1.0, 2.0, N_POST * N_PRE).reshape(N_POST, N_PRE) + i
        for i, k in enumerate("abcd")
    },
    "three_factor": {"tau_pre": 10.0},
    "eprop": {"beta": 1.6, "tau_gamma": 50.0},
}
COMPOSED = {
    "three_factor+scaling": {"scaling.lr": 0.1},
    "rstdp+scaling+bounds": {"scaling.lr": 0.1, "w_min": 0.0},
    "r_max+bounds": {"mu": 0.5},
    "three_factor+intrinsic": {"intrinsic.lr": 0.1},
    "intrinsic": {"lr": 0.1},
}
CASES = [(name, {}) for name in NAMES] + list(VARIANTS.items())
IDS = NAMES + [f"{name}-{'-'.join(v)}" for name, v in VARIANTS.items()]
single_rules = pytest.mark.parametrize("name, constants", CASES, ids=IDS)
every_rule = pytest.mark.parametrize(
    "name, constants",
    [*CASES, *(("make", (name, constants)) for name, constants in COMPOSED.items())],
    ids=[*IDS, *(f"make {name}" for name in COMPOSED)],
)


def build(name: str, constants):
    if name == "make":
        return plasticity.make(*constants)
    return plasticity.load(name)()._replace(**constants)


Inputs = dict[str, Tensor]
"""Everything that a rule may be told: pre [T, ..., pre], the rest [T, ..., post]."""


def draw(*lead: int, seed: int = 1) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    pre, post = (T, *lead, N_PRE), (T, *lead, N_POST)
    spikes = {
        "pre": torch.rand(pre, generator=g) < 0.4,
        "post": torch.rand(post, generator=g) < 0.4,
    }
    graded = {k: torch.rand(post, generator=g) for k in ("p", "psi", "v", "signal")}
    x = Inputs({k: x.float() for k, x in spikes.items()} | graded)
    for k in (
        "pre",
        "post",
    ):  # rules without a memory see the last tick only: there every neuron is active
        x[k][-1] = 0.5 + torch.rand(x[k][-1].shape, generator=g)
    return x


def weights(*lead: int, seed: int = 2) -> Tensor:
    return torch.rand(*lead, N_POST, N_PRE, generator=torch.Generator().manual_seed(seed))


def run(p, w: Tensor, x: Inputs, dt: float = 1.0, grad: bool = False):
    """The state after all ticks."""
    s = p.init(*x["pre"].shape[1:-1], N_POST, N_PRE)
    with torch.set_grad_enabled(grad):
        for t in range(len(x["pre"])):
            now = {k: values[t] for k, values in x.items()}
            post = Post(now["post"], now["p"], now["psi"], now["v"])
            s = p.trace(s, w, Pre(now["pre"]), post, now["signal"], dt)
    return s


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


@every_rule
@pytest.mark.parametrize("lead", [(), (2,), (3, 2)])
def test_a_tick_keeps_every_shape_and_a_pairing_changes_weights(name, constants, lead):
    p = build(name, constants)
    fresh = p.init(*lead, N_POST, N_PRE)
    assert all(x.shape[: len(lead)] == lead and not x.any() for x in leaves(fresh))
    s = run(p, weights(*lead), draw(*lead))
    assert type(s) is type(fresh)
    assert [(x.shape, x.dtype) for x in leaves(s)] == [(x.shape, x.dtype) for x in leaves(fresh)]
    for modulator in (torch.ones(lead), torch.ones(*lead, N_POST)):
        dw = p.delta(s, weights(*lead), modulator)
        assert (
            dw.shape == (*lead, N_POST, N_PRE) and dw.dtype == torch.float32 and dw.isfinite().all()
        )
        assert (dw != 0).any(-1).all()  # of every neuron of every row


@single_rules
def test_without_a_modulator_nothing_changes(name, constants):
    p = build(name, constants)
    assert not p.delta(run(p, weights(2), draw(2)), weights(2), torch.zeros(2)).any()


@single_rules
def test_the_change_is_linear_in_the_modulator_and_takes_its_sign(name, constants):
    p, w = build(name, constants), weights(2)
    s, m, n = run(p, w, draw(2)), torch.tensor([0.5, -2.0]), torch.tensor([1.5, 0.25])
    torch.testing.assert_close(
        p.delta(s, w, m + 3.0 * n), p.delta(s, w, m) + 3.0 * p.delta(s, w, n)
    )
    assert torch.equal(p.delta(s, w, -m), -p.delta(s, w, m))
    each = p.delta(
        s, w, m.unsqueeze(-1).expand(2, N_POST)
    )  # one modulator for each neuron: here the same
    assert torch.equal(each, p.delta(s, w, m))


@every_rule
def test_rows_never_mix(name, constants):
    p, w, x = build(name, constants), weights(3), draw(3)
    other, w_other, m_other = Inputs({k: v.clone() for k, v in x.items()}), w.clone(), torch.ones(3)
    for k, values in draw(3, seed=5).items():
        other[k][:, 1] = values[:, 1]
    w_other[1], m_other[1] = weights(3, seed=6)[1], 0.5
    a, b = run(p, w, x), run(p, w_other, other)
    dw_a, dw_b = p.delta(a, w, torch.ones(3)), p.delta(b, w_other, m_other)
    kept = torch.tensor([0, 2])
    assert equal(tree_map(lambda t: t[kept], a), tree_map(lambda t: t[kept], b))
    assert torch.equal(dw_a[kept], dw_b[kept])
    assert not torch.equal(dw_a[1], dw_b[1])


@every_rule
def test_shared_weights_equal_copies_in_every_row(name, constants):
    p, w, x = build(name, constants), weights(), draw(3)
    copies = w.expand(3, N_POST, N_PRE).clone()
    shared, own = run(p, w, x), run(p, copies, x)
    assert equal(shared, own)
    assert torch.equal(p.delta(shared, w, torch.ones(3)), p.delta(own, copies, torch.ones(3)))


@every_rule
def test_gradients_flow_through_every_rule_to_all_that_enters_it(name, constants):
    # compared with finite differences, so that a detach anywhere between shows
    rule = build(name, constants)
    if name != "make":
        rule = rule._replace(lr=1.0)
    rule = tree_map(lambda c: torch.as_tensor(c, dtype=torch.float64), rule)
    x = {k: v[-4:].double() for k, v in draw().items()}
    entering = (rule, x, weights().double(), torch.tensor(0.7, dtype=torch.float64))

    def change(*values: Tensor) -> Tensor:
        numbers = iter(values)
        rule, x, w, modulator = tree_map(lambda _: next(numbers), entering)
        return rule.delta(run(rule, w, x, grad=True), w, modulator)

    values = [v.requires_grad_() for v in leaves(entering)]
    assert torch.autograd.gradcheck(change, values)
    slopes = torch.autograd.grad(change(*values).sum(), list(leaves(rule)), allow_unused=True)
    assert any(slope is not None and slope.any() for slope in slopes)


@every_rule
def test_without_autograd_the_numbers_are_the_same_and_no_graph_stays_alive(name, constants):
    rule, w = build(name, constants), torch.nn.Parameter(weights())
    x = Inputs({k: v.requires_grad_() for k, v in draw(2).items()})
    with_graph = run(rule, w, x, grad=True)
    change = rule.delta(with_graph, w, torch.ones(2))
    assert change.requires_grad
    with torch.no_grad():
        state = run(rule, w, x)
        dw = rule.delta(state, w, torch.ones(2))
    assert not any(t.requires_grad for t in (*leaves(state), dw))
    assert equal(state, with_graph) and torch.equal(dw, change)


@every_rule
def test_a_rule_changes_nothing_that_it_was_given(name, constants):
    p, w, x = build(name, constants), weights(2), draw(2)
    before = Inputs({k: v.clone() for k, v in x.items()})
    s = run(p, w, x)
    kept = tree_map(torch.clone, s)
    first, again = p.delta(s, w, torch.ones(2)), p.delta(s, w, torch.ones(2))
    p.trace(
        s, w, Pre(x["pre"][0]), Post(*(x[k][0] for k in ("post", "p", "psi", "v"))), x["signal"][0]
    )
    assert torch.equal(first, again) and equal(s, kept) and torch.equal(w, weights(2))
    assert all(torch.equal(x[k], before[k]) for k in x)


@every_rule
def test_a_synapse_knows_only_its_own_two_neurons(name, constants):
    p, w, x = build(name, constants), weights(), draw()
    j, i = 1, 2
    others, w_others, m_others = draw(seed=7), weights(seed=8), torch.full((N_POST,), 0.3)
    for k, values in x.items():
        own = i if k == "pre" else j
        others[k][:, own] = values[:, own]
    w_others[j, i], m_others[j] = w[j, i], 1.0
    here = p.delta(run(p, w, x), w, torch.ones(N_POST))
    there = p.delta(run(p, w_others, others), w_others, m_others)
    assert not torch.equal(here, there)
    assert torch.equal(here[j, i], there[j, i]) is (name not in NOT_LOCAL)


@every_rule
def test_two_half_ticks_decay_as_much_as_one(name, constants):
    # nothing happens after the pairing, so what is left of it must not depend on the tick
    p, w = build(name, constants), weights()
    s, silent = run(p, w, draw()), {k: torch.zeros_like(v[0]) for k, v in draw().items()}

    def wait(s, dt: float, ticks: int):
        for _ in range(ticks):
            s = p.trace(
                s,
                w,
                Pre(silent["pre"]),
                Post(*(silent[k] for k in ("post", "p", "psi", "v"))),
                silent["signal"],
                dt,
            )
        return s

    coarse, fine = wait(wait(s, 1.0, 1), 4.0, 1), wait(wait(s, 1.0, 1), 0.5, 8)
    for a, b in zip(leaves(coarse), leaves(fine), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
