"""The cost of a decision: every column is counted by hand, and joules follow published tables."""

import pytest
import torch
from torch import nn

from bio_rl import energy
from bio_rl.connections._plastic import Plastic
from bio_rl.contracts import Percept, Probe
from bio_rl.energy import TABLES, crossover, joules, yan
from bio_rl.energy.tables import sram_access
from bio_rl.networks import Blueprint, mlp
from bio_rl.networks.spiking import Config as Spiking
from bio_rl.neurons import load
from bio_rl.plasticity.three_factor import ThreeFactor


def counted(network, obs, ticks, **more):
    """The cost of a decision of a network that sees obs [B, n_in], with the probe."""
    b = len(obs)
    never = torch.zeros(b, dtype=torch.bool)
    probe = Probe()
    percept = Percept(obs, torch.zeros(b), torch.zeros(b), never, ~never)
    network(percept, network.initial_state(b), probe)
    steady = energy.fixed(network, ticks, **more)
    return energy.together(energy.operations(probe, b), steady), probe


def test_every_column_of_a_3_2_1_mlp_by_hand():
    net = Blueprint("mlp", mlp.Config(hidden=(2,))).build(3, 1)
    counts, _ = counted(net, torch.tensor([[0.5, 0.0, -2.0]]), 1, normalised=3)
    assert counts.macs == 2 * 2 + 2 * 1  # the second input is zero
    assert counts.dense_macs == 3 * 2 + 2 * 1
    assert (counts.acs, counts.spikes, counts.dense_acs) == (0, 0, 0)
    assert counts.events == 2 + 2
    assert counts.updates == 2 and counts.functions == 2  # two tanh
    assert (counts.update_macs, counts.code_macs) == (0, 3)  # a normaliser scales three numbers
    assert counts.total == counts.macs + 3
    assert counts.weight_bytes == 4 * counts.macs
    assert counts.state_bytes == 0
    assert counts.footprint_bytes == 4 * (3 * 2 + 2 + 2 * 1 + 1)
    assert counts.learning_macs == counts.written_bytes == 0


def test_every_column_of_a_spiking_network_by_hand():
    torch.manual_seed(0)
    config = Spiking(hidden=(5,), population=4, fields="linear", ticks=3, gain=8.0)
    net = Blueprint("spiking", config).build(2, 2)
    counts, probe = counted(net, torch.tensor([[0.3, -1.4]]), 3)
    fired = float(probe.records["spikes/1"][0].sum())
    assert 0 < fired < 15
    assert counts.macs == 2 * 2 * 5  # two of a dimension's four cells answer, held for all ticks
    assert counts.dense_macs == 8 * 5
    assert counts.acs == 2 * fired  # a spike reaches both outputs
    assert counts.dense_acs == 3 * 5 * 2
    assert counts.spikes == fired and counts.events == 4 + fired
    assert counts.updates == 15  # silent neurons too
    assert (counts.update_macs, counts.update_adds) == (15, 15)  # a leak and a comparison
    # fields: the place of each of two inputs; readout: two outputs that fade at three ticks
    assert (counts.code_macs, counts.code_adds, counts.functions) == (2 + 6, 3 * 2, 0)
    assert counts.state_bytes == 2 * 4 * 15
    assert counts.footprint_bytes == 4 * (8 * 5 + 5 + 5 * 2 + 2 + 5)
    assert counts.total == 20 + 2 * fired + 30 + 14


def test_the_readout_by_spikes_is_the_readout_of_the_average():
    torch.manual_seed(1)
    config = Spiking(hidden=(6,), population=5, ticks=4, gain=8.0)
    net = Blueprint("spiking", config).build(3, 2)
    obs = torch.randn(7, 3)
    _, probe = counted(net, obs, 4)
    ((_, weight, spikes),) = [one for one in probe.products if one[0] == "readout"]
    out = torch.zeros(7, 2)
    for z in spikes:  # fade what an output has, add a weight for each spike
        out = net.keep * out + z @ weight.t()
    scaled = out / sum(net.keep**k for k in range(4)) + net.readout.bias
    never = torch.zeros(7, dtype=torch.bool)
    percept = Percept(obs, torch.zeros(7), torch.zeros(7), never, ~never)
    torch.testing.assert_close(scaled, net(percept, ())[0])


def test_an_input_that_falls_silent_saves_its_fan_out():
    torch.manual_seed(0)
    net = Blueprint("mlp", mlp.Config(hidden=(7,))).build(4, 1)
    obs = torch.full((1, 4), 0.5)
    whole, _ = counted(net, obs, 1)
    obs[0, 2] = 0.0
    without, _ = counted(net, obs, 1)
    assert whole.macs - without.macs == 7


def test_a_field_that_does_not_answer_saves_its_fan_out():
    torch.manual_seed(0)
    gaussian, linear = (
        Blueprint("spiking", Spiking(hidden=(9,), population=6, fields=fields)).build(1, 1)
        for fields in ("gaussian", "linear")
    )
    obs = torch.tensor([[0.2]])
    all_answer, _ = counted(gaussian, obs, 4)
    two_answer, _ = counted(linear, obs, 4)
    assert all_answer.macs - two_answer.macs == (6 - 2) * 9


def test_synapses_that_learn_move_and_write_bytes():
    plastic = Plastic(nn.Linear(3, 2), ThreeFactor())
    one = plastic.plasticity("readout", passes=4)
    # the bias is a synapse, too; an eligibility for each, and a trace of each that drives them
    assert (one.weights, one.traces) == (2 * 4, 2 * 4 + 4)
    net = Blueprint("mlp", mlp.Config(hidden=(2,))).build(3, 1)
    counts, _ = counted(net, torch.ones(1, 3), 1, plasticity=(one,))
    assert counts.learning_macs == 12 * 4 + 8  # traces at four ticks, then the changes
    assert counts.written_bytes == 4 * 8
    assert counts.learning_bytes == 2 * 4 * 12 * 4 + 4 * 8


@pytest.mark.parametrize(
    ("agent", "network"),
    [("three_factor", "spiking"), ("hebbian", "mlp"), ("eprop", "lsnn"), ("three_factor", "cells")],
)
def test_every_agent_with_local_rules_says_what_it_writes(agent, network):
    from bio_rl.training import build, config

    experiment = config.experiment("CartPole-v1", agent=agent, network=network)
    with build.open_env(build.make_env(experiment.run, 1, "cpu")) as env:
        made = build.make_agent(experiment, env)
    assert sum(one.weights for one in made.plasticity()) > 0
    steady = energy.fixed(made.decider, experiment.network.config.ticks, 0, made.plasticity())
    assert steady.weight_writes > 0 and steady.learning.macs > 0


def test_neurons_say_what_a_tick_costs():
    assert load("lif")().cost() == (1.0, 1.0, 0.0)
    assert load("alif")().cost() == (1.0, 2.0, 0.0)
    assert load("adex")().cost().functions == 1.0


def test_joules_by_hand():
    zero = dict.fromkeys(energy.Counts._fields, 0.0)
    counts = energy.Counts(**{**zero, "acs": 100.0, "macs": 10.0, "updates": 8.0, "spikes": 4.0})
    counts = counts._replace(weight_bytes=440.0, footprint_bytes=20 * 1024)
    found = joules(counts)
    assert found.keys() == TABLES.keys()
    assert found["horowitz-fp32"] == pytest.approx(1e-12 * (100 * 0.9 + 10 * 4.6))
    assert found["horowitz-int8"] == pytest.approx(1e-12 * (100 * 0.03 + 10 * 0.23))
    assert sram_access(20 * 1024) == 15.0
    assert found["lemaire-sram"] == pytest.approx(1e-12 * (0.1 * 200 + 3.2 * 10 + 15.0 * 110))
    spent = 110 * (0.05448 + 160) + 12 * 0.05448 + 2 * 8 * 8 * 0.25
    assert found["yan-dram"] == pytest.approx(1e-12 * spent)
    assert found["loihi"] == pytest.approx(1e-12 * (110 * 35.5 + 8 * 72.8 + 4 * 69.3))
    silent = joules(counts._replace(spikes=0.0), bits=4)
    assert "loihi" not in silent and "horowitz-fp32" not in silent


def test_loihis_table_is_within_five_per_cent_of_sana_fes_simulation():
    sanafe = pytest.importorskip("sanafe")  # GPL, so no dependency: pip install sanafe
    draws = torch.Generator().manual_seed(0)
    ticks = 4
    inputs = torch.rand(ticks, 204, generator=draws) < 0.1
    weights = 0.3 * torch.randn(204, 128, generator=draws)
    arch, net = sanafe.load_loihi(), sanafe.Network()
    first = net.create_neuron_group("in", 204)
    hidden = net.create_neuron_group("hidden", 128, model_attributes={"threshold": 1.0})
    out = net.create_neuron_group("out", 6, model_attributes={"threshold": 1e9})
    for i, neuron in enumerate(first):
        train = inputs[:, i].int().tolist()
        neuron.set_attributes(soma_hw_name=f"loihi_inputs[{i}]", model_attributes={"spikes": train})
        neuron.map_to_core(arch.tiles[0].cores[0])
    for core, group in enumerate((hidden, out), start=1):
        for neuron in group:
            neuron.set_attributes(
                soma_hw_name="loihi_lif", default_synapse_hw_name="loihi_dense_synapse"
            )
            neuron.map_to_core(arch.tiles[0].cores[core])
    first.connect_neurons_dense(hidden, {"weight": weights.flatten().tolist()})
    hidden.connect_neurons_dense(out, {"weight": [0.1] * (128 * 6)})
    chip = sanafe.SpikingChip(arch)
    chip.load(net)
    simulated = chip.sim(ticks)
    # neurons_fired has the inputs in it, which cost nothing themselves
    spikes = simulated["neurons_fired"] - int(inputs.sum())
    events = 128 * int(inputs.sum()) + 6 * spikes
    assert events == simulated["spikes"]  # SANA-FE's word for what reaches a synapse
    zero = dict.fromkeys(energy.Counts._fields, 0.0)
    counts = energy.Counts(**{**zero, "acs": events, "updates": 134 * ticks, "spikes": spikes})
    expected = simulated["energy"]["synapse"] + simulated["energy"]["soma"]
    assert joules(counts)["loihi"] == pytest.approx(expected, rel=0.05)


def test_spikes_and_numbers_cost_the_same_where_yan_bai_and_wong_say():
    crossings = [crossover((256, 128, 10), ticks) for ticks in range(5, 11)]
    expected = [0.075, 0.0625, 0.0536, 0.0625, 0.0556, 0.05]
    assert crossings == pytest.approx(expected, abs=5e-5)
    assert sum(crossings) / 6 == pytest.approx(0.0599, abs=5e-5)
    assert [yan.bits(ticks) for ticks in (1, 2, 3, 4, 7, 8)] == [1, 2, 2, 3, 3, 4]


def test_a_network_without_parts_is_not_counted():
    class Blank(nn.Linear):
        def parts(self):
            return ()

    with pytest.raises(ValueError, match="Blank does not describe its parts"):
        energy.fixed(Blank(2, 1), 1)


def test_the_total_on_tensorboard_is_that_of_the_meter():
    from bio_rl.rl.activity import activity_report

    torch.manual_seed(0)
    config = Spiking(hidden=(5,), population=4, fields="linear", ticks=3, gain=8.0)
    net = Blueprint("spiking", config).build(2, 2)
    counts, probe = counted(net, torch.tensor([[0.3, -1.4]]), 3)
    report = activity_report(probe, 1, energy.fixed(net, 3).operations)
    assert float(report["energy/total"]) == counts.total
