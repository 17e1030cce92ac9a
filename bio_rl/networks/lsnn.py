"""LSNN: a recurrent network of LIF and ALIF neurons. The slow adaptation of the ALIF neurons is its
long memory.

    v' = α v + (1 - α) W_in o + W_rec z,  α = e^{-dt/τ_mem}        z: spikes of the tick before
        neurons.alif
    x ← κ x + z,  κ = e^{-dt/τ_out}        out = W x + b, after the K ticks of a decision

A spike moves the membranes of its targets by its weight, and the observation is a current that is
held for the decision. LIF neurons are ALIF ones whose thresholds do not rise. Nothing excites
itself. State is carried over decisions and cleared at the start of an episode. Bellec et al. 2018,
NeurIPS; constants and initial weights after Bellec et al. 2020, evidence accumulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bio_rl import contracts
from bio_rl.checks import Among, Between, check_settings, tunable
from bio_rl.connections import _plastic
from bio_rl.contracts import Lived, NetworkConfig, Percept, Probe, Synapses
from bio_rl.kernels.lsnn import decision
from bio_rl.modes import transformed
from bio_rl.networks import _parts
from bio_rl.networks._layers import like_weights
from bio_rl.neurons.alif import ALIF, ALIFState
from bio_rl.parts import Cost, Part
from bio_rl.plasticity import Post
from bio_rl.state import check_batch, where_reset


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    lif: int = 50
    """Neurons without adaptation."""
    alif: int = 50
    """Neurons whose thresholds rise with their spikes."""
    recurrent: bool = True
    """Neurons drive each other; else they are a feed-forward layer."""
    ticks: int = tunable(10, Among((5, 10, 20)))
    """K, simulation ticks per decision."""
    dt: float = 5.0
    """ms per tick."""
    tau_mem: float = 20.0
    """ms, membrane time constant."""
    tau_adapt: float = 2000.0
    """ms, of the adaptation: about as long as the task asks to remember."""
    beta: float = 0.0174
    """Rise of the threshold by one spike: 1.7 (1 - e^{-1/2000}) / (1 - e^{-1/20}), as published."""
    v_threshold: float = 0.6
    refractory: float = 5.0
    """ms after a spike in which a neuron cannot spike again."""
    tau_out: float = 20.0
    """ms, of the readout: it counts the spikes of about so long."""
    gain: float = tunable(1.0, Between(0.3, 3.0, log=True))
    """Standard deviation of a neuron's drive at first, for an observation of length √n_in."""
    recurrent_gain: float = 1.0
    """Length of a neuron's recurrent weights at first."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("ticks", "dt", "tau_mem", "tau_adapt", "v_threshold"),
            non_negative=("lif", "alif", "tau_out", "refractory", "beta", "gain", "recurrent_gain"),
        )
        if self.lif + self.alif < 1 + self.recurrent:
            raise ValueError(
                f"lsnn.lif is {self.lif} and lsnn.alif {self.alif}: that is no network"
            )


class LSNNState(NamedTuple):
    neurons: ALIFState
    spikes: Tensor
    """[B, N] z of the last tick."""
    x: Tensor
    """[B, N] spikes of the last τ_out or so."""


class Trail(NamedTuple):
    """All that the synapses have met in the K ticks of a decision."""

    pre: Tensor
    """[K, B, pre] the input and, where the network is recurrent, the spikes of the tick before:
    what `weight` multiplied.
    """
    psi: Tensor
    """[K, B, N] the pseudo-derivative of every neuron's spike by its membrane."""
    spikes: Tensor
    """[K, B, N] z."""


class Network(contracts.Network):
    """[B, n_in] features to [B, n_out]."""

    def __init__(self, config: Config, n_in: int, n_out: int, out_gain: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.n = config.lif + config.alif
        self.n_in = n_in
        adapts = torch.arange(self.n) >= config.lif
        self.beta = nn.Buffer(config.beta * adapts.float(), persistent=False)
        weight = torch.randn(self.n, n_in) * (config.gain / math.sqrt(n_in))
        mask = torch.ones(self.n, n_in)
        if config.recurrent:
            gain = config.recurrent_gain / math.sqrt(self.n)
            within = torch.randn(self.n, self.n) * gain
            # one matrix, so that a tick of both kinds of synapses is one product for e-prop
            weight = torch.cat((weight, within), 1)
            mask = torch.cat((mask, 1.0 - torch.eye(self.n)), 1)
        self.weight = nn.Parameter(weight * mask)
        """[N, pre] of all synapses, those from the input first."""
        self.mask = nn.Buffer(mask, persistent=False)
        """[N, pre]: 1 where there is a synapse."""
        self.readout = nn.Linear(self.n, n_out)
        nn.init.normal_(self.readout.weight, std=out_gain / math.sqrt(self.n))
        nn.init.zeros_(self.readout.bias)
        self.jump = 1.0 / (1.0 - math.exp(-config.dt / config.tau_mem))
        """Drive that moves the membrane by one in one tick."""
        # the readout's trace counts spikes, where an average would weigh each by 1 - κ
        keep = math.exp(-config.dt / config.tau_out) if config.tau_out else 0.0
        self.activity_unit = 1.0 / (1.0 - keep)
        self._alike = ALIF(
            tau_mem=config.tau_mem,
            tau_adapt=config.tau_adapt,
            v_threshold=config.v_threshold,
            tau_refractory=config.refractory,
            surrogate="damped_triangle",
            slope=1.0 / config.v_threshold,
        )
        """The constants that all neurons have in common."""

    @property
    def neuron(self) -> ALIF:
        """The constants of all N neurons."""
        return self._alike._replace(beta=self.beta)

    def initial_state(self, batch: int) -> LSNNState:
        neurons = self.neuron.init(batch, self.n, self.weight.device)
        neurons = like_weights(neurons, self.weight)
        return LSNNState(
            neurons,
            spikes=torch.zeros_like(neurons.v),
            x=torch.zeros_like(neurons.v),
        )

    teachable = True

    @property
    def width(self) -> int:
        """Neurons."""
        return self.n

    @property
    def plastic(self) -> tuple[Synapses, ...]:
        """All synapses onto the neurons, those from the input first."""
        return (Synapses(self, self.mask, post="spike", dt=self.config.dt, neuron=self.neuron),)

    def live(
        self,
        x: Percept,
        state: LSNNState,
        noise: Sequence[Tensor] = (),
        probe: Probe | None = None,
    ) -> Lived:
        """One decision with what its synapses met. Raises ValueError for noise."""
        if noise:
            raise ValueError("lsnn: noise cannot be added to what drives its neurons")
        state, trail = self.run(x.obs, x.reset, state, probe)
        # a trail has its rows first
        pre, psi, spikes = (x.transpose(0, 1) for x in trail)
        return Lived(state.x, state, (_plastic.Trail(pre, Post(spikes, psi=psi)),))

    def forward(
        self, x: Percept, state: LSNNState, probe: Probe | None = None
    ) -> tuple[Tensor, LSNNState]:
        state, _ = self.run(x.obs, x.reset, state, probe)
        if probe is not None:
            probe.synapses("readout", self.readout.weight, state.x)
        return self.readout(state.x), state

    def unroll(self, xs: Percept, state: LSNNState) -> tuple[Tensor, LSNNState]:
        counts = []
        for obs, reset in zip(xs.obs, xs.reset, strict=True):
            state, _ = self.run(obs, reset, state)
            counts.append(state.x)
        if not counts:  # no decisions
            empty = self.weight.new_zeros(0, xs.reset.shape[1], self.n)
            return self.readout(empty), state
        return self.readout(torch.stack(counts)), state

    def parts(self) -> tuple[Part, ...]:
        columns = {"incoming": slice(0, self.n_in)}
        if self.config.recurrent:
            columns["recurrent"] = slice(self.n_in, None)
        parts = []
        for name, part in columns.items():
            synapses = _parts.Columns(self.weight, part, mask=self.mask)
            source = "input" if name == "incoming" else "neurons"
            parts.append(_parts.connection(name, synapses, self.n, source))
        parts.append(_parts.neurons("neurons", self.neuron, self.n, *columns))
        fading = Cost(macs=float(self.n * self.config.ticks))
        parts.append(_parts.code("trace", "leaky_sum", self.n, "neurons", cost=fading))
        return (*parts, *_parts.readout(self, "trace"))

    def run(
        self, obs: Tensor, reset: Tensor, state: LSNNState, probe: Probe | None = None
    ) -> tuple[LSNNState, Trail]:
        """The state after one decision about obs [B, n_in], and what its synapses met."""
        check_batch(state, len(reset), "lsnn")
        c = self.config
        p = self.neuron
        # inside a function transform no tensor can be read, so all rows are looked at
        if transformed() or bool(reset.any()):
            state = where_reset(reset, self.initial_state(len(reset)), state)
        neurons, z, x = state
        weight = self.weight * self.mask
        # [post, pre], the columns from the input first
        outside = weight[:, : self.n_in]
        inside = weight[:, self.n_in :] if c.recurrent else None
        ticks = decision(
            p,
            neurons,
            z,
            x,
            obs @ outside.T,
            inside,
            jump=self.jump,
            keep=math.exp(-c.dt / c.tau_out) if c.tau_out else 0.0,
            ticks=c.ticks,
            dt=c.dt,
        )

        # [K, B, ...]: at each tick the synapses see the spikes of the tick before
        before = torch.cat((z.unsqueeze(0), ticks.spikes[:-1]))
        pre = obs.expand(c.ticks, *obs.shape)
        if inside is not None:
            pre = torch.cat((pre, self.jump * before), -1)
        trail = Trail(pre, p.psi(ticks.over.detach()), ticks.spikes)
        if probe is not None:
            probe.record("spikes/1", trail.spikes)
            probe.record("membrane/1", ticks.membranes)
            probe.synapses("incoming", outside, obs)
            if inside is not None:
                probe.synapses("recurrent", inside, before)
        return LSNNState(ticks.neurons, ticks.spikes[-1], ticks.x), trail
