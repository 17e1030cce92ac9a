"""The network of every spiking kind: its state, its outputs, and the run through K ticks of T
decisions.

Memoryless: every decision starts at rest. With `memory` the neurons' state is carried from decision
to decision and cleared where an episode starts. A static input (a direct current) meets its weights
once a decision, not K times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bio_rl import seeding
from bio_rl.codes.homeostat import homeostat
from bio_rl.codes.membrane import max_membrane, membranes
from bio_rl.codes.population import Readout
from bio_rl.connections import recurrent
from bio_rl.connections._plastic import Trail
from bio_rl.contracts import Lived, Network, Percept, Probe, State, Synapses
from bio_rl.kernels.unroll import leaky_average
from bio_rl.networks import _parts
from bio_rl.networks._init import orthogonal
from bio_rl.networks._layers import Layer, RecurrentLayer, Times, like_weights
from bio_rl.networks._settings import Spikes
from bio_rl.parts import Cost, Part
from bio_rl.state import check_batch

LATERAL_GAIN = 0.5
"""Initial length of the weights by which a neuron hears its own population."""
HOMEOSTAT_RATE = 0.02
"""Step of the homeostat per update: a silent neuron gains a threshold's worth of drive in about
50/target updates.
"""


class SpikingState(NamedTuple):
    layers: tuple[State, ...]
    """The neurons' state of each layer with `memory`, else empty."""
    key: tuple[Tensor, ...]
    """The noise key [B] of a code or of memoryless neurons that draw, else empty; it is never
    reset.
    """
    code: tuple[State, ...] = ()
    """The state of an encoder that has one, else empty."""
    synapses: tuple[State, ...] = ()
    """The state of each layer's connection with `memory`, else empty."""


class Start(NamedTuple):
    """The input of the time loop of T decisions, and the states that it starts from."""

    spikes: Tensor
    """[S, B, F] what comes in."""
    hold: int
    """Ticks for which each of the S rows is held."""
    reset: Tensor
    """[T, B] bool, or [1, T·B] where every decision is a row of its own."""
    layers: tuple[State, ...]
    """The state of each layer's neurons."""
    synapses: tuple[State, ...]
    """The state of each layer's connection, () for one without."""
    key: tuple[Tensor, ...]
    """The noise key after the decisions, where something draws."""
    code: tuple[State, ...]
    """The encoder's state after the decisions, where it has one."""


class SpikingNetwork(Network):
    """[B, n_in] features, or pictures, to [B, n_out]: layers of neurons between an encoder and a
    linear readout of the last layer's averaged spikes.

    The encoder and the layers are those of the configuration. With `tau_out` an output is the
    potential, after the last tick, of a neuron that leaks and never fires, in units of the largest
    that one spike a tick gives. Raises ValueError for pictures that are smaller than the kernels.
    """

    def __init__(self, config: Spikes, n_in: Any, n_out: int, out_gain: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.peaks = config.decode == "max_membrane"
        # a population of its own for each output leaves no layer that all outputs read, and a peak
        # of each comes at a tick of its own
        self.teachable = not config.out_population and not self.peaks
        self.keep = math.exp(-1.0 / config.tau_out) if config.tau_out > 0 else 1.0
        layers = config.layers(n_in)
        if config.out_population:
            layers.append(output_layer(config, layers[-1].n, n_out))
            self.readout: nn.Linear | Readout = Readout(n_out, config.out_population, out_gain)
        else:
            self.readout = orthogonal(nn.Linear(layers[-1].n, n_out), out_gain)
        self.layers = _parts.module_list(layers)
        self.late = any(layer.connection.stateful for layer in layers)
        """Whether what arrives at any layer's weights depends on earlier ticks."""
        self.seed = nn.Buffer(torch.randint(2**31, ()))
        self.encoder = config.encoder(n_in)
        self.noisy = layers[0].p.noisy
        self.keyed = self.encoder.draws or (self.noisy and not config.memory)

    def initial_state(self, batch: int) -> SpikingState | tuple[()]:
        weight = self.weight
        seed = int(self.seed)
        layers: tuple[State, ...] = ()
        synapses: tuple[State, ...] = ()
        if self.config.memory:
            keys = [seeding.keys(seed + i, batch, weight.device) for i in range(len(self.layers))]
            rested = [layer.rest(key) for layer, key in zip(self.layers, keys, strict=True)]
            layers = like_weights(tuple(rested), weight)
            synapses = self._synapses_at_rest(batch)
        key = (seeding.keys(seed - 1, batch, weight.device),) if self.keyed else ()
        code = like_weights(self.encoder.initial_state(batch, weight.device), weight)
        return SpikingState(layers, key, code, synapses) if layers or key or code else ()

    def forward(
        self, x: Percept, state: SpikingState | tuple[()], probe: Probe | None = None
    ) -> tuple[Tensor, SpikingState | tuple[()]]:
        xs = x._replace(obs=x.obs.unsqueeze(0), reset=x.reset.unsqueeze(0))
        out, state = self._run(xs, state, probe)
        return out.squeeze(0), state

    def unroll(
        self, xs: Percept, state: SpikingState | tuple[()]
    ) -> tuple[Tensor, SpikingState | tuple[()]]:
        return self._run(xs, state, None)

    def anneal(self, progress: float) -> None:
        """Set the slope of the surrogate, where it follows a schedule."""
        slope = self.config.slope
        if slope is None or not self.follows_schedule:
            return
        now = slope[0] + (slope[-1] - slope[0]) * progress
        for layer in self.layers:
            layer.p = layer.p._replace(slope=now / layer.p.span)

    @property
    def follows_schedule(self) -> bool:
        """Whether the slope of the surrogate changes over the run."""
        slope = self.config.slope
        return slope is not None and slope[0] != slope[-1]

    @torch.no_grad()
    def regulate(self, probe: Probe) -> None:
        """Move every neuron's bias towards the target rate, by what `probe` has seen."""
        target = self.config.target_rate
        if not target:
            return
        for layer in self.layers:
            bias = layer.connection.bias
            rate = probe.records[f"spikes/{layer.depth}"][-1].mean((0, 1))
            # a channel of a convolution has one bias for all of its pixels
            rate_of_bias = rate.view(*bias.shape, -1).mean(-1)
            bias.copy_(homeostat(bias, rate_of_bias, target, HOMEOSTAT_RATE))

    def parts(self) -> tuple[Part, ...]:
        parts = list(self.encoder.parts())
        for layer in self.layers:
            parts += layer.parts(parts[-1].name)
        n = self.layers[-1].n
        outputs = _parts.readout(self, "average")
        # The readout adds a weight for each spike and fades what an output has once a tick; what
        # else reads the average has it fade in every neuron.
        fades = outputs[0].n if outputs else n
        fading = Cost(macs=float(fades * self.config.ticks))
        parts.append(_parts.code("average", "leaky_average", n, parts[-1].name, cost=fading))
        parts += outputs
        if self.peaks:
            n_out = parts[-1].n
            compared = Cost(adds=float(n_out * self.config.ticks))
            parts.append(_parts.code("peak", "max_membrane", n_out, "readout", cost=compared))
        return tuple(parts)

    @property
    def weight(self) -> Tensor:
        """A parameter of the first connection, whose device and precision the states have."""
        return next(self.layers[0].connection.parameters())

    @property
    def width(self) -> int:
        return self.layers[-1].n

    @property
    def plastic(self) -> tuple[Synapses, ...]:
        """The connections onto each layer, from below and within it."""
        synapses: list[Synapses] = []
        for layer in self.layers:
            first = layer is self.layers[0]
            synapses += layer.plastic(
                "spike" if self.encoder.gives_spikes or not first else "activity"
            )
        return tuple(synapses)

    @torch.no_grad()
    def live(
        self,
        x: Percept,
        state: SpikingState | tuple[()],
        noise: Sequence[Tensor] = (),
        probe: Probe | None = None,
    ) -> Lived:
        """One decision, tick by tick, with what its synapses met."""
        xs = x._replace(obs=x.obs.unsqueeze(0), reset=x.reset.unsqueeze(0))
        start = self._start(xs, state)
        inputs = start.spikes
        if probe is not None:
            probe.record("input", inputs)
        trails: list[Trail] = []
        neurons: list[State] = []
        connections: list[State] = []
        before = zip(self.layers, start.layers, start.synapses, strict=True)
        for i, (layer, rested, synapses) in enumerate(before):
            if layer.connection.stateful:
                inputs, synapses = layer.arrive(inputs, synapses, start.reset, self.config.ticks)
            if probe is not None:
                probe.synapses(layer.name, *layer.product(inputs))
            ticks = inputs.expand(self.config.ticks, -1, -1)
            ran = layer.live(ticks, rested, start.reset[0], noise[i] if noise else None)
            if probe is not None:
                layer.record(probe, ran.spikes, ran.membranes)
            trails += ran.trails
            neurons.append(ran.state)
            connections.append(synapses)
            inputs = ran.spikes
        activity = leaky_average(inputs, self.config.ticks, self.keep).squeeze(0)
        return Lived(activity, self._end(state, start, neurons, connections), tuple(trails))

    def _run(
        self, xs: Percept, state: SpikingState | tuple[()], probe: Probe | None
    ) -> tuple[Tensor, SpikingState | tuple[()]]:
        start = self._start(xs, state)
        rates, layers, synapses = self._through(start, probe)
        out = self.readout(rates)
        if self.peaks:
            out = max_membrane(out, self.config.ticks)
        out = out.view(*xs.reset.shape, out.shape[-1])
        return out, self._end(state, start, layers, synapses)

    def _start(self, xs: Percept, state: SpikingState | tuple[()]) -> Start:
        """The start of the time loop of T decisions. Raises ValueError for another batch."""
        ticks = self.config.ticks
        decisions, batch = xs.reset.shape
        check_batch(state, batch, "spiking")
        before = state if isinstance(state, SpikingState) else SpikingState((), ())
        keys, key = decision_keys(before.key[0], decisions) if self.keyed else (None, ())
        inputs, code = self.encoder(xs.obs, xs.reset, keys, before.code)
        if self.config.memory:
            reset, layers, synapses = xs.reset, before.layers, before.synapses
        else:
            reset, layers = self._at_rest(decisions * batch, keys)
            synapses = self._synapses_at_rest(decisions * batch)
        hold = ticks if inputs.dim() == 3 else 1
        if not self.config.memory and hold == 1:
            inputs = inputs.transpose(0, 1)  # [K, T, B, F]: all decisions run side by side
        steps = reset.shape[0] * (ticks if hold == 1 else 1)
        spikes = inputs.reshape(steps, reset.shape[1], inputs.shape[-1])
        return Start(spikes, hold, reset, layers, synapses, key, code)

    def _end(
        self,
        state: SpikingState | tuple[()],
        start: Start,
        layers: Sequence[State],
        synapses: Sequence[State],
    ) -> SpikingState | tuple[()]:
        """The state after the time loop, `layers` being that of each layer's neurons and `synapses`
        that of its connection.
        """
        if not state:
            return ()
        if not self.config.memory:
            return SpikingState((), start.key, start.code)
        return SpikingState(tuple(layers), start.key, start.code, tuple(synapses))

    def _through(
        self, start: Start, probe: Probe | None
    ) -> tuple[Tensor, list[State], list[State]]:
        """(What the readout reads of the last layer, the states of all layers' neurons, those of
        their connections).
        """
        ticks = self.config.ticks
        spikes, hold, reset = start.spikes, start.hold, start.reset
        if probe is not None:
            probe.record("input", spikes)
        neurons = []
        connections = []
        before = zip(self.layers, start.layers, start.synapses, strict=True)
        fused = probe is None and not self.peaks
        for layer, state, synapses in before:
            is_last = layer.depth == len(self.layers)
            if layer.connection.stateful:
                spikes, synapses = layer.arrive(spikes, synapses, reset, ticks)
                hold = 1
            if probe is not None:
                probe.synapses(layer.name, *layer.product(spikes))
            times = Times(ticks, hold, self.keep if is_last and fused else None)
            spikes, state = layer.run(layer.drive(spikes), state, reset, times, probe)
            hold = 1
            neurons.append(state)
            connections.append(synapses)
        if fused:
            return spikes, neurons, connections
        if probe is not None:
            # Σ_k κ^(K-1-k) W z_k, the same sum in the order in which it takes accumulations only
            weight = self.readout.weight
            # a neuron of an output's population has one synapse, not one for every output
            weight = weight.view(1, -1) if self.config.out_population else weight
            probe.synapses("readout", weight, spikes)
        # averages [T, B, N], or for a peak the traces at every tick [T·K, B, N]
        average = membranes if self.peaks else leaky_average
        return average(spikes, ticks, self.keep), neurons, connections

    def _synapses_at_rest(self, rows: int) -> tuple[State, ...]:
        """The state of each layer's connection at rest, () for one without."""
        if not self.late:
            return ((),) * len(self.layers)
        rested = [layer.connection.initial_state(rows) for layer in self.layers]
        return like_weights(tuple(rested), self.weight)

    def _at_rest(self, rows: int, keys: Tensor | None) -> tuple[Tensor, tuple[State, ...]]:
        """Memoryless: every decision is a row that starts at rest. (reset [1, T·B], each layer's
        state).
        """
        weight = self.weight
        reset = torch.ones(1, rows, dtype=torch.bool, device=weight.device)
        key = reset[0].to(torch.int64) if keys is None else keys.flatten()
        states = tuple(
            layer.rest(seeding.fold(key, i) if self.noisy else key)
            for i, layer in enumerate(self.layers)
        )
        return reset, like_weights(states, weight)


def output_layer(config: Spikes, n_in: int, n_out: int) -> Layer:
    """Populations of neurons, one for each output, on the last layer of `n_in`."""
    n = n_out * config.out_population
    connection = config.connect(n_in, n, graded=False)
    p = config.neurons(config.depth - 1, n)
    if not config.lateral:
        return Layer(p, config.depth, connection, n)
    within = recurrent.Connection(n, n, gain=LATERAL_GAIN, autapses=True, populations=n_out)
    return RecurrentLayer(p, config.depth, connection, n, within)


def decision_keys(key: Tensor, decisions: int) -> tuple[Tensor, tuple[Tensor]]:
    """A key [T, B] for each decision, and the one [B] of the decision after them."""
    keys = []
    for _ in range(decisions):
        keys.append(key)
        key = seeding.advance(key)
    return torch.stack(keys) if keys else key.new_empty(0, len(key)), (key,)
