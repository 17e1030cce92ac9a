"""A spiking network: population-coded input, layers of LIF neurons, K ticks per decision, a linear readout of averaged spikes.

Memoryless: every decision starts at rest. With `memory` the membranes are carried from decision to decision and cleared
where an episode starts.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bio_rl import random
from bio_rl.codes.population import Population, poisson
from bio_rl.kernels.lif import leaky_average, lif_unroll
from bio_rl.networks._init import orthogonal
from bio_rl.neurons.lif import LIF, LIFState, init
from bio_rl.neurons.surrogate import SURROGATES
from bio_rl.state import check_batch
from bio_rl.types import Percept, Probe

CRITIC = "mlp"
"""The network that values states beside an actor of this kind (the critic is not needed to act)."""


@dataclass(frozen=True, kw_only=True)
class Config:
    hidden: tuple[int, ...] = (128,)
    """LIF neurons per layer."""
    ticks: int = 4
    """K, simulation ticks of 1 ms per decision."""
    memory: bool = False
    """Carry the membranes from one decision to the next."""
    population: int = 12
    """Neurons that code one input dimension."""
    reach: float = 3.0
    """Their fields cover [-reach, reach] standard deviations of the input."""
    code: str = "current"
    """current: the fields drive the first layer directly; poisson: they are spike probabilities per tick."""
    tau_mem: float = 2.0
    """ms, membrane time constant."""
    tau_out: float = 2.0
    """ms, of the leaky readout that averages the last layer's spikes; 0 for the plain firing rate."""
    soft_reset: bool = False
    """Subtract the threshold after a spike instead of resetting to zero."""
    surrogate: str = "atan"
    """atan, fast_sigmoid or rectangle."""
    slope: float = 2.0
    """Of the surrogate; shallow slopes learn better in RL (Van den Berghe 2025)."""
    gain: float = 5.0
    """Of the orthogonal initial weights: high enough that neurons fire at first."""

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"spiking.hidden is {self.hidden}, expected positive layer sizes such as 64 64")
        for name in ("ticks", "tau_mem", "slope", "gain", "reach"):
            if not getattr(self, name) > 0:
                raise ValueError(f"spiking.{name} is {getattr(self, name)}, expected a positive number")
        if self.surrogate not in SURROGATES:
            raise ValueError(f"spiking.surrogate is {self.surrogate!r}; known: {', '.join(SURROGATES)}")
        if self.code not in ("current", "poisson"):
            raise ValueError(f"spiking.code is {self.code!r}; known: current, poisson")


class SpikingState(NamedTuple):
    layers: tuple[LIFState, ...]
    """One [B, N] membrane per layer with `memory`, else empty."""
    key: tuple[Tensor, ...]
    """The noise key [B] of a Poisson code, else empty; it is never reset."""


class Network(nn.Module):
    """[B, n_in] features to [B, n_out]."""

    def __init__(self, config: Config, n_in: int, n_out: int, out_gain: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.neuron = LIF(
            tau_mem=config.tau_mem,
            v_reset=None if config.soft_reset else 0.0,
            surrogate=config.surrogate,
            slope=config.slope,
        )
        self.keep = math.exp(-1.0 / config.tau_out) if config.tau_out > 0 else 1.0
        self.encode = Population(config.population, config.reach)
        sizes = (n_in * config.population, *config.hidden)
        self.layers = nn.ModuleList(orthogonal(nn.Linear(a, b), config.gain) for a, b in itertools.pairwise(sizes))
        self.readout = orthogonal(nn.Linear(sizes[-1], n_out), out_gain)
        self.seed = nn.Buffer(torch.randint(2**31, ()))

    def initial_state(self, batch: int) -> SpikingState | tuple[()]:
        layers = self._rest(batch) if self.config.memory else ()
        device = self.readout.weight.device
        key = (random.keys(int(self.seed), batch, device),) if self.config.code == "poisson" else ()
        return SpikingState(layers, key) if layers or key else ()

    def forward(self, x: Percept, state: SpikingState | tuple[()], probe: Probe | None = None):
        """One decision: ([B, n_out], state)."""
        xs = Percept(x.obs.unsqueeze(0), x.action, x.reward, x.terminated, x.reset.unsqueeze(0))
        out, state = self._run(xs, state, probe)
        return out.squeeze(0), state

    def unroll(self, xs: Percept, state: SpikingState | tuple[()]):
        """T decisions: ([T, B, n_out], state)."""
        return self._run(xs, state, None)

    def _run(self, xs: Percept, state: SpikingState | tuple[()], probe: Probe | None):
        k, (t, b) = self.config.ticks, xs.reset.shape
        check_batch(state, b, "spiking")
        layers, keys = (state.layers, state.key) if state else ((), ())
        reset = xs.reset
        if not self.config.memory:  # every decision is a row of its own that starts at rest
            reset = torch.ones(1, t * b, dtype=torch.bool, device=xs.obs.device)
            layers = self._rest(t * b)
        spikes, keys = self._input(xs.obs, keys, reset.shape)
        after = []
        for layer, neuron_state in zip(self.layers, layers, strict=True):
            drive = layer(spikes)
            hold = reset.shape[0] * k // drive.shape[0]
            last = len(after) == len(self.layers) - 1 and probe is None  # its average is enough, unless somebody looks
            readout = self.keep if last else None
            spikes, neuron_state = lif_unroll(self.neuron, neuron_state, drive, reset, ticks=k, hold=hold, readout=readout)
            after.append(neuron_state)
            if probe is not None:
                probe.record(f"spikes/{len(after)}", spikes)
        rates = spikes if probe is None else leaky_average(spikes, k, self.keep)
        out = self.readout(rates).view(t, b, -1)
        return out, SpikingState(tuple(after) if self.config.memory else (), keys) if state else ()

    def _input(self, obs: Tensor, keys: tuple[Tensor, ...], shape: torch.Size) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The first layer's input, [T', B', F] held for K ticks or [T'·K, B', F] spikes; and the next keys."""
        currents = self.encode(obs)
        if not keys:
            return currents.view(*shape, -1), ()
        (key,), k = keys, self.config.ticks
        spikes = []
        for rates in currents:
            spikes.append(poisson(rates, key, k))
            key = random.advance(key)
        train = torch.stack(spikes)  # [T, K, B, F]
        if not self.config.memory:
            train = train.transpose(0, 1)  # the T·B decisions side by side
        return train.reshape(shape[0] * k, shape[1], -1), (key,)

    def _rest(self, batch: int) -> tuple[LIFState, ...]:
        device = self.readout.weight.device
        return tuple(init(self.neuron, batch, n, device) for n in self.config.hidden)
