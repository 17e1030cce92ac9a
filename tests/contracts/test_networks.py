"""Contracts over every discovered network, and over the variants of those that have settings which
change their state.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bio_rl import discovery, networks, neurons
from bio_rl.contracts import Network, Percept, Probe
from bio_rl.networks import Blueprint, _layers
from bio_rl.parts import INPUT
from bio_rl.state import leaves, tree_map

T, B, N_IN, N_OUT = 7, 5, 3, 4
SMALL = {"spiking_conv": {"channels": (3, 4), "kernel": (3, 3), "stride": (2, 1), "hidden": (12,)}}
LIVELY = {"alif": {"gain": 60.0}}
"""Settings with which a neuron fires within 4 ms, in which a membrane of 20 ms hardly moves."""
FAST_STP = {"synapses": ("U=0.2", "tau_f=10", "tau_d=20"), "gain": 20.0}
"""Short-term plasticity of a few decisions; over 800 ms a current that is held runs it dry."""
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
        {"decode": "max_membrane"},
        {"decode": "max_membrane", "out_population": 20, "memory": True, "tau_out": 0.0},
        {"out_population": 20, "lateral": True, "memory": True},
        {"hidden": (20, 10), "tau_mem": (2.0, 5.0)},
        {"out_population": 5, "tau_mem": (2.0, 3.0)},
        *({"neuron": name, **LIVELY.get(name, {})} for name in neurons.spiking()),
        {"neuron": "escape_noise", "memory": True},
        {"neuron": "alif", "memory": True, "constants": ("tau_adapt=20",)},
        {"connection": "sparse", "synapses": ("density=0.2",), "hidden": (20, 10)},
        {"connection": "stp"},
        {"connection": "stp", "memory": True, "hidden": (20, 10), **FAST_STP},
        {"connection": "delay"},
        {"connection": "delay", "memory": True, "synapses": ("max_delay=9",), "hidden": (20, 10)},
        {"connection": "delay", "code": "deterministic", "memory": True, "out_population": 20},
    ],
    "cells": [{"linger": 5.0}, {"columns": 5, "order": 2, "cells": (20,)}, {"cells": ()}],
    "recurrent_spiking": [
        {"dale": True},
        {"memory": False, "neuron": "plif"},
        {"hidden": (20, 10)},
        {"connection": "sparse"},
        {"connection": "stp", **FAST_STP},
        {"connection": "delay", "hidden": (20, 10)},
    ],
    "spiking_conv": [
        {"memory": True, "neuron": "plif"},
        {"out_population": 3},
        {"connection": "delay", "memory": True},
    ],
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
        ("spiking", {"decode": "morse"}),
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
    with pytest.raises(ValueError, match="expected"):
        build("spiking_conv", {"kernel": (10, 3)})


OWN = {  # the constants that settings of a network name, at a neuron's documented defaults
    "adex": {"surrogate": "atan", "slope": 0.1},
    "alif": {"tau_mem": 20.0, "v_reset": None, "surrogate": "triangle", "slope": 1.0},
    "cuba_lif": {"v_reset": 0.0, "surrogate": "rectangle", "slope": 1.0},
    "escape_noise": {"tau_mem": 20.0, "v_reset": 0.0},
    "izhikevich": {"surrogate": "atan", "slope": 0.1},
    "lif": {"tau_mem": 2.0, "v_reset": 0.0, "surrogate": "atan", "slope": 2.0},
    "plif": {"v_reset": 0.0, "surrogate": "atan", "slope": 2.0},
}


@pytest.mark.parametrize("name", neurons.spiking())
def test_a_neuron_in_a_network_has_its_own_defaults(name):
    layer = build("spiking", {"neuron": name}).layers[0]
    defaults = neurons.load(name)()._asdict()
    for constant, value in layer.constants()._asdict().items():
        if constant in layer.learned:
            value = value.unique().item()
        assert value == pytest.approx(defaults[constant])
    assert OWN[name].items() <= defaults.items()


def test_settings_override_a_neurons_own_defaults():
    settings = {"tau_mem": (3.0,), "surrogate": "sigmoid", "slope": (4.0,), "soft_reset": True}
    p = build("spiking", {"neuron": "cuba_lif", **settings}).layers[0].p
    assert (p.tau_mem, p.surrogate, p.slope, p.v_reset) == (3.0, "sigmoid", 4.0, None)
    per_mv = build("spiking", {"neuron": "adex", "slope": (4.0,)}).layers[0].p
    assert per_mv.slope == 4.0 / 90.0  # 90 mV are what a threshold is elsewhere
    plif = build("spiking", {"neuron": "plif", "tau_mem": (7.0,)}).layers[0].constants()
    torch.testing.assert_close(plif.tau_mem(), torch.full((128,), 7.0))


@pytest.mark.parametrize(
    ("neuron", "settings", "says"),
    [
        (
            "adex",
            {"tau_mem": (3.0,)},
            "tau_mem .* adex .*: alif, cuba_lif, escape_noise, lif, plif",
        ),
        ("izhikevich", {"soft_reset": True}, "soft-reset .* izhikevich .* have it: alif, cuba_lif"),
        ("adex", {"soft_reset": True}, "soft-reset .* adex .* have it: alif, cuba_lif"),
        ("escape_noise", {"surrogate": "atan"}, "surrogate .* have it: adex, alif, cuba_lif"),
        ("escape_noise", {"slope": (1.0,)}, "slope .* have it: adex, alif, cuba_lif"),
        ("izhikevich", {"detach_reset": False}, "no-detach-reset .* have it: alif, cuba_lif"),
        (
            "leaky_integrator",
            {},
            "leaky_integrator.* never spikes: it is for readouts; known: adex",
        ),
    ],
)
def test_a_setting_that_the_neuron_lacks_is_refused(neuron, settings, says):
    with pytest.raises(ValueError, match=says):
        build("spiking", {"neuron": neuron, **settings})


def test_a_constant_that_is_a_setting_of_its_own_is_refused():
    with pytest.raises(ValueError, match="detach_reset of lif is no number; it is a setting"):
        build("spiking", {"constants": ("detach_reset=0",)})


def test_a_reset_that_carries_gradient_runs_in_torch_and_says_so_once(capfd):
    _layers.say_unfused.cache_clear()
    detached = build("spiking", {"hidden": (20,)})
    attached = build("spiking", {"hidden": (20,), "detach_reset": False})
    build("spiking", {"detach_reset": False})
    assert capfd.readouterr().err.count("the reset carries gradient") == 1
    xs = percepts("spiking")
    outputs = []
    gradients = []
    for net in (detached, attached):
        out, _ = net.unroll(xs, net.initial_state(B))
        out.square().sum().backward()
        outputs.append(out)
        gradients.append(net.layers[0].connection.weight.grad)
    torch.testing.assert_close(*outputs)
    assert not torch.allclose(*gradients)


# The graph of a network


def connections(net):
    return {part.name: part for part in net.parts() if part.role == "connection"}


@every_network
def test_parts_are_in_order_and_read_parts_that_exist(name, settings):
    parts = build(name, settings).parts()
    names = [part.name for part in parts]
    assert len(set(names)) == len(names) and INPUT not in names
    assert {part.role for part in parts} <= {"code", "connection", "neurons"}
    before = {INPUT}
    for part in parts:
        assert part.sources and part.n > 0 and part.kind
        loops = {source for source in part.sources if source not in before}
        assert loops <= set(names)
        # what a part reads comes before it, but for what closes a loop: from the neurons of a layer
        # to themselves
        assert not loops or (
            part.role == "connection" and names.index(*loops) <= names.index(part.name) + 1
        )
        before.add(part.name)
    assert parts[-1].n == N_OUT


@every_network
def test_connections_are_the_products_that_a_probe_sees(name, settings):
    net = build(name, settings)
    sizes = {part.name: part.n for part in net.parts()}
    probe = Probe()
    net(at(percepts(name), 0), net.initial_state(B), probe)
    found = connections(net)
    assert set(found) == {product for product, _, _ in probe.products}
    for product, weight, pre in probe.products:
        part = found[product]
        (source,) = part.sources
        assert part.module.weight.numel() == weight.numel()
        if part.kind in ("dense", "recurrent"):
            n_pre = pre.shape[-1] if source == INPUT else sizes[source]
            assert part.module.weight.shape == (part.n, n_pre) == weight.shape


@every_network
def test_parts_hold_every_parameter(name, settings):
    net = build(name, settings)
    held = set()
    for part in net.parts():
        if part.module is not None:
            held |= {id(x) for x in part.module.parameters()}
        if part.constants is not None:
            held |= {id(x) for x in part.constants if isinstance(x, torch.Tensor)}
    assert {id(x) for x in net.parameters()} <= held


@every_network
def test_spiking_neurons_say_their_constants_and_kind(name, settings):
    net = build(name, settings)
    known = neurons.spiking()
    for part in net.parts():
        assert (part.constants is not None) == (part.role == "neurons" and part.kind in known)
    probe = Probe()
    net(at(percepts(name), 0), net.initial_state(B), probe)
    spiking = [part for part in net.parts() if part.constants is not None]
    trains = [records[0] for name, records in probe.records.items() if name.startswith("spikes/")]
    assert [part.n for part in spiking] == [train.shape[-1] for train in trains]


def test_the_parts_are_enough_to_compute_a_spiking_decision():
    # by the graph alone: drive, ticks of the neurons, average of the spikes, readout
    net = build("spiking", {"hidden": (20, 10), "neuron": "alif", "gain": 60.0, "tau_out": 0.0})
    x = at(percepts("spiking"), 0)
    fields, one, first, two, second, average, readout = net.parts()
    assert [part.sources for part in (one, two, readout)] == [
        ("fields",),
        ("neurons 1",),
        ("average",),
    ]
    current = one.module(fields.module(x.obs), ())[0]
    states = [part.constants.init(B, part.n) for part in (first, second)]
    rates = torch.zeros(B, average.n)
    for _ in range(net.config.ticks):
        z, states[0] = first.constants.step(states[0], current)
        z, states[1] = second.constants.step(states[1], two.module(z, ())[0])
        rates += z / net.config.ticks
    out, _ = net(x, ())
    assert rates.any()
    torch.testing.assert_close(readout.module(rates), out)


def test_the_two_halves_of_a_fused_matrix_are_views_of_it():
    net = build("lsnn", {})
    found = connections(net)
    incoming = found["incoming"].module
    recurrent = found["recurrent"].module
    assert torch.equal(torch.cat((incoming.weight, recurrent.weight), 1), net.weight)
    assert torch.equal(recurrent.mask, 1.0 - torch.eye(100))
    with torch.no_grad():
        recurrent.weight[3, 5] = 7.0
    assert net.weight[3, N_IN + 5] == 7.0
