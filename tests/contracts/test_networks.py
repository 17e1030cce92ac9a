"""Contracts over every discovered network, and over the variants of those that have settings which
change their state.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bio_rl import discovery, networks, neurons
from bio_rl.contracts import Network, Percept, Probe
from bio_rl.networks import Blueprint
from bio_rl.state import leaves, tree_map

T, B, N_IN, N_OUT = 7, 5, 3, 4
SMALL = {"spiking_conv": {"channels": (3, 4), "kernel": (3, 3), "stride": (2, 1), "hidden": (12,)}}
VARIANTS = {
    "spiking": [
        {"memory": True},
        {"code": "poisson"},
        {"memory": True, "code": "poisson"},
        {"code": "deterministic"},
        {"code": "latency", "memory": True},
        {"soft_reset": True},
        {"events": 0.1},
        {"events": 0.1, "memory": True},
        {"out_population": 5},
        {"out_population": 5, "lateral": True},
        {"out_population": 20, "lateral": True, "memory": True},
        {"hidden": (20, 10), "tau_mem": (2.0, 5.0)},
        {"out_population": 5, "tau_mem": (2.0, 3.0)},
        *({"neuron": name} for name in discovery.names(neurons)),
        {"neuron": "escape_noise", "memory": True},
        {"neuron": "alif", "memory": True, "constants": ("tau_adapt=20",)},
    ],
    "cells": [{"linger": 5.0}, {"columns": 5, "order": 2, "cells": (20,)}, {"cells": ()}],
    "recurrent_spiking": [
        {"dale": True},
        {"memory": False, "neuron": "plif"},
        {"hidden": (20, 10)},
    ],
    "spiking_conv": [{"memory": True, "neuron": "plif"}, {"out_population": 3}],
    "cnn": [{"channels": (5,), "kernel": (4,), "stride": (2,), "hidden": (10, 6)}],
}
CASES = [
    (name, settings)
    for name in discovery.names(networks)
    for settings in [{}, *VARIANTS.get(name, [])]
]
every_network = pytest.mark.parametrize(("name", "settings"), CASES, ids=lambda x: str(x))


def build(name, settings):
    torch.manual_seed(0)
    made = blueprint(name, settings)
    return made.build((1, 9, 9) if made.image else N_IN, N_OUT)


def blueprint(name, settings):
    return Blueprint(
        name,
        dataclasses.replace(Blueprint.default(name).config, **{**SMALL.get(name, {}), **settings}),
    )


def percepts(name, seed=1, resets=0.3):
    g = torch.Generator().manual_seed(seed)
    pictures = blueprint(name, {}).image
    return Percept(
        torch.rand(T, B, 1, 9, 9, generator=g)
        if pictures
        else torch.randn(T, B, N_IN, generator=g),
        torch.randint(0, 2, (T, B), generator=g),
        torch.randn(T, B, generator=g),
        torch.zeros(T, B, dtype=torch.bool),
        torch.rand(T, B, generator=g) < resets,
    )


def at(xs, t):
    return Percept(*(x[t] for x in xs))


@every_network
def test_unroll_equals_single_steps_resets_and_random_draws_included(name, settings):
    net, xs = build(name, settings), percepts(name)
    state, outputs = net.initial_state(B), []
    for t in range(T):
        out, state = net(at(xs, t), state)
        outputs.append(out)
    unrolled, final = net.unroll(xs, net.initial_state(B))
    torch.testing.assert_close(unrolled, torch.stack(outputs), rtol=1e-5, atol=1e-6)
    for a, b in zip(leaves(final), leaves(state), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@every_network
def test_unroll_from_the_middle_continues_the_same_life(name, settings):
    net, xs = build(name, settings), percepts(name)
    whole, _ = net.unroll(xs, net.initial_state(B))
    _, middle = net.unroll(Percept(*(x[:3] for x in xs)), net.initial_state(B))
    rest, _ = net.unroll(Percept(*(x[3:] for x in xs)), middle)
    torch.testing.assert_close(rest, whole[3:], rtol=1e-5, atol=1e-6)


@every_network
def test_rows_of_a_batch_never_mix(name, settings):
    net, xs = build(name, settings), percepts(name)
    before, _ = net.unroll(xs, net.initial_state(B))
    xs.obs[:, 2] += 10.0
    after, _ = net.unroll(xs, net.initial_state(B))
    others = [0, 1, 3, 4]
    assert torch.equal(before[:, others], after[:, others]) and not torch.equal(
        before[:, 2], after[:, 2]
    )


@every_network
def test_a_reset_is_seen_by_the_step_at_t_and_not_at_t_plus_1(name, settings):
    if settings.get("code") == "poisson" or settings.get("neuron") == "escape_noise":
        pytest.skip("its noise goes on over a reset; see the test of its draws")
    net, xs = build(name, settings), percepts(name, resets=0.0)
    xs.reset[4, 1] = True
    out, _ = net.unroll(xs, net.initial_state(B))
    fresh, _ = net.unroll(Percept(*(x[4:] for x in xs)), net.initial_state(B))
    torch.testing.assert_close(out[4:, 1], fresh[:, 1], rtol=1e-5, atol=1e-6)
    kept, _ = net.unroll(xs._replace(reset=torch.zeros_like(xs.reset)), net.initial_state(B))
    torch.testing.assert_close(out[:4], kept[:4], rtol=1e-5, atol=1e-6)
    if list(leaves(net.initial_state(1))):  # a stateful network must have had something to forget
        assert not torch.allclose(out[4, 1], kept[4, 1])


@every_network
def test_state_of_another_batch_is_an_error(name, settings):
    net = build(name, settings)
    if not list(leaves(net.initial_state(1))):
        pytest.skip("memoryless")
    with pytest.raises(ValueError, match="rows"):
        net(at(percepts(name), 0), net.initial_state(B + 1))


@every_network
def test_state_is_never_hidden_in_the_module(name, settings):
    net, xs = build(name, settings), percepts(name)
    saved = tree_map(torch.clone, net.state_dict())
    first, _ = net.unroll(xs, net.initial_state(B))
    second, _ = net.unroll(xs, net.initial_state(B))
    assert torch.equal(first, second)
    assert all(torch.equal(saved[k], v) for k, v in net.state_dict().items())


@every_network
def test_gradients_reach_every_parameter(name, settings):
    net = build(name, settings)
    out, _ = net.unroll(percepts(name), net.initial_state(B))
    out.square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


@every_network
def test_a_probe_changes_nothing_and_collects_k_b_n(name, settings):
    net, x = build(name, settings), at(percepts(name), 0)
    probe = Probe()
    with_probe, _ = net(x, net.initial_state(B), probe)
    without, _ = net(x, net.initial_state(B))
    assert torch.equal(with_probe, without)
    for records in probe.records.values():
        assert all(r.dim() == 3 and r.shape[1] == B and not r.requires_grad for r in records)
    assert name != "spiking" or probe.records["spikes/1"][0].shape == (4, B, net.config.hidden[0])
    assert probe.products and all(
        weight.shape[1] == pre.shape[-1] for _, weight, pre in probe.products
    )


@every_network
def test_save_and_load_restores_the_function(name, settings):
    net, xs = build(name, settings), percepts(name)
    torch.manual_seed(5)
    made = blueprint(name, settings)
    other = made.build((1, 9, 9) if made.image else N_IN, N_OUT)
    other.load_state_dict(net.state_dict())
    assert torch.equal(
        net.unroll(xs, net.initial_state(B))[0], other.unroll(xs, other.initial_state(B))[0]
    )


class Counter(Network):
    """A network of somebody else's that says the least: it adds up what it has seen."""

    def initial_state(self, batch):
        return (torch.zeros(batch, N_IN),)

    def forward(self, x, state, probe=None):
        (total,) = state
        total = torch.where(x.reset[:, None], 0.0, total) + x.obs
        return total[:, :2], (total,)


def test_the_base_gives_every_hook_a_default():
    net, xs = Counter(), percepts("mlp", resets=0.0)
    out, (total,) = net.unroll(xs, net.initial_state(B))
    torch.testing.assert_close(out, xs.obs.cumsum(0)[..., :2])
    torch.testing.assert_close(total, xs.obs.sum(0))
    none, (same,) = net.unroll(Percept(*(x[:0] for x in xs)), (total,))
    assert none.shape == (0, B, 2) and same is total
    assert net.stateful and net.parts() == ()
    net.anneal(0.5)
    net.regulate(Probe())


@every_network
def test_a_network_says_whether_it_has_a_state(name, settings):
    net = build(name, settings)
    assert isinstance(net, Network)
    assert net.stateful == (net.initial_state(1) != ())


def test_poisson_draws_differ_between_decisions_and_rows():
    net, xs = build("spiking", {"code": "poisson", "gain": 10.0}), percepts("spiking")
    same = xs._replace(obs=torch.ones_like(xs.obs))
    out, _ = net.unroll(same, net.initial_state(B))
    assert not torch.equal(out[0], out[1]) and not torch.equal(out[0, 0], out[0, 1])


def test_impossible_settings_are_refused_at_construction():
    for name, settings in [
        ("mlp", {"hidden": ()}),
        ("mlp", {"activation": "step"}),
        ("lstm", {"hidden": 0}),
        ("spiking", {"ticks": 0}),
        ("spiking", {"surrogate": "cliff"}),
        ("spiking", {"code": "morse"}),
        ("spiking", {"tau_mem": (2.0, 3.0)}),
        ("spiking", {"slope": (1.0, 2.0, 3.0)}),
        ("spiking_conv", {"kernel": (3,)}),
        ("cnn", {"hidden": ()}),
        ("cnn", {"kernel": (3,)}),
        ("cnn", {"stride": (1, 0), "channels": (8, 8), "kernel": (3, 3)}),
    ]:
        with pytest.raises(ValueError, match=next(iter(settings)).replace("_", "[-_]")):
            build(name, settings)


def test_unknown_neurons_and_constants_are_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'alif'"):
        build("spiking", {"neuron": "aliff"})
    with pytest.raises(ValueError, match="did you mean 'tau_adapt'"):
        build("spiking", {"neuron": "alif", "constants": ("tau_adap=3",)})
    with pytest.raises(ValueError, match="NAME=NUMBER"):
        build("spiking", {"neuron": "alif", "constants": ("beta",)})
    with pytest.raises(ValueError, match="soft-reset"):
        build("spiking", {"neuron": "izhikevich", "soft_reset": True})
    with pytest.raises(ValueError, match="expected"):
        build("spiking_conv", {"kernel": (10, 3)})
