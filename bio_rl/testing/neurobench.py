"""One of our networks as a model of NeuroBench, whose metrics then count it (Yik et al. 2025,
Nature Communications).

    from neurobench.benchmarks import Benchmark
    from bio_rl.testing.neurobench import model

    Benchmark(model(network, n_in), loader, [], [], [[], [SynapticOperations]]).run()

A sample of NeuroBench is a decision here: [B, n_in] features, from rest. NeuroBench sees layers of
torch alone, so each product that a network reports to its probe is computed once more by a
`nn.Linear`, tick by tick.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bio_rl.contracts import Network, Percept, Probe


class Replayed(nn.Module):
    """A network whose products are those of layers of torch."""

    def __init__(self, network: Network, n_in: int) -> None:
        super().__init__()
        self.network = (network,)  # in a tuple: its own layers are not to be counted, too
        products = self._products(torch.zeros(1, n_in))[1].products
        self.layers = nn.ModuleDict()
        for name, weight, _ in products:
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            layer.weight.data.copy_(weight)
            self.layers[name.replace(".", " ")] = layer

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        out, probe = self._products(features)
        for name, _, pre in probe.products:
            # [ticks, B, pre], or [B, pre] of a network without ticks
            for tick in pre.reshape(-1, len(features), pre.shape[-1]):
                self.layers[name.replace(".", " ")](tick)
        return out

    def _products(self, features: Tensor) -> tuple[Tensor, Probe]:
        """(the outputs [B, n_out] of features from rest, what the network reports)."""
        rows = len(features)
        no = torch.zeros(rows, dtype=torch.bool)
        probe = Probe()
        percept = Percept(features, torch.zeros(rows), torch.zeros(rows), no, ~no)
        (network,) = self.network
        out, _ = network(percept, network.initial_state(rows), probe)
        return out, probe


def model(network: Network, n_in: int) -> Any:
    """A model of NeuroBench whose layers do what the network's connections do.

    Raises ImportError where NeuroBench is not installed.
    """
    from neurobench.models import TorchModel

    return TorchModel(Replayed(network, n_in))
