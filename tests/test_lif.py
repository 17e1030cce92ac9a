"""LIF: closed forms, and every kernel against the readable reference."""

import itertools
import math

import pytest
import torch

from bio_rl.kernels import BACKENDS
from bio_rl.kernels.lif import lif_unroll
from bio_rl.neurons.lif import LIF, LIFState, init, step
from bio_rl.neurons.surrogate import SURROGATES


def test_three_ticks_by_hand():
    # τ = 1/ln 2 so that the decay is ½: v ← ½ v + ½ drive. drive 1.6: 0.8; 1.2 -> spike, 0; 0.8
    p, s = LIF(tau_mem=1 / math.log(2)), LIFState(torch.zeros(1, 1))
    seen = []
    for _ in range(3):
        z, s = step(p, s, torch.full((1, 1), 1.6))
        seen.append((z.item(), round(s.v.item(), 6)))
    assert seen == [(0.0, 0.8), (1.0, 0.0), (0.0, 0.8)]


def test_soft_reset_keeps_what_exceeds_the_threshold():
    p = LIF(tau_mem=1 / math.log(2), v_reset=None)
    _, s = step(p, LIFState(torch.zeros(1, 1)), torch.full((1, 1), 2.5))  # ½·2.5 = 1.25 -> 0.25
    assert s.v.item() == pytest.approx(0.25)


def test_interspike_interval_is_the_closed_form():
    # from reset at 0, drive I > 1: v(t) = I (1 - e^{-t/τ}) reaches 1 at t = τ ln(I / (I - 1))
    p, drive, dt = LIF(tau_mem=20.0), 1.5, 0.01
    expected = 20.0 * math.log(1.5 / 0.5)
    ticks = 10_000
    spikes, _ = lif_unroll(
        p, init(p, 1, 1), torch.full((1, 1, 1), drive), torch.zeros(1, 1, dtype=torch.bool), ticks=ticks, hold=ticks, dt=dt
    )
    times = spikes[:, 0, 0].nonzero().squeeze() * dt
    assert times.diff().mean().item() == pytest.approx(expected, abs=dt)


def test_silence_without_input():
    p = LIF()
    spikes, s = lif_unroll(p, init(p, 2, 3), torch.zeros(5, 2, 3), torch.zeros(5, 2, dtype=torch.bool), ticks=1)
    assert spikes.sum() == 0 and s.v.abs().sum() == 0


CASES = list(itertools.product([b for b in BACKENDS if b != "torch"], SURROGATES, [0.0, None], [1, 4], [None, 1.0, 0.6]))


@pytest.mark.parametrize(("backend", "surrogate", "v_reset", "hold", "readout"), CASES)
def test_kernels_agree_with_the_reference(backend, surrogate, v_reset, hold, readout):
    pytest.importorskip(backend)
    torch.manual_seed(0)
    p = LIF(surrogate=surrogate, v_reset=v_reset, v_leak=0.1, tau_mem=3.0, slope=1.7)
    t, k, b, n = 6, 4, 150, 60  # more rows than one block of the fused kernel
    drive, v = 2 * torch.randn(t * k // hold, b, n), torch.randn(b, n)
    reset, grad_z, grad_v = torch.rand(t, b) < 0.3, torch.randn(t * k if readout is None else t, b, n), torch.randn(b, n)

    def run(name):
        d, v0 = drive.clone().requires_grad_(), v.clone().requires_grad_()
        spikes, s = lif_unroll(p, LIFState(v0), d, reset, ticks=k, hold=hold, readout=readout, backend=name)
        ((spikes * grad_z).sum() + (s.v * grad_v).sum()).backward()
        return spikes.detach(), s.v.detach(), d.grad, v0.grad

    ours, reference = run(backend), run("torch")
    assert reference[0].sum() > 10 and all(x.abs().sum() > 0 for x in reference)  # the case is not an empty one
    torch.testing.assert_close(ours[0], reference[0], rtol=1e-6 if readout else 0, atol=0)
    for a, e in zip(ours[1:], reference[1:], strict=True):
        torch.testing.assert_close(a, e, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_reset_row_equals_a_fresh_row_and_its_past_gets_no_gradient(backend):
    p, drive = LIF(), torch.randn(8, 2, 3).mul(2).requires_grad_()
    reset = torch.zeros(2, 2, dtype=torch.bool)
    reset[1, 0] = True  # row 0 starts a new episode at the second decision
    spikes, s = lif_unroll(p, init(p, 2, 3), drive, reset, ticks=4, backend=backend)
    fresh, fresh_state = lif_unroll(p, init(p, 2, 3), drive[4:], reset[:1], ticks=4, backend=backend)
    assert torch.equal(spikes[4:, 0], fresh[:, 0]) and torch.equal(s.v[0], fresh_state.v[0])
    s.v.sum().backward()
    assert drive.grad[:4, 0].abs().sum() == 0 and drive.grad[4:, 0].abs().sum() > 0


def test_wrong_shapes_and_backends_are_refused():
    p = LIF()
    with pytest.raises(ValueError, match="drive has shape"):
        lif_unroll(p, init(p, 2, 3), torch.zeros(5, 2, 3), torch.zeros(2, 2, dtype=torch.bool), ticks=4)
    with pytest.raises(ValueError, match=r"expected \[B, N\]"):
        lif_unroll(p, init(p, 2, 4), torch.zeros(4, 2, 3), torch.zeros(1, 2, dtype=torch.bool), ticks=4)
    with pytest.raises(ValueError, match="cuda-magic"):
        lif_unroll(p, init(p, 2, 3), torch.zeros(4, 2, 3), torch.zeros(1, 2, dtype=torch.bool), ticks=4, backend="cuda-magic")
