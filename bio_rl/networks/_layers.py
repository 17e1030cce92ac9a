"""A layer of a spiking network: a connection, and the neurons that it drives, which may drive each
other.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from bio_rl.connections import recurrent
from bio_rl.connections._plastic import Trail
from bio_rl.contracts import Probe, State, Synapses
from bio_rl.kernels.unroll import leaky_average, trace, unroll
from bio_rl.networks import _parts
from bio_rl.neurons import Neuron, reset_rows
from bio_rl.parts import Part
from bio_rl.plasticity import Post
from bio_rl.state import Tree, tree_map


class Projection(Protocol):
    """A connection, one of `bio_rl.connections` or a picture's, as a layer needs it."""

    stateful: ClassVar[bool]
    releases: ClassVar[bool]

    @property
    def weight(self) -> Tensor: ...

    @property
    def bias(self) -> Tensor | None: ...

    @property
    def mask(self) -> Tensor | None: ...

    def initial_state(self, batch: int) -> State: ...

    def arrive(
        self, spikes: Tensor, state: State, reset: Tensor, ticks: int
    ) -> tuple[Tensor, State]: ...

    def product(self, arriving: Tensor) -> Tensor: ...


P = TypeVar("P", bound=Projection)


class Times(NamedTuple):
    """How long a layer runs."""

    ticks: int
    """K, of a decision."""
    hold: int
    """Ticks for which a row of the drive is held: K for a static input, else 1."""
    readout: float | None
    """κ of a leaky average over each decision, which takes the place of the spikes; None for the
    spikes.
    """


def like_weights(state: Tree, weight: Tensor) -> Tree:
    """A state whose floats have the precision of the weights, as in a network of doubles."""
    if weight.dtype is torch.float32:
        return state
    return tree_map(lambda x: x.to(weight.dtype) if x.is_floating_point() else x, state)


@functools.cache
def say_unfused() -> None:
    """Say once on stderr that the time loops are the reference's."""
    reason = "the reset carries gradient, which it does in no fused kernel"
    print(f"neuron kernels: torch, the slower reference: {reason}", file=sys.stderr)


class Layer(nn.Module, Generic[P]):
    """A connection and the neurons that it drives. Constants that are tensors become parameters.

    depth: from 1, the layer's place in the network. p: constants of the `n` neurons.
    """

    def __init__(self, p: Neuron, depth: int, connection: P, n: int) -> None:
        super().__init__()
        self.connection = connection
        self.depth = depth
        self.n = n
        self.p = p
        constants = p._asdict()
        tensors = {name: x for name, x in constants.items() if isinstance(x, Tensor)}
        self.learned = nn.ParameterDict({name: nn.Parameter(x) for name, x in tensors.items()})
        if not constants.get("detach_reset", True):
            say_unfused()

    def constants(self) -> Neuron:
        """The neurons' constants with what they have learned."""
        if not self.learned:
            return self.p
        return self.p._replace(**self.learned)

    def rest(self, key: Tensor) -> State:
        """The neurons at rest, one row for each key [B]."""
        state = self.p.init(len(key), self.n, key.device)
        if not self.p.noisy:
            return state
        # a key of the layer's own: two layers must not draw the same
        return state._replace(key=key)

    def arrive(
        self, spikes: Tensor, state: State, reset: Tensor, ticks: int
    ) -> tuple[Tensor, State]:
        """(What arrives at the weights [T·K, B, pre] of what came in, [S, B, pre]; the state of the
        connection), tick by tick where that depends on earlier ticks.

        S = T·K, or T where each row is held for the K = `ticks` ticks of a decision.
        """
        held = len(reset) * ticks // max(len(spikes), 1)
        if held > 1:
            spikes = spikes.repeat_interleave(held, 0)
        return self.connection.arrive(spikes, state, reset, ticks)

    def drive(self, arriving: Tensor) -> Tensor:
        """[S, B, N] of what arrives at the weights, [S, B, pre]."""
        drive = self.connection.product(arriving)
        unit = self.p.unit_drive
        return drive * unit if unit != 1.0 else drive

    def product(self, arriving: Tensor) -> tuple[Tensor, Tensor]:
        """(weights [post, pre], inputs [..., pre]) of what `drive` multiplies."""
        return self.connection.weight, arriving

    def plastic(self, pre: str) -> tuple[Synapses, ...]:
        """The synapses that local rules can teach; pre: what they see of the input."""
        connection = self.connection
        assert isinstance(connection, nn.Module)  # every file of connections makes modules
        seen = "activity" if connection.releases else pre
        return (Synapses(connection, connection.mask, seen, "spike", neuron=self.constants()),)

    def live(self, inputs: Tensor, state: State, reset: Tensor, noise: Tensor | None) -> Ran:
        """One decision: what arrives at the weights [K, B, pre], the neurons' state, reset [B],
        noise [B, N] that is added to what drives them.
        """
        p = self.constants()
        recorder, state = Recorder(p), reset_rows(p, reset, state)
        for x in inputs:
            _, state = recorder.tick(state, self._driven(x, noise))
        trail = Trail(inputs.transpose(0, 1), recorder.post())
        return Ran(torch.stack(recorder.spikes), torch.stack(recorder.membranes), state, (trail,))

    def _driven(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """The drive [B, N] by one tick's input [B, pre]."""
        drive = self.drive(x)
        return drive if noise is None else drive + self.p.unit_drive * noise

    def run(
        self, drive: Tensor, state: State, reset: Tensor, times: Times, probe: Probe | None
    ) -> tuple[Tensor, State]:
        """(spikes [S, B, N], or their leaky average [T, B, N] with `times.readout`; state)."""
        p = self.constants()
        ticks, hold, readout = times
        if probe is None:
            return unroll(p, state, drive, reset, ticks=ticks, hold=hold, readout=readout)
        spikes, membranes, state = trace(p, state, drive, reset, ticks=ticks, hold=hold)
        self.record(probe, spikes, membranes)
        return spikes, state

    def record(self, probe: Probe, spikes: Tensor, membranes: Tensor) -> None:
        """Tell `probe` the spikes and membranes [K, B, N] of a decision."""
        probe.record(f"spikes/{self.depth}", spikes)
        probe.record(f"membrane/{self.depth}", membranes)

    @property
    def name(self) -> str:
        """The name of its connection."""
        return f"layer {self.depth}"

    def parts(self, source: str) -> tuple[Part, ...]:
        """Its connection, which reads the part `source`, and its neurons, which come last."""
        incoming = _parts.connection(self.name, self.incoming(), self.n, source)
        constants = self.constants()
        outgoing = _parts.neurons(f"neurons {self.depth}", constants, self.n, self.name)
        return incoming, outgoing

    def incoming(self) -> Any:
        """The module of `bio_rl.connections` that is its connection."""
        return self.connection


class Ran(NamedTuple):
    """A layer's K ticks of one decision, with what its synapses met."""

    spikes: Tensor
    """[K, B, N]."""
    membranes: Tensor
    """[K, B, N] after each tick."""
    state: State
    trails: tuple[Trail, ...]
    """One for each of `Layer.plastic`."""


class Recorder:
    """Collects what the synapses onto a layer meet, tick by tick."""

    def __init__(self, p: Neuron) -> None:
        self.p = p
        self.spikes: list[Tensor] = []
        self.membranes: list[Tensor] = []
        self.psi: list[Tensor] = []
        self.chances: list[Tensor] = []

    def tick(self, state: Any, drive: Tensor) -> tuple[Tensor, Any]:
        """(spikes [B, N], state) of one tick under the drive [B, N]."""
        tick = self.p.traced_step(state, drive)
        self.spikes.append(tick.spikes)
        self.membranes.append(tick.state.v)
        if isinstance(tick.psi, Tensor):
            self.psi.append(tick.psi)
        if isinstance(tick.p, Tensor):
            self.chances.append(tick.p)
        return tick.spikes, tick.state

    def post(self) -> Post:
        """The postsynaptic side, [B, K, N] each."""
        return Post(
            spike=_rows_first(self.spikes),
            p=_rows_first(self.chances) if self.chances else (),
            psi=_rows_first(self.psi) if self.psi else (),
            v=_rows_first(self.membranes),
        )


def _rows_first(ticks: list[Tensor]) -> Tensor:
    """[B, K, N] of K tensors [B, N]."""
    return torch.stack(ticks, 1)


class RecurrentState(NamedTuple):
    neurons: State
    spikes: Tensor
    """[B, N] of the last tick."""


class RecurrentLayer(Layer[P]):
    """A layer whose neurons also drive each other, through `recurrent`. Each tick needs a product,
    so the loop is torch's.
    """

    def __init__(
        self,
        p: Neuron,
        depth: int,
        connection: P,
        n: int,
        recurrent: recurrent.Connection,
    ) -> None:
        super().__init__(p, depth, connection, n)
        self.recurrent = recurrent

    def plastic(self, pre: str) -> tuple[Synapses, ...]:
        """The synapses from the input, and those within the layer."""
        within = Synapses(
            self.recurrent, self.recurrent.mask, "spike", "spike", neuron=self.constants()
        )
        return (*super().plastic(pre), within)

    def live(
        self, inputs: Tensor, state: RecurrentState, reset: Tensor, noise: Tensor | None
    ) -> Ran:
        """As a layer's, with the spikes of the tick before as a second input."""
        p, weight = self.constants(), self.recurrent.effective_weight() * self.p.unit_drive
        recorder, neurons = Recorder(p), reset_rows(p, reset, state.neurons)
        z = torch.where(reset[:, None], 0.0, state.spikes)
        heard = []
        for x in inputs:
            heard.append(z)
            drive = torch.addmm(self._driven(x, noise), z, weight.t())
            z, neurons = recorder.tick(neurons, drive)
        post = recorder.post()
        trails = Trail(inputs.transpose(0, 1), post), Trail(_rows_first(heard), post)
        train, membranes = torch.stack(recorder.spikes), torch.stack(recorder.membranes)
        return Ran(train, membranes, RecurrentState(neurons, z), trails)

    def rest(self, key: Tensor) -> RecurrentState:
        neurons = super().rest(key)
        spikes = torch.zeros(len(key), self.n, device=key.device)
        return RecurrentState(neurons, spikes)

    def run(
        self, drive: Tensor, state: RecurrentState, reset: Tensor, times: Times, probe: Probe | None
    ) -> tuple[Tensor, RecurrentState]:
        p = self.constants()
        weight = self.recurrent.effective_weight() * self.p.unit_drive
        neurons, z = state
        spikes = []
        membranes = []
        for s in range(drive.shape[0] * times.hold):
            if s % times.ticks == 0:  # a decision begins
                mask = reset[s // times.ticks]
                neurons = reset_rows(p, mask, neurons)
                z = torch.where(mask[:, None], 0.0, z)
            z, neurons = p.step(neurons, torch.addmm(drive[s // times.hold], z, weight.t()))
            spikes.append(z)
            membranes.append(neurons.v)
        after = RecurrentState(neurons, z)
        train = torch.stack(spikes) if spikes else drive  # no time: what is empty stays as empty
        if probe is not None:
            probe.record(f"spikes/{self.depth}", train)
            probe.record(f"membrane/{self.depth}", torch.stack(membranes))
            before = torch.cat([state.spikes.unsqueeze(0), train[:-1]])
            probe.synapses(f"recurrent {self.depth}", weight, before)
            return train, after
        if times.readout is None:
            return train, after
        return leaky_average(train, times.ticks, times.readout), after

    def parts(self, source: str) -> tuple[Part, ...]:
        incoming, outgoing = super().parts(source)
        name = f"recurrent {self.depth}"
        within = _parts.connection(name, self.recurrent, self.n, outgoing.name)
        # the neurons close a loop: they add what they were driven by and what they drive
        outgoing = outgoing._replace(sources=(*outgoing.sources, name))
        return incoming, within, outgoing
