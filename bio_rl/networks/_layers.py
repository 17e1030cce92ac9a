"""A layer of a spiking network: a connection, and the neurons that it drives, which may drive each
other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from bio_rl import discovery, neurons
from bio_rl.connections import recurrent
from bio_rl.connections.plastic import Trail
from bio_rl.contracts import Probe, State, Synapses
from bio_rl.kernels.unroll import leaky_average, trace, unroll
from bio_rl.neurons import Neuron, reset_rows
from bio_rl.plasticity import Post
from bio_rl.state import Tree, tree_map

if TYPE_CHECKING:
    from bio_rl.networks._spikes import Spikes


def neuron(config: Spikes, depth: int, n: int) -> Any:
    """The constants of the `n` neurons of layer `depth`. Raises ValueError for an unknown neuron or
    constant.
    """
    kind = neurons.load(config.neuron)
    fields, unit = kind._fields, kind.span
    tau_mem = config.tau_mem[0] if len(config.tau_mem) == 1 else config.tau_mem[depth]
    values: dict[str, Any] = {
        "tau_mem": tau_mem,
        "surrogate": config.surrogate,
        "slope": config.slope[0] / unit,
    }
    if config.soft_reset:
        if "v_reset" not in fields or unit != 1.0:
            raise ValueError(
                f"soft-reset is set, but the neuron {config.neuron} always resets to a potential of its own"
            )
        values["v_reset"] = None
    values = {name: value for name, value in values.items() if name in fields}
    for text in config.constants:
        name, _, number = text.partition("=")
        if name not in fields:
            raise ValueError(
                f"constants: {config.neuron} has no constant called {name!r}; {discovery.suggestion(name, fields)}"
            )
        values[name] = _constant(config.neuron, kind, name, text, number)
    try:
        p = kind(**values)
    except ValueError as error:
        raise ValueError(f"constants: {error}" if config.constants else str(error)) from error
    return p.learning(tau_mem, n)


def _constant(neuron: str, kind: Any, name: str, text: str, number: str) -> float:
    """The number of one of the `constants`. Raises ValueError for a constant that is no number, or
    that a network sets.
    """
    default = kind._field_defaults[name]
    if isinstance(default, str):
        raise ValueError(f"constants: {name} of {neuron} is no number; it is a setting of its own")
    if name in kind.learned:
        raise ValueError(
            f"constants: w of {neuron} is learned, and starts from tau_mem: set that instead"
        )
    try:
        return int(number) if isinstance(default, int) else float(number)
    except ValueError:
        example = f"{name}=2, a whole number" if isinstance(default, int) else f"{name}=2.5"
        raise ValueError(f"constants: {text!r} is not NAME=NUMBER, as in {example}") from None


def like_weights(state: Tree, weight: Tensor) -> Tree:
    """A state whose floats have the precision of the weights, as in a network in double precision."""
    if weight.dtype is torch.float32:
        return state
    return tree_map(lambda x: x.to(weight.dtype) if x.is_floating_point() else x, state)


class Layer(nn.Module):
    """A connection and the neurons that it drives. Constants that are tensors become parameters."""

    def __init__(self, config: Spikes, depth: int, connection: nn.Module, n: int) -> None:
        super().__init__()
        p = neuron(config, depth, n)
        self.connection, self.n, self.p = connection, n, p
        self.learned = nn.ParameterDict(
            {name: nn.Parameter(x) for name, x in p._asdict().items() if isinstance(x, Tensor)}
        )
        self.unit = p.unit_drive

    def constants(self) -> Any:
        """The neurons' constants with what they have learned."""
        return self.p._replace(**self.learned) if self.learned else self.p

    @property
    def noisy(self) -> bool:
        """Whether the neurons draw, so that their state holds a key."""
        return self.p.noisy

    def rest(self, key: Tensor) -> State:
        """The neurons at rest, one row for each key [B]."""
        state = self.p.init(len(key), self.n, key.device)
        return state._replace(key=key) if self.noisy else state

    def drive(self, spikes: Tensor) -> Tensor:
        """[S, B, N] of what came in, [S, B, pre]."""
        drive, _ = self.connection(spikes, ())
        return drive * self.unit if self.unit != 1.0 else drive

    def product(self, spikes: Tensor) -> tuple[Tensor, Tensor]:
        """(weights [post, pre], inputs [..., pre]) of what `drive` multiplies."""
        return self.connection.weight, spikes

    def plastic(self, pre: str) -> tuple[Synapses, ...]:
        """The synapses that local rules can teach; pre: what they see of the input."""
        return (Synapses(self.connection, pre=pre, post="spike", neuron=self.constants()),)

    def live(self, inputs: Tensor, state: State, reset: Tensor, noise: Tensor | None) -> Ran:
        """One decision: inputs [K, B, pre], the neurons' state, reset [B], noise [B, N] that is
        added to what drives them.
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
        return drive if noise is None else drive + self.unit * noise

    def run(
        self,
        drive: Tensor,
        state: State,
        reset: Tensor,
        *,
        ticks: int,
        hold: int,
        readout: float | None,
        probe: Probe | None,
    ) -> tuple[Tensor, State, Tensor | None]:
        """(spikes [S, B, N] or their leaky average [T, B, N], state, membranes for a probe)."""
        if probe is None:
            return *unroll(
                self.constants(), state, drive, reset, ticks=ticks, hold=hold, readout=readout
            ), None
        spikes, membranes, state = trace(
            self.constants(), state, drive, reset, ticks=ticks, hold=hold
        )
        return spikes, state, membranes


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


class RecurrentLayer(Layer):
    """A layer whose neurons also drive each other, through `recurrent`. Each tick needs a product,
    so the loop is torch's.
    """

    def __init__(
        self,
        config: Spikes,
        depth: int,
        connection: nn.Module,
        n: int,
        recurrent: recurrent.Connection,
    ) -> None:
        super().__init__(config, depth, connection, n)
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
        p, weight = self.constants(), self.recurrent.effective_weight() * self.unit
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
        return RecurrentState(super().rest(key), torch.zeros(len(key), self.n, device=key.device))

    def run(
        self,
        drive: Tensor,
        state: RecurrentState,
        reset: Tensor,
        *,
        ticks: int,
        hold: int,
        readout: float | None,
        probe: Probe | None,
    ) -> tuple[Tensor, RecurrentState, Tensor | None]:
        p, weight = self.constants(), self.recurrent.effective_weight() * self.unit
        neurons, z = state
        spikes, membranes = [], []
        for s in range(drive.shape[0] * hold):
            if s % ticks == 0:
                mask = reset[s // ticks]
                neurons, z = reset_rows(p, mask, neurons), torch.where(mask[:, None], 0.0, z)
            z, neurons = p.step(neurons, torch.addmm(drive[s // hold], z, weight.t()))
            spikes.append(z)
            membranes.append(neurons.v)
        train = torch.stack(spikes) if spikes else drive  # no time: what is empty stays as empty
        if probe is not None:
            before = torch.cat([state.spikes.unsqueeze(0), train[:-1]])
            probe.synapses("recurrent", weight, before)
            return train, RecurrentState(neurons, z), torch.stack(membranes)
        return (
            (train if readout is None else leaky_average(train, ticks, readout)),
            RecurrentState(neurons, z),
            None,
        )
