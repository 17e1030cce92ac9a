"""Cells that answer to conjunctions of features, as currents into spiking neurons, under a linear readout.

    I_k = gain · a_k(o)      x_k = n_k / √(Σ_l n_l²),  n_k: spikes of cell k in K ticks      out = W x + b

The code a (`codes.conjunctive`) is fixed, W is all that learns: by a local rule with the agent `three_factor`, by gradients
with `ppo`. Counts are divided by the norm of the population's activity (Carandini & Heeger 2012), so that a step of W changes
the outputs by the same amount wherever the input lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bio_rl.codes.conjunctive import Grid, Scattered
from bio_rl.kernels.unroll import trace, unroll
from bio_rl.networks._init import orthogonal
from bio_rl.neurons.lif import LIF, LIFState
from bio_rl.types import Percept, Probe


@dataclass(frozen=True, kw_only=True)
class Config:
    cells: tuple[int, ...] = (1000,)
    """How many: one number of cells scattered at random, or one for each feature: a grid of their product."""
    reach: tuple[float, ...] = (3.0,)
    """Cells cover [-reach, reach] of each feature; one number for all, or one for each."""
    width: float = 1.0
    """σ of a cell's field, in units of the spacing between cells."""
    gain: float = 5.0
    """Current into the cell that answers most, in thresholds: those below a share 1/gain of its answer stay silent."""
    ticks: int = 16
    """K, simulation ticks of 1 ms per decision."""
    tau_mem: float = 4.5
    """ms, membrane time constant. Resets subtract the threshold, so that counts grow evenly with the current."""

    def __post_init__(self) -> None:
        for name in ("cells", "reach"):
            if not getattr(self, name) or min(getattr(self, name)) <= 0:
                raise ValueError(f"cells.{name} is {getattr(self, name)}, expected positive numbers")
        for name in ("width", "gain", "ticks", "tau_mem"):
            if not getattr(self, name) > 0:
                raise ValueError(f"cells.{name} is {getattr(self, name)}, expected a positive number")


class Network(nn.Module):
    """[B, n_in] features to [B, n_out]; every decision starts at rest, so there is no state."""

    def __init__(self, config: Config, n_in: int, n_out: int, out_gain: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.code = code(config, n_in)
        self.neuron = LIF(tau_mem=config.tau_mem, v_reset=None)
        self.readout = orthogonal(nn.Linear(self.code.n, n_out), out_gain)

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def activity(self, obs: Tensor, probe: Probe | None = None) -> Tensor:
        """x [..., N] of features [..., n_in]."""
        drive = (self.config.gain * self.code(obs)).reshape(1, -1, self.code.n)
        rows, k = drive.shape[1], self.config.ticks
        rest, reset = LIFState(drive.new_zeros(rows, self.code.n)), drive.new_ones(1, rows, dtype=torch.bool)
        if probe is None:
            rate, _ = unroll(self.neuron, rest, drive, reset, ticks=k, hold=k, readout=1.0)
        else:
            spikes, membranes, _ = trace(self.neuron, rest, drive, reset, ticks=k, hold=k)
            probe.record("input", drive)
            probe.record("spikes/1", spikes)
            probe.record("membrane/1", membranes)
            rate = spikes.mean(0, keepdim=True)
        norm = rate.square().sum(-1, keepdim=True).sqrt() + 1e-9
        return (rate / norm).reshape(*obs.shape[:-1], self.code.n)

    def forward(self, x: Percept, state: tuple[()], probe: Probe | None = None) -> tuple[Tensor, tuple[()]]:
        active = self.activity(x.obs, probe)
        if probe is not None:
            probe.synapses("readout", self.readout.weight, active)
        return self.readout(active), ()

    def unroll(self, xs: Percept, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return self.readout(self.activity(xs.obs)), ()


def code(config: Config, n_in: int) -> Grid | Scattered:
    """The cells of `config` over `n_in` features. Raises ValueError where their numbers do not fit."""
    reach = config.reach * n_in if len(config.reach) == 1 else config.reach
    if len(reach) != n_in or len(config.cells) not in (1, n_in):
        raise ValueError(
            f"cells.cells {config.cells} and cells.reach {config.reach} for {n_in} features: expected one number or {n_in}"
        )
    if len(config.cells) == 1 and n_in > 1:
        draws = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        return Scattered(config.cells[0], n_in, draws, reach[0], config.width)
    return Grid(config.cells, reach, config.width)
