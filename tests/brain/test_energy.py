"""Operations per decision, counted by hand and against the definition of NeuroBench."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from bio_rl.connections import conv
from bio_rl.contracts import Percept, Probe
from bio_rl.energy import UNKNOWN, operations, summary, together
from bio_rl.networks import Blueprint, mlp
from bio_rl.networks.spiking import Config as Spiking
from bio_rl.rl import encoders
from bio_rl.rl.observations import for_space


def percept(obs):
    b = len(obs)
    never = torch.zeros(b, dtype=torch.bool)
    return Percept(obs, torch.zeros(b), torch.zeros(b), never, ~never)


def test_effective_and_dense_operations_by_hand():
    probe, weight = (
        Probe(),
        torch.tensor([[1.0, 0.0, 2.0], [0.5, 3.0, 0.0]]),
    )  # 4 of 6 synapses exist
    probe.record("spikes/1", torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]))
    probe.synapses("spikes", weight, torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]))
    # tick 1: inputs 1 and 3 meet weights (1, .5) and (2, -): 3; tick 2: input 2 meets (-, 3): 1
    probe.synapses(
        "numbers", weight, torch.tensor([[0.2, 0.0, -1.0]])
    )  # inputs 1 and 3 again: 3 multiplications
    counts = operations(probe, 1)
    assert [float(x) for x in counts] == [4.0, 3.0, 12.0, 6.0, 3.0, 5.0]
    assert summary(together(counts, UNKNOWN)) == (
        "4 ACs (12 dense) and 3 MACs (6 dense), 3.0 spikes; 7 operations with neurons and codes"
    )


def test_counts_are_per_row_and_per_decision():
    net, probe = Blueprint("mlp", mlp.Config(hidden=(5,))).build(3, 2), Probe()
    for _ in range(4):
        net(percept(torch.randn(7, 3)), (), probe)
    counts = operations(probe, 7)
    assert (
        float(counts.dense_macs) == 3 * 5 + 5 * 2
        and float(counts.macs) == 25
        and float(counts.acs) == 0
    )


def test_a_held_current_meets_its_weights_once_and_spikes_at_every_tick():
    torch.manual_seed(0)
    config = Spiking(hidden=(6, 5), population=4, ticks=3)
    net, probe = Blueprint("spiking", config).build(2, 2), Probe()
    obs = torch.linspace(-2, 2, 12).view(6, 2)
    net(percept(obs), (), probe)
    counts = operations(probe, 6)
    assert float(counts.dense_macs) == 8 * 6  # the code's currents
    # the second layer's synapses, and the readout's, at every tick
    assert float(counts.dense_acs) == 3 * (6 * 5 + 5 * 2)
    fired = sum(probe.records[f"spikes/{i}"][0].sum() for i in (1, 2))
    assert float(counts.spikes) == pytest.approx(float(fired) / 6)
    first, second = (float(probe.records[f"spikes/{i}"][0].sum()) for i in (1, 2))
    assert float(counts.acs) == pytest.approx((first * 5 + second * 2) / 6)


def test_a_convolution_unfolded_is_the_same_product():
    layer, spikes = (
        conv.Connection(2, 3, kernel=2, stride=2),
        (torch.rand(4, 5, 2, 6, 6) < 0.3).float(),
    )
    weight, patches = layer.unfolded(spikes)
    drive, _ = layer(spikes, ())
    unfolded = (patches @ weight.t() + layer.bias).transpose(-1, -2).reshape(drive.shape)
    torch.testing.assert_close(unfolded, drive)


@pytest.mark.parametrize("shape", [(4, 6, 3), (3, 4, 6)])
def test_pictures_come_with_channels_first_in_zero_to_one(shape):
    space = gym.spaces.Box(0, 255, shape, np.uint8)
    features = for_space(space, normalise=True)
    (kind,) = features.size.others
    assert kind.shape == (3, 4, 6)
    picture = torch.from_numpy(space.sample())
    seen = encoders.AsFloat(kind)(features(picture.expand(2, 5, *shape)))
    expected = (picture if shape[0] == 3 else picture.permute(2, 0, 1)) / 255.0
    assert torch.equal(seen[1, 4], expected) and seen.shape == (2, 5, 3, 4, 6)


def test_what_is_no_picture_is_refused_by_a_network_that_looks():
    with pytest.raises(
        ValueError, match="cannot be served by spiking_conv, a network for pictures"
    ):
        encoders.build(Blueprint.default("spiking_conv"), 4, 2)


def test_a_slope_schedule_runs_from_its_first_to_its_second_number():
    net = Blueprint("spiking", Spiking(slope=(1.0, 5.0))).build(3, 2)
    assert net.layers[0].p.slope == 1.0
    net.anneal(0.25)
    assert net.layers[0].p.slope == 2.0
    net.anneal(1.0)
    assert net.layers[0].p.slope == 5.0


def test_the_homeostat_wakes_a_silent_layer():
    net = Blueprint("spiking", Spiking(hidden=(9,), target_rate=0.2)).build(3, 2)
    with torch.no_grad():
        net.layers[0].connection.weight.zero_()
    rates = []
    for _ in range(
        600
    ):  # from nothing it takes some 300 updates of 0.02 · 0.2 to the drive of 1.16 that fires
        probe = Probe()
        net(percept(torch.randn(4, 3)), (), probe)
        net.regulate(probe)
        rates.append(float(probe.records["spikes/1"][0].mean()))
    assert max(rates[:200]) == 0.0 and sum(rates[-200:]) / 200 == pytest.approx(0.2, abs=0.02)
