"""LIF and CUBA-LIF tick for tick against norse, SpikingJelly and snnTorch, under the mapping of
docs/neurons.md.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bio_rl.neurons.alif import ALIF
from bio_rl.neurons.cuba_lif import CubaLIF
from bio_rl.neurons.leaky_integrator import LeakyIntegrator
from bio_rl.neurons.lif import LIF
from bio_rl.neurons.plif import PLIF
from bio_rl.surrogates import SURROGATES

TICKS, B, N = 150, 3, 20


def drive(scale: float, seed: int = 0) -> Tensor:
    return (
        scale * torch.randn(TICKS, B, N, generator=torch.Generator().manual_seed(seed))
        + 0.3 * scale
    )


def run(p, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, Tensor, tuple]:
    state, spikes, membranes = p.init(*drive.shape[1:]), [], []
    for x in drive:
        z, state = p.step(state, x, dt)
        spikes.append(z)
        membranes.append(state.v)
    return torch.stack(spikes), torch.stack(membranes), state


def assert_same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(ours[0], theirs[0]) and 0.02 < ours[0].mean() < 0.8
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-5, atol=1e-5)


def tau(decay: float, dt: float = 1.0) -> float:
    """ms: the time constant whose exact decay over a tick is `decay`."""
    return -dt / math.log(decay)


def jelly(node, drive: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and membranes after the reset of a SpikingJelly node."""
    spikes, membranes = [], []
    with torch.no_grad():
        for x in drive:
            spikes.append(node(x))
            membranes.append(node.v.clone())
    return torch.stack(spikes), torch.stack(membranes)


@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("v_reset", [0.0, -0.4, None])
def test_spikingjellys_lif_is_ours(decay_input, v_reset):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    node = neuron.LIFNode(tau=3.0, decay_input=decay_input, v_threshold=0.9, v_reset=v_reset)
    x = drive(2.0 if decay_input else 0.7)
    ours = LIF(
        tau_mem=tau(1 - 1 / 3.0), v_threshold=0.9, v_reset=v_reset, v_leak=v_reset or 0.0
    )  # it leaks to its v_reset
    assert_same(run(ours, x if decay_input else 3.0 * x)[:2], jelly(node, x))


@pytest.mark.parametrize("v_reset", [0.0, None])
def test_spikingjellys_cuba_lif_is_ours(v_reset):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    x = drive(0.4)
    assert_same(
        run(CubaLIF(v_reset=v_reset), x)[:2], jelly(neuron.CUBALIFNode(v_reset=v_reset), x)
    )  # the defaults are equal
    node = neuron.CUBALIFNode(c_decay=0.8, v_decay=0.9, v_threshold=1.0, v_reset=v_reset)
    assert_same(
        run(CubaLIF(tau_mem=tau(0.9), tau_syn=tau(0.8), v_threshold=1.0, v_reset=v_reset), x)[:2],
        jelly(node, x),
    )


def test_spikingjellys_parametric_lif_is_ours():
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    x, node = drive(2.0), neuron.ParametricLIFNode(init_tau=3.0)  # 1/τ = σ(w)
    ours = PLIF().learning(tau(1 - torch.sigmoid(node.w).item()), N)
    assert_same(run(ours, x)[:2], jelly(node, x))


@pytest.mark.parametrize("dt", [1e-3, 5e-4])
def test_norses_lif_is_our_cuba_lif(dt):
    lif = pytest.importorskip("norse.torch.functional.lif")
    p = lif.LIFParameters(
        tau_syn_inv=torch.as_tensor(1 / 4e-3),
        tau_mem_inv=torch.as_tensor(1 / 8e-3),
        v_th=torch.as_tensor(0.8),
        v_leak=torch.as_tensor(0.1),
        v_reset=torch.as_tensor(-0.2),
    )
    x, alpha, beta = drive(1.5), 1 - dt / 4e-3, 1 - dt / 8e-3
    s = lif.LIFFeedForwardState(v=torch.full((B, N), 0.1), i=torch.zeros(B, N))
    spikes, membranes = [], []
    for now in x:
        z, s = lif.lif_feed_forward_step(now, s, p, dt)
        spikes.append(z)
        membranes.append(s.v)
    ms = 1e3 * dt
    ours = CubaLIF(
        tau_mem=tau(beta, ms), tau_syn=tau(alpha, ms), v_threshold=0.8, v_leak=0.1, v_reset=-0.2
    )
    mine, v, state = run(ours, x * (1 - beta) / ms, ms)
    assert_same((mine, v), (torch.stack(spikes), torch.stack(membranes)))
    torch.testing.assert_close(
        state.i * alpha * ms / (1 - beta), s.i, rtol=1e-5, atol=1e-5
    )  # theirs has decayed already


@pytest.mark.parametrize("soft", [False, True])
def test_norses_lif_box_is_our_lif(soft):
    box = pytest.importorskip("norse.torch.functional.lif_box")
    reset = pytest.importorskip("norse.torch.functional.reset")
    how = reset.reset_subtract if soft else reset.reset_value
    p = box.LIFBoxParameters(
        tau_mem_inv=torch.as_tensor(1 / 5e-3),
        v_leak=torch.as_tensor(0.2),
        v_reset=torch.as_tensor(-0.1),
        reset_method=how,
    )
    x, s, spikes, membranes = (
        drive(3.0),
        box.LIFBoxFeedForwardState(v=torch.full((B, N), 0.2)),
        [],
        [],
    )
    for now in x:
        z, s = box.lif_box_feed_forward_step(now, s, p, 1e-3)
        spikes.append(z)
        membranes.append(s.v)
    ours = LIF(tau_mem=tau(1 - 1e-3 / 5e-3), v_leak=0.2, v_reset=None if soft else -0.1)
    assert_same(run(ours, x)[:2], (torch.stack(spikes), torch.stack(membranes)))


def test_norses_leaky_integrator_without_its_current_is_our_readout():
    li = pytest.importorskip("norse.torch.functional.leaky_integrator")
    p = li.LIParameters(
        tau_syn_inv=torch.as_tensor(1 / 1e-3), tau_mem_inv=torch.as_tensor(1 / 2e-2)
    )  # i is forgotten in a tick
    x, s, membranes = drive(1.0), li.LIState(torch.zeros(B, N), torch.zeros(B, N)), []
    for now in x:
        v, s = li.li_feed_forward_step(now, s, p, 1e-3)
        membranes.append(v)
    ours, _, _ = run(LeakyIntegrator(tau_out=tau(1 - 1e-3 / 2e-2)), x)
    torch.testing.assert_close(ours, torch.stack(membranes), rtol=1e-5, atol=1e-5)


def snn(leaky, x: Tensor) -> tuple[Tensor, Tensor]:
    spikes, membranes, mem = [], [], torch.zeros(B, N)
    with torch.no_grad():
        for now in x:
            z, mem = leaky(now, mem)
            spikes.append(z)
            membranes.append(mem)
    return torch.stack(spikes), torch.stack(membranes)


def test_snntorchs_leaky_without_reset_delay_is_ours():
    snntorch = pytest.importorskip("snntorch")
    beta, x = (
        0.8,
        drive(0.5).clamp(max=0.95),
    )  # an excess over one threshold would be subtracted before the next tick's spike
    for mechanism, v_reset in (("subtract", None), ("zero", 0.0)):
        theirs = snn(snntorch.Leaky(beta=beta, reset_mechanism=mechanism, reset_delay=False), x)
        assert_same(run(LIF(tau_mem=tau(beta), v_reset=v_reset), x / (1 - beta))[:2], theirs)


def test_snntorchs_delayed_reset_to_zero_spikes_as_ours_and_shows_the_membrane_before_it():
    snntorch = pytest.importorskip("snntorch")
    beta, x = 0.8, drive(0.5)
    z, mem = snn(snntorch.Leaky(beta=beta, reset_mechanism="zero", reset_delay=True), x)
    ours, v, _ = run(LIF(tau_mem=tau(beta)), x / (1 - beta))
    assert_same((ours, v), (z, torch.where(z > 0, 0.0, mem)))


def test_snntorchs_default_has_no_counterpart():
    # it subtracts the threshold a tick late and undecayed, where a soft reset here decays with the
    # membrane
    snntorch = pytest.importorskip("snntorch")
    beta, x = 0.8, torch.zeros(2, B, N)
    x[0] = 1.2
    _, mem = snn(snntorch.Leaky(beta=beta), x)
    _, v, _ = run(LIF(tau_mem=tau(beta), v_reset=None), x / (1 - beta))
    assert mem[1, 0, 0].item() == pytest.approx(0.8 * 1.2 - 1.0) and v[
        1, 0, 0
    ].item() == pytest.approx(0.8 * (1.2 - 1.0))


def test_norses_lsnn_whose_current_lasts_a_tick_is_our_alif_a_tick_later():
    lsnn = pytest.importorskip("norse.torch.functional.lsnn")
    dt, tau_mem, tau_adapt, beta = 1e-3, 1e-2, 5e-2, 0.4
    p = lsnn.LSNNParameters(
        tau_syn_inv=torch.as_tensor(1 / dt),  # the current is forgotten in a tick
        tau_mem_inv=torch.as_tensor(1 / tau_mem),
        tau_adapt_inv=torch.as_tensor(1 / tau_adapt),
        v_th=torch.as_tensor(0.7),
        v_leak=torch.as_tensor(0.1),
        v_reset=torch.as_tensor(-0.2),
        beta=torch.as_tensor(beta),
    )
    x = drive(4.0)
    rest = torch.zeros(B, N)
    s = lsnn.LSNNFeedForwardState(v=rest + 0.1, i=rest, b=rest + 0.7)  # b rests at the threshold
    spikes = []
    membranes = []
    for now in x:
        z, s = lsnn.lsnn_feed_forward_step(now, s, p, dt)
        spikes.append(z)
        membranes.append(s.v)
    rho = 1 - dt / tau_adapt
    ours = ALIF(
        tau_mem=tau(1 - dt / tau_mem),
        tau_adapt=tau(rho),
        beta=rho * beta,
        v_threshold=0.7,
        v_leak=0.1,
        v_reset=-0.2,
    )
    z, v, state = run(ours, x[:-1])
    assert_same((z, v), (torch.stack(spikes)[1:], torch.stack(membranes)[1:]))
    torch.testing.assert_close(0.7 + beta * state.a, s.b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mechanism", "v_reset"), [("subtract", None), ("zero", 0.0)])
def test_snntorchs_synaptic_without_reset_delay_is_our_cuba_lif(mechanism, v_reset):
    snntorch = pytest.importorskip("snntorch")
    alpha, beta = 0.6, 0.8
    theirs = snntorch.Synaptic(alpha=alpha, beta=beta, reset_mechanism=mechanism, reset_delay=False)
    x = drive(0.2).clamp(max=0.3)  # so that no membrane exceeds two thresholds
    current = membrane = torch.zeros(B, N)
    spikes = []
    membranes = []
    with torch.no_grad():
        for now in x:
            z, current, membrane = theirs(now, current, membrane)
            spikes.append(z)
            membranes.append(membrane)
    ours = CubaLIF(tau_mem=tau(beta), tau_syn=tau(alpha), v_threshold=1.0, v_reset=v_reset)
    z, v, state = run(ours, x)
    assert_same((z, v), (torch.stack(spikes), torch.stack(membranes)))
    torch.testing.assert_close(state.i, current, rtol=1e-5, atol=1e-5)


# Gradients


def gradient(step, x: Tensor) -> Tensor:
    """[T, B, N] of the sum of all spikes and of the last membrane by the drive, over time."""
    x = x.clone().requires_grad_()
    total, v = step(x)
    (total.sum() + v.sum()).backward()
    assert x.grad is not None
    return x.grad


def ours(p):
    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        z, v, _ = run(p, x)
        return z, v[-1]

    return step


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("v_reset", [0.0, None])
def test_gradients_through_time_are_spikingjellys(detach, v_reset):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")

    def theirs(x: Tensor) -> tuple[Tensor, Tensor]:
        node = neuron.LIFNode(
            tau=3.0,
            v_reset=v_reset,
            surrogate_function=surrogate.ATan(alpha=2.0),
            detach_reset=detach,
        )
        z = torch.stack([node(now) for now in x])
        return z, node.v

    p = LIF(tau_mem=tau(1 - 1 / 3.0), v_reset=v_reset, surrogate="atan", detach_reset=detach)
    found = gradient(ours(p), drive(2.0))
    torch.testing.assert_close(found, gradient(theirs, drive(2.0)), rtol=1e-4, atol=1e-6)
    other = gradient(ours(p._replace(detach_reset=not detach)), drive(2.0))
    assert not torch.allclose(found, other, rtol=1e-2)


@pytest.mark.parametrize(("mechanism", "v_reset"), [("subtract", None), ("zero", 0.0)])
def test_snntorchs_reset_carries_gradient_where_it_is_not_delayed(mechanism, v_reset):
    snntorch = pytest.importorskip("snntorch")
    beta = 0.8

    def theirs(x: Tensor) -> tuple[Tensor, Tensor]:
        leaky = snntorch.Leaky(beta=beta, reset_mechanism=mechanism, reset_delay=False)
        mem = torch.zeros(B, N)
        spikes = []
        for now in x:
            z, mem = leaky(now, mem)
            spikes.append(z)
        return torch.stack(spikes), mem

    x = drive(0.5).clamp(max=0.95)
    p = LIF(tau_mem=tau(beta), v_reset=v_reset, surrogate="atan", slope=2.0, detach_reset=False)
    found = gradient(ours(p), x / (1 - beta)) / (1 - beta)
    torch.testing.assert_close(found, gradient(theirs, x), rtol=1e-4, atol=1e-6)


def test_norses_feed_forward_reset_carries_gradient():
    box = pytest.importorskip("norse.torch.functional.lif_box")
    p = box.LIFBoxParameters(tau_mem_inv=torch.as_tensor(1 / 5e-3))

    def theirs(x: Tensor) -> tuple[Tensor, Tensor]:
        s = box.LIFBoxFeedForwardState(v=torch.zeros(B, N))
        spikes = []
        for now in x:
            z, s = box.lif_box_feed_forward_step(now, s, p, 1e-3)
            spikes.append(z)
        return torch.stack(spikes), s.v

    decay = 1 - 1e-3 / 5e-3
    mine = LIF(tau_mem=tau(decay), surrogate="fast_sigmoid", slope=1.0, detach_reset=False)
    found = gradient(ours(mine), drive(3.0))
    torch.testing.assert_close(found, gradient(theirs, drive(3.0)), rtol=1e-4, atol=1e-6)


def their_surrogates():
    """(name of the mapping, our surrogate, our slope, function of theirs that spikes)."""
    jelly = pytest.importorskip("spikingjelly.activation_based.surrogate")
    snn = pytest.importorskip("snntorch.surrogate")
    norse = pytest.importorskip("norse.torch.functional.threshold")
    return [
        ("SpikingJelly ATan", "atan", 3.0, jelly.ATan(alpha=3.0)),
        ("SpikingJelly Sigmoid", "sigmoid", 4.0, jelly.Sigmoid(alpha=4.0)),
        ("SpikingJelly PiecewiseQuadratic", "triangle", 2.0, jelly.PiecewiseQuadratic(alpha=2.0)),
        ("SpikingJelly Rect", "rectangle", 2.0, jelly.Rect(alpha=2.0)),
        ("SpikingJelly SuperSpike", "fast_sigmoid", 1.0, jelly.SuperSpike(alpha=1.0)),
        ("snnTorch atan", "atan", 2.0, snn.atan(alpha=2.0)),
        ("snnTorch fast_sigmoid", "fast_sigmoid", 25.0, snn.fast_sigmoid(slope=25)),
        ("snnTorch sigmoid", "sigmoid", 5.0, snn.sigmoid(slope=5)),
        ("norse super", "fast_sigmoid", 1.0, lambda x: norse.threshold(x, "super", 100.0)),
        ("norse triangle", "damped_triangle", 1.0, lambda x: norse.threshold(x, "triangle", 0.3)),
    ]


def test_surrogates_are_theirs():
    for name, surrogate, slope, theirs in their_surrogates():
        x = torch.linspace(-1.7, 1.7, 101, requires_grad=True)
        (derivative,) = torch.autograd.grad(theirs(x).sum(), x)
        expected = SURROGATES[surrogate](x.detach(), slope)
        torch.testing.assert_close(expected, derivative, rtol=1e-4, atol=1e-6, msg=name)
