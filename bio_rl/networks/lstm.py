"""The recurrent baseline: a layer of long short-term memory.

i, f, g, o = W [x; h];   c ← σ(f) c + σ(i) tanh(g);   h ← σ(o) tanh(c)      Hochreiter & Schmidhuber
1997; Gers 2000
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from bio_rl import contracts
from bio_rl.checks import Among, check_settings, tunable
from bio_rl.contracts import NetworkConfig, Percept, Probe
from bio_rl.modes import transformed
from bio_rl.networks import _parts
from bio_rl.networks._init import orthogonal
from bio_rl.parts import Part
from bio_rl.state import check_batch, where_reset

FORGET = 1.0
"""Bias of the forget gates at first: at 0 a cell would lose half of its memory at every step
(Jozefowicz et al. 2015).
"""


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    hidden: int = tunable(64, Among((32, 64, 128)))
    """Memory cells, and units of the layer before them."""
    span: float = 0.0
    """Steps that cells remember at first, drawn from 2 to this for each (chrono initialisation,
    Tallec & Ollivier 2018): about as many as the task asks to bridge. 0 for a forget bias of 1 in
    all cells, that is less than 4 steps.
    """

    def __post_init__(self) -> None:
        check_settings(self, positive=("hidden",))
        if self.span != 0 and self.span < 2:
            raise ValueError(f"lstm.span is {self.span}, expected 0 or at least 2 steps")


class LSTMState(NamedTuple):
    h: Tensor
    """[B, N] output of the cells."""
    c: Tensor
    """[B, N] their memory."""


class Network(contracts.Network):
    """[B, n_in] features to [B, n_out] through one layer of tanh units and one of LSTM cells."""

    def __init__(self, config: Config, n_in: int, n_out: int, out_gain: float = 1.0) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            orthogonal(nn.Linear(n_in, config.hidden), math.sqrt(2)), nn.Tanh()
        )
        self.cell = nn.LSTMCell(config.hidden, config.hidden)
        nn.init.orthogonal_(self.cell.weight_ih)
        nn.init.orthogonal_(self.cell.weight_hh)
        nn.init.zeros_(self.cell.bias_ih)
        nn.init.zeros_(self.cell.bias_hh)
        with torch.no_grad():
            # [4, N], the gates in PyTorch's order i, f, g, o
            incoming, forget, _, _ = self.cell.bias_hh.view(4, -1)
            forget.fill_(FORGET)
            if config.span:
                forget.uniform_(1.0, config.span - 1.0).log_()  # σ(log τ) = 1 - 1 / (1 + τ)
                incoming.copy_(-forget)
        self.readout = orthogonal(nn.Linear(config.hidden, n_out), out_gain)

    def initial_state(self, batch: int) -> LSTMState:
        h = self.cell.weight_hh.new_zeros(batch, self.cell.hidden_size)
        c = h.clone()
        return LSTMState(h, c)

    def forward(
        self, x: Percept, state: LSTMState, probe: Probe | None = None
    ) -> tuple[Tensor, LSTMState]:
        check_batch(state, len(x.reset), "lstm")
        features = self.encode(x.obs)
        after = self._step(features, x.reset, state)
        if probe is not None:
            probe.synapses("encode", self.encode.get_parameter("0.weight"), x.obs)
            probe.synapses("cell, input", self.cell.weight_ih, features)
            probe.synapses("cell, recurrent", self.cell.weight_hh, state.h)
            probe.synapses("readout", self.readout.weight, after.h)
        return self.readout(after.h), after

    def unroll(self, xs: Percept, state: LSTMState) -> tuple[Tensor, LSTMState]:
        check_batch(state, xs.reset.shape[1], "lstm")
        units = self.encode(xs.obs)
        outputs = []
        for features, reset in zip(units, xs.reset, strict=True):
            state = self._step(features, reset, state)
            outputs.append(state.h)
        # no steps: as empty as the units before the cells
        memory = torch.stack(outputs) if outputs else units
        return self.readout(memory), state

    def parts(self) -> tuple[Part, ...]:
        n = self.cell.hidden_size
        # of both matrices of the cell, the rows are the gates i, f, g and o of each unit
        incoming = _parts.Columns(self.cell.weight_ih, bias=self.cell.bias_ih)
        recurrent = _parts.Columns(self.cell.weight_hh, bias=self.cell.bias_hh)
        return (
            _parts.connection("encode", self.encode[0], n, "input"),
            _parts.units("units", "tanh", n, "encode"),
            _parts.connection("cell, input", incoming, 4 * n, "units"),
            _parts.connection("cell, recurrent", recurrent, 4 * n, "cells"),
            _parts.units("cells", "lstm", n, "cell, input", "cell, recurrent"),
            *_parts.readout(self, "cells"),
        )

    def _step(self, features: Tensor, reset: Tensor, state: LSTMState) -> LSTMState:
        fresh = LSTMState(torch.zeros_like(state.h), torch.zeros_like(state.c))
        before = where_reset(reset, fresh, state)
        if transformed():
            return self._transformed(features, before)
        h, c = self.cell(features, before)
        return LSTMState(h, c)

    def _transformed(self, x: Tensor, before: LSTMState) -> LSTMState:
        """The equations of the cell, for function transforms: torch cannot vmap its own."""
        cell = self.cell
        incoming = linear(x, cell.weight_ih, cell.bias_ih)
        recurrent = linear(before.h, cell.weight_hh, cell.bias_hh)
        gates = incoming + recurrent
        i, f, g, o = gates.chunk(4, -1)
        kept = f.sigmoid() * before.c
        taken_in = i.sigmoid() * g.tanh()
        c = kept + taken_in
        h = o.sigmoid() * c.tanh()
        return LSTMState(h, c)
