"""Intrinsic excitability by its closed forms: the cost of a spike, and the way to the target."""

from __future__ import annotations

import math

import pytest
import torch

from bio_rl.codes.homeostat import homeostat
from bio_rl.plasticity import Post, Pre
from bio_rl.plasticity.intrinsic import Intrinsic
from bio_rl.plasticity.scaling import Scaling

ON = Pre(torch.ones(1, 1))


def test_a_spike_costs_as_much_in_all_however_long_it_is_remembered():
    # a spike lifts r̄ by (1 - k) 1000 Hz, k = e^(-1/τ), and Σ_t k^t = 1 / (1 - k)
    p = Intrinsic(target=0.0, tau_rate=50.0, lr=1e-3)
    s, bias, w = p.init(1, 1, 1), torch.zeros(1), torch.zeros(1, 1, 1)
    for t in range(1000):
        s = p.trace(s, w, ON, Post(torch.full((1, 1), float(t == 0))))
        bias = bias + p.delta(s, w, torch.ones(1)).view(1)
    assert bias.item() == pytest.approx(-1e-3 * 1000.0, rel=1e-4)


def test_a_neuron_at_its_target_stays():
    p = Intrinsic(target=20.0)
    s = p.init(1, 1, 1)
    for _ in range(100):
        s = p.trace(
            s, torch.zeros(1, 1, 1), ON, Post(torch.full((1, 1), 0.02))
        )  # its mean spikes in a tick
    assert p.delta(s, torch.zeros(1, 1, 1), torch.ones(1)).abs().max() < 1e-12


@pytest.mark.parametrize("dt", [1.0, 5.0])
def test_every_rate_comes_to_its_target_from_both_sides_as_a_damped_oscillator_does(dt):
    # with q = r - r* and p = r̄ - r*: q' = -g η/dt p and τ p' = q - p, critically damped where η =
    # dt / (4 τ g); from p = q at
    # the start, so that q' = -q / (4τ) there, q falls as (1 + t / (4τ)) e^(-t / (2τ))
    gain, tau, target = 4.0, 200.0, 10.0
    p = Intrinsic(target=target, tau_rate=tau, lr=dt / (4 * tau * gain))
    bias, w = torch.tensor([0.5, 2.5, 10.0]), torch.zeros(3, 1, 1)  # 2, 10 and 40 Hz
    start = gain * bias - target
    s = p.init(3, 1, 1)._replace(excess=start.unsqueeze(-1).clone())  # r̄ has long been where r is
    ticks = round(800 / dt)
    for _ in range(ticks):
        s = p.trace(
            s, w, Pre(torch.ones(3, 1)), Post((gain * bias * dt / 1000).unsqueeze(-1)), dt=dt
        )
        bias = bias + p.delta(s, w, torch.ones(3)).view(3)
    expected = start * (1 + 800 / (4 * tau)) * math.exp(-800 / (2 * tau))
    torch.testing.assert_close(gain * bias - target, expected, rtol=0.05, atol=0.0)


def test_it_wakes_a_neuron_that_has_no_input_where_scaling_cannot():
    silent, none = Post(torch.zeros(1, 1)), torch.zeros(1, 1, 1)
    changes = []
    for p in (Intrinsic(tau_rate=100.0), Scaling(tau_rate=100.0)):
        s = p.init(1, 1, 1)
        for _ in range(100):
            s = p.trace(s, none, ON, silent)
        changes.append(p.delta(s, none, torch.ones(1)).item())
    assert changes[0] > 0.0 == changes[1]


def test_without_memory_it_is_the_homeostat():
    p = Intrinsic(target=100.0, tau_rate=0.0, lr=1e-3)  # Hz; 0.1 spikes per tick of 1 ms
    rate, bias = torch.tensor([0.0, 0.1, 0.7]), torch.tensor([0.2, 0.2, 0.2])
    s = p.trace(p.init(3, 1), torch.zeros(3, 1), Pre(torch.ones(1)), Post(rate))
    changed = bias + p.delta(s, torch.zeros(3, 1), torch.ones(())).view(3)
    torch.testing.assert_close(changed, homeostat(bias, rate, target=0.1, lr=1.0))
