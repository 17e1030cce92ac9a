"""What the spiking networks share: their settings, their outputs, and the run through K ticks of T
decisions.

Memoryless: every decision starts at rest. With `memory` the neurons' state is carried from decision
to decision and cleared where an episode starts. A static input (a direct current) meets its weights
once a decision, not K times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
import tyro
from torch import Tensor, nn

from bio_rl import discovery, seeding
from bio_rl.checks import check_settings, owner
from bio_rl.codes.homeostat import homeostat
from bio_rl.codes.population import Readout
from bio_rl.connections import dense, recurrent
from bio_rl.connections.plastic import Trail
from bio_rl.contracts import Lived, Network, NetworkConfig, Percept, Probe, State, Synapses
from bio_rl.kernels.unroll import leaky_average
from bio_rl.networks._init import orthogonal
from bio_rl.networks._layers import Layer, RecurrentLayer, like_weights, neuron
from bio_rl.state import check_batch
from bio_rl.surrogates import SURROGATES

LATERAL_GAIN = 0.5
"""Initial length of the weights by which a neuron hears its own population."""
HOMEOSTAT_RATE = 0.02
"""Step of the homeostat per update: a silent neuron gains a threshold's worth of drive in about
50/target updates.
"""


@dataclass(frozen=True, kw_only=True)
class Spikes(NetworkConfig):
    """Settings of every spiking network."""

    neuron: Annotated[str, tyro.conf.arg(name="neuron", prefix_name=False)] = "lif"
    """Kind of neuron (see: train.py list neurons)."""
    constants: tuple[str, ...] = ()
    """Of the neuron, where its own defaults do not fit: NAME=NUMBER, as in tau_adapt=100 beta=1.6."""
    ticks: int = 4
    """K, simulation ticks of 1 ms per decision."""
    memory: bool = False
    """Carry the neurons' state from one decision to the next."""
    tau_mem: tuple[float, ...] = (2.0,)
    """ms, membrane time constant of all layers, or one for each layer."""
    tau_out: float = 2.0
    """ms, of the leaky readout that averages the last layer's spikes; 0 for the plain firing rate."""
    soft_reset: bool = False
    """Subtract the threshold after a spike instead of resetting to zero."""
    surrogate: str = "atan"
    """Derivative of the spike: atan, fast_sigmoid, triangle, damped_triangle, rectangle or sigmoid."""
    slope: tuple[float, ...] = (2.0,)
    """Of the surrogate, per threshold; two numbers are a schedule from the first to the second over
    the run (shallow slopes early learn better in RL: Van den Berghe 2025).
    """
    gain: float = 5.0
    """Of the orthogonal initial weights: high enough that neurons fire at first."""
    target_rate: float = 0.0
    """Spikes per tick towards which a homeostat moves every neuron's bias after each update; 0 for
    none.
    """
    out_population: int = 0
    """Neurons of a further layer for each output, which reads these alone (PopSAN, Tang et al.
    2020); 0 for outputs that read all of the last layer.
    """
    lateral: bool = False
    """Let the neurons of an output's population drive each other and themselves (Chen et al. 2024,
    ILC-SAN).
    """

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("ticks", "gain", "tau_mem", "slope"),
            non_negative=("tau_out", "out_population"),
            unit=("target_rate",),
        )
        self._refuse(not self.tau_mem, "tau_mem", "positive numbers")
        self._refuse(len(self.slope) not in (1, 2), "slope", "one number, or two: from, to")
        self._refuse(
            self.lateral and not self.out_population,
            "lateral",
            "False without an out_population, such as 10",
        )
        if self.surrogate not in SURROGATES:
            raise ValueError(
                f"surrogate is {self.surrogate!r}; {discovery.suggestion(self.surrogate, SURROGATES)}"
            )
        neuron(self, 0, 1)

    def _refuse(self, wrong: bool, name: str, expected: str) -> None:
        if wrong:
            raise ValueError(f"{owner(self)}.{name} is {getattr(self, name)}, expected {expected}")


class SpikingState(NamedTuple):
    layers: tuple[State, ...]
    """The neurons' state of each layer with `memory`, else empty."""
    key: tuple[Tensor, ...]
    """The noise key [B] of a code or of memoryless neurons that draw, else empty; it is never
    reset.
    """
    code: tuple[State, ...] = ()
    """The state of an encoder that has one, else empty."""


class Begun(NamedTuple):
    """What the time loop of T decisions starts from."""

    spikes: Tensor
    """[S, B, F] what comes in."""
    hold: int
    """Ticks for which each of the S rows is held."""
    reset: Tensor
    """[T, B] bool, or [1, T·B] where every decision is a row of its own."""
    before: tuple[State, ...]
    """Each layer's state."""
    key: tuple[Tensor, ...]
    """The noise key after the decisions, where something draws."""
    code: tuple[State, ...]
    """The encoder's state after the decisions, where it has one."""


class SpikingNetwork(Network):
    """Layers of neurons between an encoder and a linear readout of the last layer's averaged
    spikes.

    A network of this kind sets `layers` in its constructor and overrides `encode`. With `tau_out`
    an output is the potential, after the last tick, of a neuron that leaks and never fires, in
    units of the largest that one spike a tick gives.
    """

    def __init__(
        self,
        config: Spikes,
        layers: list[Layer],
        n_out: int,
        out_gain: float,
        *,
        draws: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.teachable = not config.out_population  # else no layer is read by all outputs
        self.encodes_graded = True
        """Whether the first layer's input is a current; else it is spikes."""
        self.keep = math.exp(-1.0 / config.tau_out) if config.tau_out > 0 else 1.0
        if config.out_population:
            layers = [*layers, _output_layer(config, layers, n_out)]
            self.readout: nn.Module = Readout(n_out, config.out_population, out_gain)
        else:
            self.readout = orthogonal(nn.Linear(layers[-1].n, n_out), out_gain)
        self.layers = nn.ModuleList(layers)
        self.seed = nn.Buffer(torch.randint(2**31, ()))
        self.keyed = draws or (layers[0].noisy and not config.memory)

    def encode(self, obs: Tensor, keys: Tensor | None) -> Tensor:
        """Features [T, B, ...] to the first layer's input: [T, B, F] held for K ticks, or [T, K, B,
        F] that changes.

        keys: [T, B], a noise key for each decision, where something draws.
        """
        raise AssertionError("a network has an encoder of its own")

    def rest_of_code(self, batch: int) -> tuple[State, ...]:
        """The fresh state of an encoder that has one."""
        return ()

    def changes(self, xs: Percept, code: State) -> tuple[Tensor, State]:
        """Further input [T, B, F'] of an encoder with a state, and that state after it."""
        raise AssertionError("a network whose encoder has a state says what it sends")

    def initial_state(self, batch: int) -> SpikingState | tuple[()]:
        device = self.weight.device
        layers: tuple[State, ...] = ()
        if self.config.memory:
            seeds = range(int(self.seed), int(self.seed) + len(self.layers))
            layers = tuple(
                layer.rest(seeding.keys(s, batch, device))
                for s, layer in zip(seeds, self.layers, strict=True)
            )
            layers = like_weights(layers, self.weight)
        key = (seeding.keys(int(self.seed) - 1, batch, device),) if self.keyed else ()
        code = self.rest_of_code(batch)
        return SpikingState(layers, key, code) if layers or key or code else ()

    def forward(self, x: Percept, state: SpikingState | tuple[()], probe: Probe | None = None):
        """One decision: ([B, n_out], state)."""
        xs = Percept(x.obs.unsqueeze(0), x.action, x.reward, x.terminated, x.reset.unsqueeze(0))
        out, state = self._run(xs, state, probe)
        return out.squeeze(0), state

    def unroll(self, xs: Percept, state: SpikingState | tuple[()]):
        """T decisions: ([T, B, n_out], state)."""
        return self._run(xs, state, None)

    def anneal(self, progress: float) -> None:
        """Set what follows a schedule, `progress` from 0 to 1 of the run: the slope of the
        surrogate.
        """
        first, last = self.config.slope[0], self.config.slope[-1]
        for layer in self.layers:
            if first != last and "slope" in layer.p._fields:
                slope = (first + (last - first) * progress) / layer.p.span
                layer.p = layer.p._replace(slope=slope)

    @torch.no_grad()
    def regulate(self, probe: Probe) -> None:
        """Move every neuron's bias towards the target rate, by what `probe` has seen."""
        if self.config.target_rate > 0:
            for depth, layer in enumerate(self.layers, 1):
                rate, bias = (
                    probe.records[f"spikes/{depth}"][-1].mean((0, 1)),
                    layer.connection.bias,
                )
                bias.copy_(
                    homeostat(
                        bias,
                        rate.view(*bias.shape, -1).mean(-1),
                        self.config.target_rate,
                        HOMEOSTAT_RATE,
                    )
                )

    def begin(self, xs: Percept, state: SpikingState | tuple[()]) -> Begun:
        """What the time loop of T decisions starts from. Raises ValueError for another batch."""
        k, (t, b) = self.config.ticks, xs.reset.shape
        check_batch(state, b, "spiking")
        keys, key = _decision_keys(state.key[0], t) if self.keyed else (None, ())
        spikes, code = self.encode(xs.obs, keys), state.code if state else ()
        if code:
            moved, code = self.changes(xs, code[0])
            spikes, code = torch.cat((spikes, moved), -1), (code,)
        reset, before = (
            (xs.reset, state.layers) if self.config.memory else self._at_rest(t * b, keys)
        )
        if not self.config.memory and spikes.dim() == 4:
            spikes = spikes.transpose(0, 1)
        hold = k if spikes.dim() == 3 else 1
        spikes = spikes.reshape(
            reset.shape[0] * (k if hold == 1 else 1), reset.shape[1], spikes.shape[-1]
        )
        return Begun(spikes, hold, reset, before, key, code)

    def end(
        self, state: SpikingState | tuple[()], begun: Begun, layers: Sequence[State]
    ) -> SpikingState | tuple[()]:
        """The state after the time loop, `layers` being that of each layer's neurons."""
        if not state:
            return ()
        return SpikingState(tuple(layers) if self.config.memory else (), begun.key, begun.code)

    @property
    def weight(self) -> Tensor:
        """The first layer's weights, whose device and precision the states have."""
        return next(self.layers[0].connection.parameters())

    @property
    def width(self) -> int:
        """Neurons of the last layer."""
        return self.layers[-1].n

    @property
    def plastic(self) -> tuple[Synapses, ...]:
        """The connections onto each layer, from the input and within it."""
        graded = self.encodes_graded
        pre = ["activity" if graded else "spike"] + ["spike"] * len(self.layers)
        return tuple(
            synapses
            for layer, kind in zip(self.layers, pre, strict=False)
            for synapses in layer.plastic(kind)
        )

    @torch.no_grad()
    def live(
        self,
        x: Percept,
        state: SpikingState | tuple[()],
        noise: Sequence[Tensor] = (),
        probe: Probe | None = None,
    ) -> Lived:
        """One decision, tick by tick, with what its synapses met."""
        xs = Percept(x.obs.unsqueeze(0), x.action, x.reward, x.terminated, x.reset.unsqueeze(0))
        begun = self.begin(xs, state)
        k = self.config.ticks
        inputs = begun.spikes.expand(k, -1, -1) if begun.hold == k else begun.spikes
        if probe is not None:
            probe.record("input", begun.spikes)
        trails: list[Trail] = []
        after: list[State] = []
        for depth, (layer, before) in enumerate(zip(self.layers, begun.before, strict=True), 1):
            extra = noise[depth - 1] if noise else None
            if probe is not None:
                probe.synapses(
                    f"layer {depth}", *layer.product(begun.spikes if depth == 1 else inputs)
                )
            ran = layer.live(inputs, before, begun.reset[0], extra)
            trails += ran.trails
            after.append(ran.state)
            inputs = ran.spikes
            if probe is not None:
                probe.record(f"spikes/{depth}", ran.spikes)
                probe.record(f"membrane/{depth}", ran.membranes)
        rates = leaky_average(inputs, k, self.keep).squeeze(0)
        return Lived(rates, self.end(state, begun, after), tuple(trails))

    def _run(self, xs: Percept, state: SpikingState | tuple[()], probe: Probe | None):
        k, (t, b) = self.config.ticks, xs.reset.shape
        begun = self.begin(xs, state)
        spikes, hold, reset, before = begun[:4]
        if probe is not None:
            probe.record("input", spikes)
        after = []
        for depth, (layer, neurons_before) in enumerate(zip(self.layers, before, strict=True), 1):
            readout = self.keep if depth == len(self.layers) and probe is None else None
            if probe is not None:
                probe.synapses(f"layer {depth}", *layer.product(spikes))
            spikes, neurons_after, membranes = layer.run(
                layer.drive(spikes),
                neurons_before,
                reset,
                ticks=k,
                hold=hold,
                readout=readout,
                probe=probe,
            )
            hold = 1
            after.append(neurons_after)
            if probe is not None:
                probe.record(f"spikes/{depth}", spikes)
                probe.record(f"membrane/{depth}", membranes)
        rates = spikes if probe is None else leaky_average(spikes, k, self.keep)
        if probe is not None:
            one_each = (
                self.config.out_population > 0
            )  # a neuron has one synapse, not one for every output
            probe.synapses(
                "readout",
                self.readout.weight.view(1, -1) if one_each else self.readout.weight,
                rates,
            )
        out = self.readout(rates)
        out = out.view(t, b, out.shape[-1])
        return out, self.end(state, begun, after)

    def _at_rest(self, rows: int, keys: Tensor | None) -> tuple[Tensor, tuple[State, ...]]:
        """Memoryless: every decision is a row of its own that starts at rest. (reset [1, T·B], each
        layer's state).
        """
        weight = self.weight
        reset = torch.ones(1, rows, dtype=torch.bool, device=weight.device)
        key = reset[0].to(torch.int64) if keys is None else keys.flatten()
        states = tuple(
            layer.rest(seeding.fold(key, i) if layer.noisy else key)
            for i, layer in enumerate(self.layers)
        )
        return reset, like_weights(states, weight)


def _output_layer(config: Spikes, layers: list[Layer], n_out: int) -> Layer:
    """Populations of neurons, one for each output, on the last layer."""
    n = n_out * config.out_population
    connection = dense.Connection(layers[-1].n, n, gain=config.gain, graded=False)
    if not config.lateral:
        return Layer(config, len(layers), connection, n)
    within = recurrent.Connection(n, n, gain=LATERAL_GAIN, autapses=True, populations=n_out)
    return RecurrentLayer(config, len(layers), connection, n, within)


def _decision_keys(key: Tensor, decisions: int) -> tuple[Tensor, tuple[Tensor]]:
    """A key [T, B] for each decision, and the one [B] of the decision after them."""
    keys = []
    for _ in range(decisions):
        keys.append(key)
        key = seeding.advance(key)
    return torch.stack(keys) if keys else key.new_empty(0, len(key)), (key,)
