"""Our counts beside those of NeuroBench, on twins of its own kind and through the adapter.
NeuroBench is no dependency: pip install neurobench snntorch.
"""

import math

import pytest
import torch
from torch import nn

from bio_rl import energy
from bio_rl.contracts import Percept, Probe
from bio_rl.networks import Blueprint, mlp
from bio_rl.networks.spiking import Config as Spiking
from bio_rl.testing import neurobench as adapter

metrics = pytest.importorskip("neurobench.metrics.workload")
models = pytest.importorskip("neurobench.models")


def theirs(model, batch):
    """(MACs, ACs, dense) of a sample, as NeuroBench counts them."""
    metric = metrics.SynapticOperations()
    model.register_hooks()
    out = model(batch)
    counted = metric(model, out, (batch, torch.zeros(len(batch))))
    model.cleanup_hooks()
    return counted["Effective_MACs"], counted["Effective_ACs"], counted["Dense"]


def ours(network, batch):
    """((MACs, ACs, dense) of a decision, the probe that saw them)."""
    rows = len(batch)
    no = torch.zeros(rows, dtype=torch.bool)
    probe = Probe()
    network(Percept(batch, no.float(), no.float(), no, ~no), network.initial_state(rows), probe)
    counts = energy.operations(probe, rows)
    dense = counts.dense_acs + counts.dense_macs
    return tuple(map(float, (counts.macs, counts.acs, dense))), probe


def test_an_mlp_and_its_torch_twin():
    torch.manual_seed(0)
    network = Blueprint("mlp", mlp.Config(hidden=(9, 5), activation="relu")).build(4, 2)
    batch = torch.randn(6, 4)
    assert ours(network, batch)[0] == pytest.approx(
        theirs(models.TorchModel(network.layers), batch)
    )


class Twin(nn.Module):
    """A spiking network of snnTorch: a held current, leaky neurons, a readout of their spikes."""

    def __init__(self, network, currents, ticks):
        super().__init__()
        snntorch = pytest.importorskip("snntorch")
        beta = math.exp(-1.0 / network.layers[0].p.tau_mem)
        self.currents, self.ticks, self.charge = currents, ticks, 1.0 - beta
        self.first = network.layers[0].connection.as_linear()
        self.neurons = snntorch.Leaky(
            beta=beta, threshold=1.0, reset_mechanism="zero", reset_delay=False
        )
        self.readout = network.readout

    @torch.no_grad()
    def forward(self, batch):
        drive = self.charge * self.first(self.currents)
        v = torch.zeros_like(drive)
        for _ in range(self.ticks):
            spikes, v = self.neurons(drive, v)
            self.readout(spikes)
        return spikes


def test_a_spiking_network_and_its_snntorch_twin():
    torch.manual_seed(0)
    config = Spiking(hidden=(40,), population=6, fields="linear", ticks=4, gain=8.0)
    network = Blueprint("spiking", config).build(3, 2)
    batch = torch.randn(5, 3)
    counts, probe = ours(network, batch)
    assert counts[1] > 0
    connection = network.layers[0].connection
    linear = nn.Linear(18, 40)
    linear.load_state_dict(connection.state_dict())
    connection.as_linear = lambda: linear
    twin = Twin(network, probe.records["input"][0][0], 4)
    assert counts == pytest.approx(theirs(models.TorchModel(twin), batch))


@pytest.mark.parametrize(
    "blueprint",
    [
        Blueprint("mlp", mlp.Config(hidden=(7,))),
        Blueprint("spiking", Spiking(hidden=(12, 8), population=5, ticks=3, gain=8.0)),
        Blueprint("spiking", Spiking(hidden=(12,), population=5, code="poisson", gain=8.0)),
    ],
)
def test_the_adapter_lets_neurobench_count_our_networks(blueprint):
    torch.manual_seed(2)
    network = blueprint.build(3, 2)
    batch = torch.randn(4, 3)
    counts, _ = ours(network, batch)
    assert counts == pytest.approx(theirs(adapter.model(network, 3), batch))
