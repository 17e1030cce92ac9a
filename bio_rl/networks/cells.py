"""Cells that answer to conjunctions of features, as currents into spiking neurons, under a linear
readout.

    I_k = gain · a_k(o)      x_k = n_k / √(Σ_l n_l²),  n_k: spikes of cell k in K ticks
        out = W x + b

The code a (`codes.conjunctive`) is fixed, W is all that learns: by a local rule with the agent
`three_factor`, by gradients with `ppo`. Counts are divided by the norm of the population's activity
(Carandini & Heeger 2012), so that a step of W changes the outputs by the same amount wherever the
input lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bio_rl import contracts
from bio_rl.checks import Between, check_settings, tunable
from bio_rl.codes.conjunctive import Grid, Scattered
from bio_rl.contracts import Lived, NetworkConfig, Percept, Probe
from bio_rl.kernels.cells import power, respond
from bio_rl.kernels.unroll import trace
from bio_rl.networks import _parts
from bio_rl.networks._init import orthogonal
from bio_rl.neurons.lif import LIF
from bio_rl.parts import Cost, Part
from bio_rl.state import check_batch, rows


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    cells: tuple[int, ...] = (1000,)
    """How many: one number of cells scattered at random; one for each feature, a grid of their
    product; or none (an empty list), where the observation is the activity of a population already.
    """
    columns: int = 1
    """Columns of scattered cells, each with that many cells, which inhibit one another."""
    order: int = 0
    """Features that a column looks at, drawn at random; 0 for all."""
    reach: tuple[float, ...] = (3.0,)
    """Cells cover [-reach, reach] of each feature; one number for all, or one for each."""
    width: float = tunable(1.0, Between(0.4, 2.0, log=True))
    """σ of a cell's field, in units of the spacing between cells."""
    gain: float = tunable(5.0, Between(1.0, 20.0, log=True))
    """Current into the cell that answers most, in thresholds: those below a share 1/gain of its
    answer stay silent.
    """
    ticks: int = 16
    """K, simulation ticks of 1 ms per decision."""
    tau_mem: float = 4.5
    """ms, membrane time constant. Resets subtract the threshold, so that counts grow evenly with
    the current.
    """
    linger: float = 0.0
    """Decisions for which activity lingers in the synapses, as a trace that fades to 1/e in that
    time: a memory; 0 for none.
    """

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("cells", "reach", "width", "gain", "ticks", "tau_mem", "columns"),
            non_negative=("order", "linger"),
        )
        if not self.reach:
            raise ValueError(f"cells.reach is {self.reach}, expected positive numbers")


class Network(contracts.Network):
    """[B, n_in] features to [B, n_out]; membranes start every decision at rest."""

    def __init__(self, config: Config, n_in: int, n_out: int, out_gain: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.code: Grid | Scattered | Given = code(config, n_in)
        # a soft reset, so that counts grow evenly with the current
        self.neuron = LIF(tau_mem=config.tau_mem, v_reset=None)
        self.silence = nn.Buffer(torch.zeros(self.code.n), persistent=False)
        self.readout = orthogonal(nn.Linear(self.code.n, n_out), out_gain)

    def initial_state(self, batch: int) -> tuple[Tensor] | tuple[()]:
        """The lingering activity [B, N], where there is any."""
        if not self.config.linger:
            return ()
        return (self.silence.repeat(batch, 1),)

    def active(
        self, x: Percept, state: tuple[Any, ...], probe: Probe | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """(x [B, N], state) of one decision."""
        rate, total = self.rates(x.obs, probe)
        if self.config.linger:
            check_batch(state, len(rate), "cells")
            keep = math.exp(-1.0 / self.config.linger)
            rate = torch.where(rows(x.reset, rate), 0.0, keep * state[0]) + rate
            total = power(rate)
            state = (rate,)
        # 1e-9, since all cells may be silent
        return rate / (total.sqrt() + 1e-9), state

    teachable = True
    unit_activity = True

    @property
    def width(self) -> int:
        """Cells."""
        return self.code.n

    def live(
        self,
        x: Percept,
        state: tuple[Any, ...],
        noise: Sequence[Tensor] = (),
        probe: Probe | None = None,
    ) -> Lived:
        """One decision; no hidden synapse learns by a rule."""
        return Lived(*self.active(x, state, probe), ())

    def forward(
        self, x: Percept, state: tuple[Any, ...], probe: Probe | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        active, state = self.active(x, state, probe)
        if probe is not None:
            probe.synapses("readout", self.readout.weight, active)
        return self.readout(active), state

    def unroll(self, xs: Percept, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        if not self.config.linger:
            return self.readout(self.active(xs, ())[0]), ()
        return super().unroll(xs, state)

    def parts(self) -> tuple[Part, ...]:
        n = self.code.n
        kind = type(self.code).__name__.lower()
        return (
            _parts.code("code", kind, n, "input", module=self.code, cost=self.code.cost()),
            _parts.neurons("neurons", self.neuron, n, "code"),
            # squares, their root, and the share of each
            _parts.code(
                "activity",
                "normalised",
                n,
                "neurons",
                cost=Cost(macs=2.0 * n, functions=1.0),
            ),
            *_parts.readout(self, "activity"),
        )

    def rates(self, obs: Tensor, probe: Probe | None) -> tuple[Tensor, Tensor]:
        """(spikes per tick [..., N], the sum of their squares [..., 1]) of features [..., n_in]."""
        gain = self.config.gain
        ticks = self.config.ticks
        if probe is None:
            return respond(self.code, self.neuron, obs, gain=gain, ticks=ticks)
        # the fused pass keeps no membranes, so the reference shows them to a probe
        drive = (gain * self.code(obs)).reshape(1, -1, self.code.n)
        rest = self.neuron.init(drive.shape[1], drive.shape[2], drive.device)
        reset = drive.new_ones(1, drive.shape[1], dtype=torch.bool)
        spikes, membranes, _ = trace(self.neuron, rest, drive, reset, ticks=ticks, hold=ticks)
        probe.record("input", drive)
        probe.record("spikes/1", spikes)
        probe.record("membrane/1", membranes)
        rate = spikes.mean(0).view(*obs.shape[:-1], -1)
        return rate, power(rate)


class Given(nn.Module):
    """Features that are the activities of a population."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def cost(self) -> Cost:
        """Nothing: they come as they are."""
        return Cost()

    def forward(self, features: Tensor) -> Tensor:
        return features


def code(config: Config, n_in: int) -> Grid | Scattered | Given:
    """The cells of `config` over `n_in` features. Raises ValueError for numbers that do not fit."""
    if not config.cells:
        return Given(n_in)
    reach = config.reach * n_in if len(config.reach) == 1 else config.reach
    if len(reach) != n_in or len(config.cells) not in (1, n_in):
        raise ValueError(
            f"cells.cells {config.cells} and cells.reach {config.reach} for {n_in} features: "
            f"expected one number or {n_in}"
        )
    if len(config.cells) == 1 and n_in > 1:
        # a generator of its own: how much it draws must not move what is drawn after it
        draws = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        return Scattered(
            config.cells[0], n_in, draws, reach[0], config.width, config.columns, config.order
        )
    return Grid(config.cells, reach, config.width)
