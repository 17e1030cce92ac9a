"""A trained MLP with weights and activities of few bits: what a spiking network has to be compared
with, at the return that it then reaches.

    w' = s_j round(w / s_j),   s_j = max_i |w_ji| / (2^(b-1) - 1)      weights, unit by unit
    a' = s round(a / s),       s = A / (2^(b-1) - 1)                   activities in [-A, A]

Rounding after training, without a further step of training (Nagel et al. 2021, arXiv 2106.08295,
§2 and §3). Inputs stay as they are, which favours the MLP.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from bio_rl.contracts import Network, Percept, Probe
from bio_rl.networks import mlp
from bio_rl.training.build import Trained


def quantised(trained: Trained, bits: int) -> Any:
    """A copy of a run's agent whose deciding MLP has `bits` bits, 2 or more. Raises ValueError for
    another network.
    """
    agent = deepcopy(trained.agent)
    network = agent.decider
    if not isinstance(network, mlp.Network):
        raise ValueError(
            f"{trained.folder} has the network {trained.experiment.run.network}, expected an mlp, "
            "which is what spiking networks are compared with"
        )
    if bits < 2:
        raise ValueError(f"{bits} bits, expected 2 or more: a sign and a size")
    # the agent decides by its own attribute, whatever that is called
    names = [name for name, child in agent.named_children() if child is network]
    setattr(agent, names[0], Rounded(network, bits))
    return agent


class Rounded(Network):
    """An MLP with weights and activities of few bits."""

    def __init__(self, network: mlp.Network, bits: int) -> None:
        super().__init__()
        self.levels = 2 ** (bits - 1) - 1
        self.layers = deepcopy(network.layers)
        with torch.no_grad():
            for layer in self.layers:
                if isinstance(layer, nn.Linear):
                    layer.weight.copy_(self._rows(layer.weight))

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def forward(
        self, x: Percept, state: tuple[()], probe: Probe | None = None
    ) -> tuple[Tensor, tuple[()]]:
        activity = x.obs
        for i, layer in enumerate(self.layers):
            if isinstance(layer, nn.Linear) and probe is not None:
                probe.synapses(f"layer {i // 2 + 1}", layer.weight, activity)
            activity = layer(activity)
            if not isinstance(layer, nn.Linear):
                activity = self._activities(layer, activity)
        return activity, ()

    def _rows(self, weight: Tensor) -> Tensor:
        """The weights, each row in steps of its own."""
        step = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / self.levels
        return step * (weight / step).round()

    def _activities(self, unit: nn.Module, activity: Tensor) -> Tensor:
        """The activities in steps of their range: [-1, 1] of a tanh, else that of the moment."""
        largest = 1.0 if isinstance(unit, nn.Tanh) else float(activity.abs().amax()) or 1.0
        step = largest / self.levels
        return step * (activity / step).round()
