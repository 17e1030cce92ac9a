"""Neurons against closed forms, their papers' equations and published behaviour; surrogates against
their formulas.
"""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bio_rl import discovery, neurons, seeding
from bio_rl.kernels.unroll import unroll
from bio_rl.neurons import reset_rows
from bio_rl.neurons.adex import AdEx, AdExState
from bio_rl.neurons.alif import ALIF, ALIFState
from bio_rl.neurons.cuba_lif import CubaLIF
from bio_rl.neurons.escape_noise import EscapeNoise, EscapeState
from bio_rl.neurons.izhikevich import PRESETS, Izhikevich
from bio_rl.neurons.leaky_integrator import LeakyIntegrator
from bio_rl.neurons.lif import LIF, LIFState
from bio_rl.neurons.plif import PLIF, TAU_MIN
from bio_rl.surrogates import SURROGATES, spike

HALF = 1 / math.log(2)  # ms; the decay over a tick of 1 ms is ½


def one(x: float) -> Tensor:
    return torch.full((1, 1), x)


def run(p, drive: Tensor, state=None, dt: float = 1.0):
    """Spikes and membranes [T, ...] and the final state, of a drive [T, B, N]."""
    state, spikes, membranes = p.init(*drive.shape[1:]) if state is None else state, [], []
    for x in drive:
        z, state = p.step(state, x, dt)
        spikes.append(z)
        membranes.append(state.v)
    return torch.stack(spikes), torch.stack(membranes), state


def spike_times(p, drive: float, ms: float, dt: float) -> Tensor:
    """ms, of one neuron that starts at rest under a step of current."""
    spikes, _, _ = run(p, torch.full((round(ms / dt), 1, 1), drive), dt=dt)
    return (spikes[:, 0, 0].nonzero().squeeze(1) + 1) * dt


def test_an_unknown_neuron_is_named_with_its_neighbour():
    with pytest.raises(ValueError, match="no neuron called 'alff'; did you mean 'alif'"):
        neurons.load("alff")


# The reset's gradient


@pytest.mark.parametrize("v_reset", [0.0, None])
@pytest.mark.parametrize("detach", [True, False])
def test_the_gradient_through_two_resets_by_hand(v_reset, detach):
    # v = ½ v⁻ + ½ x, x 1.6: h = 0.8, no spike; h = 1.2, a spike. ψ(h - 1) of atan at slope 2.
    # After a tick v is (1 - z) h or h - z, so that dv/dh is 1 - z - h ψ or 1 - ψ; without the
    # reset's share 1 - z or 1
    psi = [1 / (1 + (math.pi * x) ** 2) for x in (-0.2, 0.2)]
    share = 0.0 if detach else 1.0
    if v_reset is None:
        slopes = [1.0 - share * psi[0], 1.0 - share * psi[1]]
    else:
        slopes = [1.0 - share * 0.8 * psi[0], 0.0 - share * 1.2 * psi[1]]
    x = torch.tensor([1.6, 1.6], requires_grad=True)
    p = LIF(tau_mem=HALF, v_reset=v_reset, detach_reset=detach)
    _, v, _ = run(p, x.view(2, 1, 1))
    (grad,) = torch.autograd.grad(v[-1].sum(), x)
    expected = torch.tensor([0.5 * slopes[0] * 0.5 * slopes[1], 0.5 * slopes[1]])
    torch.testing.assert_close(grad, expected)


ATTACHABLE = [n for n in neurons.spiking() if "detach_reset" in neurons.load(n)._fields]


@pytest.mark.parametrize("name", ATTACHABLE)
@pytest.mark.parametrize("v_reset", [0.0, None])
def test_a_reset_that_carries_gradient_changes_the_gradient_alone(name, v_reset):
    # a wide surrogate, so that membranes far from the threshold have a derivative too
    wide = {"surrogate": "sigmoid"} if "surrogate" in neurons.load(name)._fields else {}
    detached = neurons.load(name)()._replace(v_reset=v_reset, **wide)
    attached = detached._replace(detach_reset=False)
    drive = 3.0 * torch.rand(30, 2, 5, generator=torch.Generator().manual_seed(0))
    gradients = []
    values = []
    for p in (detached, attached):
        x = drive.clone().requires_grad_()
        z, v, _ = run(p, x)
        gradients += torch.autograd.grad(z.sum() + v[-1].sum(), x)
        values.append((z, v))
    assert values[0][0].any()
    assert all(torch.equal(a, b) for a, b in zip(*values, strict=True))
    assert not torch.allclose(*gradients, rtol=1e-2)


@pytest.mark.parametrize("name", [name for name in ATTACHABLE if name != "escape_noise"])
def test_a_reset_that_carries_gradient_has_no_fused_loop(name):
    p = neurons.load(name)()._replace(detach_reset=False)
    with pytest.raises(ValueError, match=rf"{name}\.detach_reset is False, but the fused loops"):
        p.core(1.0)
    drive = torch.rand(4, 2, 3, requires_grad=True)
    reset = torch.zeros(1, 2, dtype=torch.bool)
    found, _ = unroll(p, p.init(2, 3), drive, reset, ticks=4)
    expected, _, _ = run(p, drive)
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="pass no gradient through a reset"):
        unroll(p, p.init(2, 3), drive, reset, ticks=4, backend="numba")


@pytest.mark.parametrize("value", [0, 1, None, "no"])
def test_detach_reset_is_true_or_false(value):
    with pytest.raises(ValueError, match=r"lif\.detach_reset is .*, expected True or False"):
        LIF(detach_reset=value)


# LIF


def test_three_ticks_by_hand():
    # v ← ½ v + ½ drive, drive 1.6: 0.8; 1.2 -> spike, 0; 0.8
    p, s = LIF(tau_mem=HALF), LIFState(torch.zeros(1, 1))
    seen = []
    for _ in range(3):
        z, s = p.step(s, one(1.6))
        seen.append((z.item(), round(s.v.item(), 6)))
    assert seen == [(0.0, 0.8), (1.0, 0.0), (0.0, 0.8)]


def test_soft_reset_keeps_what_exceeds_the_threshold():
    _, s = LIF(tau_mem=HALF, v_reset=None).step(
        LIFState(torch.zeros(1, 1)), one(2.5)
    )  # ½·2.5 = 1.25 -> 0.25
    assert s.v.item() == pytest.approx(0.25)
    _, s = LIF(tau_mem=HALF, v_reset=-0.5).step(LIFState(torch.zeros(1, 1)), one(2.5))
    assert s.v.item() == -0.5


@pytest.mark.parametrize(
    ("v_leak", "v_reset", "refractory"), [(0.0, 0.0, 0.0), (0.2, -0.3, 0.0), (0.0, 0.0, 5.0)]
)
def test_interspike_interval_is_the_closed_form(v_leak, v_reset, refractory):
    # from v_reset: v(t) = u + (v_reset - u) e^{-t/τ}, u = v_leak + I, is 1 at τ ln((u - v_reset)/(u
    # - 1)); at 0 τ ln(I/(I-1))
    p, dt, drive = (
        LIF(tau_mem=20.0, v_leak=v_leak, v_reset=v_reset, tau_refractory=refractory),
        0.01,
        1.5,
    )
    expected = 20.0 * math.log((v_leak + drive - v_reset) / (v_leak + drive - 1.0)) + refractory
    gaps = spike_times(p, drive, 100.0, dt).diff()
    assert (
        len(gaps) >= 2 and (gaps - expected).abs().max() <= dt + 1e-4
    )  # a spike waits for the end of its tick


def test_soft_reset_fires_at_the_rate_of_the_drive():
    # without leak each spike takes one threshold away, so that spikes = charge: drive (1-β) Σ =
    # T·0.3/1
    spikes, _, s = run(LIF(tau_mem=1e6, v_reset=None), torch.full((1000, 1, 1), 0.3e6))
    assert spikes.sum().item() + s.v.item() == pytest.approx(300.0, rel=1e-3)


def test_a_refractory_neuron_is_held_for_its_period_and_then_free():
    p = LIF(tau_mem=HALF, tau_refractory=2.0)
    spikes, v, s = run(
        p, torch.full((6, 1, 1), 4.0)
    )  # ½·4 crosses every free tick: spike, held, held, spike, …
    assert (
        spikes.flatten().tolist() == [1, 0, 0, 1, 0, 0]
        and (v == 0).all()
        and s.refractory.item() == 0.0
    )
    spikes, _, _ = run(
        p, torch.full((12, 1, 1), 4.0), dt=0.5
    )  # the same two ms are four ticks: 1-β = 0.29, 1.17 crosses
    assert spikes.flatten().tolist() == [1, 0, 0, 0, 0] * 2 + [1, 0]
    assert LIF().init(2, 3).refractory == ()


# CUBA-LIF


def test_cuba_lif_answers_an_impulse_with_a_difference_of_exponentials():
    # i_k = α^k, v_k = Σ_j β^{k-j} α^j = (β^{k+1} - α^{k+1}) / (β - α)
    p = CubaLIF(v_threshold=1e9)
    alpha, beta = math.exp(-1 / p.tau_syn), math.exp(-1 / p.tau_mem)
    impulse = torch.zeros(30, 1, 1)
    impulse[0] = 1.0
    _, v, s = run(p, impulse)
    expected = torch.tensor(
        [(beta ** (k + 1) - alpha ** (k + 1)) / (beta - alpha) for k in range(30)]
    )
    torch.testing.assert_close(v.flatten(), expected, rtol=1e-5, atol=1e-6)
    assert s.i.item() == pytest.approx(alpha**29, rel=1e-5)


def test_one_presynaptic_spike_moves_a_cuba_lif_alike_at_every_dt():
    # in continuous time v(t) = τ (e^{-t/τ_mem} - e^{-t/τ_syn}), τ = τ_mem τ_syn / (τ_mem - τ_syn);
    # ∝ 1/dt if R were per tick
    p = CubaLIF(tau_mem=20.0, tau_syn=5.0, v_threshold=1e9)
    expected = 20 * 5 / 15 * (math.exp(-10 / 20) - math.exp(-10 / 5))
    errors = []
    for dt in (1.0, 0.5, 0.25, 0.125):
        impulse = torch.zeros(round(10 / dt), 1, 1)
        impulse[0] = 1.0
        errors.append(abs(run(p, impulse, dt=dt)[2].v.item() - expected))
    assert errors[0] < 0.2 * expected and all(b < 0.6 * a for a, b in itertools.pairwise(errors))


def test_cuba_lif_is_popsans_neuron_verbatim():
    # Tang et al. 2020, eq. 2-4: c = ½ c + x;  v = ¾ v (1 - s) + c;  s = v > ½
    torch.manual_seed(0)
    drive, p = 0.5 * torch.randn(200, 3, 7), CubaLIF()
    c, v, s = (torch.zeros(3, 7) for _ in range(3))
    expected = []
    for x in drive:
        c = 0.5 * c + x
        v = 0.75 * v * (1.0 - s) + c
        s = (v > 0.5).float()
        expected.append(s)
    spikes, _, state = run(p, drive)
    assert torch.equal(spikes, torch.stack(expected)) and 0.1 < spikes.mean() < 0.9
    torch.testing.assert_close(state.i, c, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state.v, v * (1.0 - s), rtol=1e-5, atol=1e-6)
    x = torch.tensor([-0.51, -0.49, 0.0, 0.49, 0.51])  # its pseudo-gradient: 1 where |v - ½| < ½
    assert SURROGATES[p.surrogate](x, p.slope).tolist() == [0, 1, 1, 1, 0]


# ALIF


def test_every_spike_raises_the_threshold_by_beta():
    p, s = (
        ALIF(tau_mem=HALF, tau_adapt=HALF, beta=0.5),
        ALIFState(torch.zeros(1, 1), torch.zeros(1, 1)),
    )
    # v = ½·2.2 = 1.1 ≥ 1: spike, v = 0.1, a = 1; A = 1.5: v = 0.05 + 1.1 is below, a = ½; A = 1.25:
    # v = 0.575 + 1.1, spike
    seen = []
    for _ in range(3):
        z, s = p.step(s, one(2.2))
        seen.append((z.item(), s.v.item(), s.a.item()))
    expected = [(1.0, 0.1, 1.0), (0.0, 1.15, 0.5), (1.0, 0.675, 1.25)]
    assert [x for t in seen for x in t] == pytest.approx([x for t in expected for x in t], rel=1e-6)
    for margin, fires in (
        (-1e-3, 0.0),
        (1e-3, 1.0),
    ):  # the threshold itself, bracketed: 1 + β a with a = 2
        p = ALIF(tau_mem=HALF, beta=1.6)
        z, _ = p.step(ALIFState(torch.zeros(1, 1), one(2.0)), one(2.0 * (1.0 + 1.6 * 2.0 + margin)))
        assert z.item() == fires


@pytest.mark.parametrize("period", [2, 5, 20])
def test_adaptation_of_a_regular_train_settles_at_its_closed_form(period):
    # a after a spike obeys a* = ρ^P a* + 1
    p = ALIF(v_reset=0.0, tau_adapt=50.0)
    drive = torch.zeros(
        600 // period * period + 1, 1, 1
    )  # twelve τ_adapt; the last tick is a spike
    drive[::period] = 1e4
    spikes, _, s = run(p, drive)
    assert spikes[::period].all() and spikes.sum() == 600 // period + 1
    assert s.a.item() == pytest.approx(1.0 / (1.0 - math.exp(-period / 50.0)), rel=1e-4)


def test_firing_slows_monotonically_from_onset_to_a_steady_rate():
    p, dt = ALIF(tau_mem=20.0, tau_adapt=100.0, beta=0.3), 0.05
    gaps = spike_times(p, 4.0, 800.0, dt).diff()
    assert (gaps.diff() >= -dt - 1e-4).all() and gaps[-1] > 1.8 * gaps[0]
    assert (gaps[-10:] - gaps[-10:].mean()).abs().max() < 2 * dt
    # steady: a* = 1/(1 - e^{-P/τ_a}) just after a spike, and before the next one the membrane has
    # met 1 + β a* e^{-P/τ_a}
    period = gaps[-10:].mean().item()
    a = math.exp(-period / 100.0) / (1.0 - math.exp(-period / 100.0))
    peak = 1.0 + 0.3 * a
    assert period == pytest.approx(
        20.0 * math.log((4.0 - peak + 1.0) / (4.0 - peak)), rel=0.01
    )  # soft reset: from peak - 1


def test_gradient_flows_through_the_adaptation():
    # v cannot carry it: the first spike's drive reaches the second spike's threshold by a alone
    # when the membrane has no memory
    p = ALIF(tau_mem=1e-3, tau_adapt=200.0, beta=0.5, v_reset=0.0)
    drive = torch.tensor([1.1, 0.0, 0.0, 1.2]).view(4, 1, 1).requires_grad_()
    z, _, _ = run(p, drive)
    z[3].sum().backward()
    assert drive.grad.isfinite().all()
    rho = math.exp(-1 / 200.0)
    x0, x3 = 1.1 - 1.0, 1.2 - 1.0 - 0.5 * rho**2  # ∂z3/∂z0 = ψ3 (-β ρ²), ∂z0/∂drive0 = ψ0
    expected = -0.5 * rho**2 * (1 - abs(x3)) * (1 - abs(x0))
    assert drive.grad[0].item() == pytest.approx(
        expected, rel=0.02
    )  # and ψ1 ψ2 paths of second order


# PLIF


def test_plif_with_a_fixed_w_is_lif_and_its_time_constant_is_learned():
    torch.manual_seed(0)
    drive = 2 * torch.randn(50, 2, 3)
    z, v, _ = run(PLIF().learning(5.0, 3), drive)
    expected_z, expected_v, _ = run(LIF(tau_mem=5.0), drive)
    assert torch.equal(z, expected_z)
    torch.testing.assert_close(v, expected_v, rtol=1e-5, atol=1e-6)
    assert PLIF().tau_mem().item() == pytest.approx(2.0)
    assert PLIF(w=torch.tensor([-50.0, 0.0, 50.0])).tau_mem().tolist() == pytest.approx(
        [TAU_MIN, TAU_MIN + math.log(2), TAU_MIN + 50]
    )
    with pytest.raises(ValueError, match=r"tau_mem is 0.1 ms, expected more than 0.2"):
        PLIF().learning(0.1, 3)


def test_the_gradient_of_plifs_w_is_the_finite_difference():
    drive = torch.linspace(0.1, 0.9, 8, dtype=torch.float64).view(
        8, 1, 1
    )  # below the threshold: v is smooth in w

    def v_end(w: Tensor) -> Tensor:
        return run(PLIF(w=w), drive, LIFState(torch.zeros(1, 1, dtype=torch.float64)))[2].v.sum()

    w = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(v_end, (w,))


# Izhikevich: Izhikevich 2003, fig. 2, step of I = 10; ISIs in ms at dt = 0.25

FAST = 10.0
"""ms: a shorter interval is within a burst."""


def intervals(preset: str, current: float = 10.0, ms: float = 500.0, dt: float = 0.25) -> Tensor:
    return spike_times(PRESETS[preset], current, ms, dt).diff()


@pytest.mark.parametrize("dt", [0.5, 0.25])
def test_regular_spiking_adapts_and_settles(dt):
    gaps = intervals("regular_spiking", dt=dt)
    assert (gaps.diff() >= -dt - 1e-4).all() and gaps[1] > 1.8 * gaps[0]
    assert (gaps[-5:] - gaps[-1]).abs().max() <= dt and 40 < gaps[-1] < 55  # about 20 Hz
    assert (
        intervals("regular_spiking", 20.0, dt=dt)[-1] < 0.6 * gaps[-1]
    )  # a larger current fires faster


@pytest.mark.parametrize("dt", [0.5, 0.25])
def test_intrinsically_bursting_starts_with_one_burst_and_goes_on_with_single_spikes(dt):
    gaps = intervals("intrinsically_bursting", dt=dt)
    assert (
        (gaps[:2] < FAST).all()
        and (gaps[2:] > 25).all()
        and (gaps[-5:] - gaps[-1]).abs().max() <= dt
    )


@pytest.mark.parametrize("dt", [0.5, 0.25])
def test_chattering_repeats_bursts(dt):
    gaps = intervals("chattering", dt=dt)
    within, between = gaps[gaps < 12], gaps[gaps > 30]
    assert len(within) + len(between) == len(gaps)  # bimodal: nothing in between
    assert len(between) >= 6 and len(within) >= 2 * len(
        between
    )  # bursts of three spikes or more, all along
    assert (between - between.mean()).abs().max() < 5
    assert within.median() < 4  # some 300 Hz inside a burst


@pytest.mark.parametrize("dt", [0.5, 0.25])
def test_fast_spiking_is_fast_without_adaptation(dt):
    gaps, regular = intervals("fast_spiking", dt=dt), intervals("regular_spiking", dt=dt)
    assert (gaps[3:] - gaps[-20:].mean()).abs().max() <= 2 * dt and gaps[
        -1
    ] < 12  # 80 Hz and more from the fourth spike on
    assert len(gaps) > 3 * len(regular)


@pytest.mark.parametrize("dt", [0.5, 0.25])
def test_low_threshold_spiking_is_fast_with_adaptation_and_has_a_low_threshold(dt):
    gaps = intervals("low_threshold_spiking", dt=dt)
    assert (
        gaps[-1] > 3 * gaps[0] and gaps[-1] < 20
    )  # high-frequency trains with noticeable adaptation
    weak = {
        name: len(spike_times(PRESETS[name], 1.0, 500.0, dt))
        for name in ("low_threshold_spiking", "fast_spiking")
    }
    assert weak["low_threshold_spiking"] > 0 and weak["fast_spiking"] == 0


def test_a_thalamocortical_neuron_fires_tonically_and_rebounds_from_hyperpolarisation():
    p, dt = PRESETS["thalamo_cortical"], 0.25
    current = torch.cat(
        [torch.full((400, 1, 1), -10.0), torch.zeros(400, 1, 1)]
    )  # 100 ms down to below -80 mV, and release
    spikes, v, _ = run(p, current, dt=dt)
    assert (
        v[:400].min() < -75 and spikes[:400].sum() == 0 and spikes[400:].sum() >= 2
    )  # a burst without any input
    tonic = intervals("thalamo_cortical", 1.5)
    assert len(tonic) > 5 and (tonic[2:] - tonic[2:].mean()).abs().max() < 2.0


def test_a_resonator_oscillates_below_threshold():
    # damped at √(0.1·0.26 …): after a brief kick v crosses its rest several times, where a regular
    # spiking neuron only relaxes
    def crossings(p):
        kick = torch.zeros(800, 1, 1)
        kick[:4] = 1.0
        _, v, _ = run(p, kick, dt=0.25)
        away = v.flatten()[4:] - p.rest()[0]
        away = away[away.abs() > 1e-4]
        return (away[1:] * away[:-1] < 0).sum().item()

    assert crossings(PRESETS["resonator"]) >= 3 > crossings(PRESETS["regular_spiking"])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_resting_izhikevich_neuron_stays_at_its_analytic_fixed_point(preset):
    p = PRESETS[preset]
    v, u = p.rest()
    assert 0.04 * v * v + 5 * v + 140 - u == pytest.approx(0.0, abs=1e-9) and u == pytest.approx(
        p.b * v
    )
    nudged = p.init(1, 1)._replace(
        v=one(v - 1.0)
    )  # and it is the stable one: 1 mV away it comes back
    for start in (p.init(1, 1), nudged):
        spikes, _, s = run(p, torch.zeros(1600, 1, 1), start, dt=0.5)
        assert (
            spikes.sum() == 0
            and s.v.item() == pytest.approx(v, abs=1e-2)
            and s.u.item() == pytest.approx(u, abs=1e-2)
        )


def test_an_izhikevich_neuron_advances_as_in_the_papers_listing():
    # v=v+0.5*(0.04*v.^2+5*v+140-u+I); twice, for numerical stability; u=u+a.*(b.*v-u); then v=c,
    # u=u+d where v>=30
    p, s = Izhikevich(), Izhikevich().init(1, 1)
    v, u = s
    spikes, shown = [], []
    for _ in range(300):
        fired = v >= 30
        v, u = torch.where(fired, p.c, v), torch.where(fired, u + p.d, u)
        for _ in range(2):
            v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + 10.0)
        v = v.clamp(max=p.v_threshold + 1.0)  # ours: a spike has no height
        u = u + p.a * (p.b * v - u)
        spikes.append((v >= 30).float())
        shown.append(v)
    ours, membranes, _ = run(p, torch.full((300, 1, 1), 10.0))
    assert torch.equal(ours, torch.stack(spikes)) and ours.sum() > 5
    silent = ours == 0
    torch.testing.assert_close(membranes[silent], torch.stack(shown)[silent], rtol=1e-4, atol=1e-3)


# AdEx


def adex_fixed_point(p: AdEx, current: float) -> AdExState:
    """The lower fixed point, where (g_L + a)(v - E_L) - g_L Δ_T e^{(v - V_T)/Δ_T} = current, by
    bisection.
    """
    low, high = p.v_leak, p.v_t
    for _ in range(60):
        v = 0.5 * (low + high)
        steady = (p.g_leak + p.a) * (v - p.v_leak) - p.g_leak * p.delta_t * math.exp(
            (v - p.v_t) / p.delta_t
        )
        low, high = (v, high) if steady < current else (low, v)
    return AdExState(one(low), one(p.a * (low - p.v_leak)))


def test_adex_rheobase_is_the_closed_form():
    # linearised around the fixed point, with e = e^{(v-V_T)/Δ_T}: the trace vanishes at e = 1 +
    # τ_m/τ_w (Andronov-Hopf), the
    # determinant at e = 1 + a/g_L (saddle-node). Here a/g_L > τ_m/τ_w, so the Hopf comes first; put
    # into the steady current,
    # I_rh = (g_L + a)[V_T - E_L - Δ_T + Δ_T ln(1 + τ_m/τ_w)] + Δ_T g_L (a/g_L - τ_m/τ_w)      (as
    # Touboul & Brette 2008)
    p = AdEx()
    ratio = p.capacitance / p.g_leak / p.tau_w
    assert p.a / p.g_leak > ratio
    plateau = p.v_t - p.v_leak - p.delta_t + p.delta_t * math.log1p(ratio)
    rheobase = (p.g_leak + p.a) * plateau + p.delta_t * p.g_leak * (p.a / p.g_leak - ratio)
    assert rheobase == pytest.approx(
        627.18, abs=0.01
    )  # pA; 4.1 pA less without the last term, which the test would notice

    def spikes(factor: float) -> float:
        start = adex_fixed_point(p, min(factor, 0.9999) * rheobase)
        return run(p, torch.full((2000, 1, 1), factor * rheobase), start, dt=0.1)[0].sum().item()

    assert spikes(0.995) == 0 and spikes(1.005) > 0


def test_adex_fires_below_its_rheobase_for_once_when_the_current_is_switched_on():
    # adaptation is late (144 ms against 9): a step meets the neuron with w = 0, whose rheobase is
    # g_L (V_T - E_L - Δ_T) = 546
    p = AdEx()
    assert (
        len(spike_times(p, 540.0, 250.0, 0.1)) == 0 and len(spike_times(p, 600.0, 400.0, 0.1)) == 1
    )


def test_adex_adapts_and_its_adaptation_jumps_by_b():
    p = AdEx()
    gaps = spike_times(p, 800.0, 800.0, 0.1).diff()
    assert (
        (gaps.diff() >= -0.1 - 1e-3).all()
        and gaps[-1] > 2 * gaps[0]
        and (gaps[-4:] - gaps[-1]).abs().max() <= 0.2
    )
    none = spike_times(p._replace(a=0.0, b=0.0), 800.0, 200.0, 0.1).diff()
    assert (none - none[0]).abs().max() <= 0.11
    z, s = p.step(AdExState(one(19.0), one(50.0)), one(0.0), 0.01)  # on the way up
    assert z.item() == 1 and s.v.item() == pytest.approx(p.v_reset)
    assert s.w.item() == pytest.approx(50 + 80.5 + 0.01 / 144 * (4 * (19 + 70.6) - 50), rel=1e-5)


def test_a_passive_adex_relaxes_with_its_membrane_time_constant():
    p = AdEx(a=0.0, delta_t=1e-3, v_t=0.0)  # no exponential: τ_m = C/g_L
    _, v, _ = run(p, torch.full((100, 1, 1), 300.0), dt=0.1)
    t = torch.arange(1, 101) * 0.1
    torch.testing.assert_close(
        v.flatten(), -70.6 + 10.0 * (1 - torch.exp(-t * 30 / 281)), rtol=1e-5, atol=1e-4
    )


# escape noise


@pytest.mark.parametrize(("level", "dt"), [(0.5, 1.0), (0.9, 1.0), (1.0, 0.25), (1.3, 1.0)])
def test_the_spike_probability_is_that_of_the_escape_rate(level, dt):
    # v is held at `level` by its start and its drive; ρ = ρ_θ e^{(v - 1)/Δ}, P = 1 - e^{-ρ dt}
    p, draws = EscapeNoise(), 200_000
    expected = 1 - math.exp(-0.1 * math.exp((level - 1) / 0.2) * dt)
    s = p.init(200, draws // 200)
    z, _ = p.step(s._replace(v=torch.full_like(s.v, level)), torch.full_like(s.v, level), dt)
    sigma = math.sqrt(expected * (1 - expected) / draws)
    assert abs(z.mean().item() - expected) < 4 * sigma
    rows = z.mean(1)  # and no row is another's copy
    assert rows.std().item() == pytest.approx(
        math.sqrt(expected * (1 - expected) / (draws // 200)), rel=0.25
    )


def test_the_rate_of_escape_noise_does_not_depend_on_the_tick():
    p = EscapeNoise()
    rates = []
    for dt in (0.5, 0.125):
        spikes, _, _ = run(p, torch.full((round(200 / dt), 10, 40), 1.2), dt=dt)
        rates.append(spikes.sum().item() / (400 * 0.2))  # Hz
    assert rates[0] == pytest.approx(rates[1], rel=0.03) and rates[0] > 20


def test_a_narrow_threshold_makes_escape_noise_a_lif():
    torch.manual_seed(0)
    drive = 1.5 + 3 * torch.randn(300, 4, 5)
    ours, _, _ = run(EscapeNoise(tau_mem=5.0, delta=1e-6), drive)
    lif, _, _ = run(LIF(tau_mem=5.0), drive)
    assert torch.equal(ours, lif) and lif.sum() > 100


def test_the_same_key_draws_the_same_spikes_and_a_reset_lets_the_noise_go_on():
    p, drive = EscapeNoise(seed=3), torch.full((40, 4, 30), 1.0)
    first, _, end = run(p, drive)
    again, _, _ = run(p, drive)
    other, _, _ = run(EscapeNoise(seed=4), drive)
    later, _, _ = run(p, drive, reset_rows(p, torch.ones(4, dtype=torch.bool), end))
    assert (
        torch.equal(first, again)
        and not torch.equal(first, other)
        and not torch.equal(first, later)
    )
    assert not torch.equal(end.key, seeding.keys(3, 4))


def test_the_gradient_of_escape_noise_is_that_of_its_probability():
    p = EscapeNoise(tau_mem=HALF)
    drive = torch.full((1, 1), 1.6, dtype=torch.float64, requires_grad=True)
    z, _ = p.step(EscapeState(torch.zeros(1, 1, dtype=torch.float64), seeding.keys(0, 1)), drive)
    z.sum().backward()
    rate = 0.1 * math.exp((0.8 - 1) / 0.2)
    assert drive.grad.item() == pytest.approx(math.exp(-rate) * rate / 0.2 * 0.5, rel=1e-6)


# readout


def test_a_leaky_integrator_forgets_with_its_kappa_and_settles_at_its_input():
    p, kappa = LeakyIntegrator(tau_out=20.0), math.exp(-1 / 20)
    impulse = torch.zeros(30, 1, 1)
    impulse[0] = 1.0
    y, _, _ = run(p, impulse)
    torch.testing.assert_close(
        y.flatten(), torch.tensor([(1 - kappa) * kappa**k for k in range(30)]), rtol=1e-5, atol=1e-7
    )
    _, _, s = run(p, torch.full((400, 1, 1), 0.7))
    assert s.v.item() == pytest.approx(0.7, rel=1e-5)


# surrogates

FORMULAS = {
    "atan": lambda x, a: a / 2 / (1 + (math.pi / 2 * a * x) ** 2),
    "fast_sigmoid": lambda x, a: 1 / (1 + a * abs(x)) ** 2,
    "triangle": lambda x, a: a * max(0.0, 1 - a * abs(x)),
    "rectangle": lambda x, a: a if abs(x) < 1 / (2 * a) else 0.0,
    "sigmoid": lambda x, a: a * math.exp(-a * x) / (1 + math.exp(-a * x)) ** 2,
    "damped_triangle": lambda x, a: 0.3 * a * max(0.0, 1 - a * abs(x)),
}
AREAS = {"fast_sigmoid": lambda a: 2 / a, "damped_triangle": lambda a: 0.3}
every_surrogate = pytest.mark.parametrize("name", SURROGATES)


@every_surrogate
@pytest.mark.parametrize("slope", [0.5, 1.0, 4.0])
def test_a_surrogate_is_its_formula(name, slope):
    points = [-3.0, -0.9, -0.11, 0.0, 0.07, 0.3, 1.5]
    found = SURROGATES[name](torch.tensor(points), slope)
    assert found.tolist() == pytest.approx([FORMULAS[name](x, slope) for x in points], rel=1e-5)


@every_surrogate
@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_a_surrogate_has_its_area_and_falls_away_from_the_threshold(name, slope):
    # x = sinh(s) covers heavy tails: ∫ f(x) dx = ∫ f(sinh s) cosh s ds
    s = torch.linspace(-16, 16, 200_001, dtype=torch.float64)
    area = torch.trapezoid(SURROGATES[name](s.sinh(), slope) * s.cosh(), s).item()
    assert area == pytest.approx(AREAS.get(name, lambda a: 1.0)(slope), rel=1e-3)
    x = torch.linspace(0, 5, 1001, dtype=torch.float64)
    f = SURROGATES[name](x, slope)
    assert (f.diff() <= 0).all() and f[0] > 0 and torch.equal(f, SURROGATES[name](-x, slope))


@every_surrogate
def test_a_surrogate_is_the_same_on_both_sides_of_the_threshold_in_single_precision(name):
    x = torch.linspace(0, 20, 500)  # the logistic's 1 - σ was zero from x = 17 on
    torch.testing.assert_close(
        SURROGATES[name](x, 1.0), SURROGATES[name](-x, 1.0), rtol=1e-6, atol=0
    )
    if name in ("atan", "fast_sigmoid", "sigmoid"):
        assert (SURROGATES[name](x, 1.0) > 0).all()


@every_surrogate
def test_a_spike_is_a_step_forward_and_a_surrogate_backward(name):
    x = torch.tensor([-0.2, -1e-7, 0.0, 0.2]).requires_grad_()
    z = spike(x, name, 1.5)
    z.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert z.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(
        x.grad, torch.tensor([1.0, 2.0, 3.0, 4.0]) * SURROGATES[name](x.detach(), 1.5)
    )


# docs/neurons.md


PAGE = (Path(__file__).parents[2] / "docs" / "neurons.md").read_text()


def rows(header: str) -> dict[str, list[str]]:
    """The other cells of each row of the table with this header, by the first, a name in `code`."""
    table = PAGE.partition(header)[2].partition("\n\n")[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return {first.strip(" `"): [x.strip() for x in rest] for first, *rest in cells}


def test_the_page_names_every_neuron():
    assert set(rows("| name | one tick |")) == set(discovery.names(neurons))


@pytest.mark.parametrize("name", discovery.names(neurons))
def test_the_page_tells_the_default_constants(name):
    (told,) = rows("| name | defaults |")[name]
    pairs = dict(text.split() for text in told.split(", "))
    defaults = neurons.load(name)()._asdict()
    assert list(pairs) == list(defaults)
    for constant, value in defaults.items():
        if isinstance(value, float):
            assert float(pairs[constant]) == pytest.approx(value, abs=5e-5)
        else:
            assert pairs[constant] == str(value)


@pytest.mark.parametrize("name", discovery.names(neurons))
def test_the_page_tells_which_time_loops_are_fused(name):
    _, fused, _ = rows("| name | one tick |")[name]
    assert (fused == "yes") == (neurons.load(name)().core(1.0) is not None)


def test_the_page_tells_every_surrogate_and_whose_default_it_is():
    table = rows("| name | dz/dx |")
    assert set(table) == set(SURROGATES)
    for name, kind in ((n, neurons.load(n)) for n in discovery.names(neurons)):
        for surrogate, (_, _, owners) in table.items():
            own = kind._field_defaults.get("surrogate") == surrogate
            assert (f"`{name}`" in owners) == own
