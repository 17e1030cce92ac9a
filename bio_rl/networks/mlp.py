"""The multilayer perceptron: the memoryless baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from bio_rl import contracts
from bio_rl.checks import Among, tunable
from bio_rl.connections._plastic import Trail
from bio_rl.contracts import Lived, NetworkConfig, Percept, Probe, Synapses
from bio_rl.kernels.perceptron import FUSED, perceptron
from bio_rl.networks import _parts
from bio_rl.networks._init import orthogonal
from bio_rl.parts import Part
from bio_rl.plasticity import Post

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    hidden: tuple[int, ...] = (64, 64)
    """Units per hidden layer."""
    activation: str = tunable("tanh", Among(("tanh", "relu")))
    """tanh, relu or silu."""
    critic_hidden: tuple[int, ...] = ()
    """Units per hidden layer of the network that values states while training; none for as many as
    in `hidden`.
    """

    def of_critic(self) -> Config:
        return replace(self, hidden=self.critic_hidden or self.hidden)

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(
                f"mlp.hidden is {self.hidden}, expected positive layer sizes such as 64 64"
            )
        if self.critic_hidden and min(self.critic_hidden) < 1:
            raise ValueError(
                f"mlp.critic_hidden is {self.critic_hidden}, expected positive layer sizes"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"mlp.activation is {self.activation!r}; known: {', '.join(ACTIVATIONS)}"
            )


class Network(contracts.Network):
    """[B, n_in] features to [B, n_out]; no state."""

    teachable = True
    layers: nn.Sequential
    """Connections and units in turn, the connection onto the outputs last."""

    def __init__(self, config: Config, n_in: int, n_out: int, out_gain: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in config.hidden:
            layers.append(orthogonal(nn.Linear(n_in, size), math.sqrt(2)))
            layers.append(ACTIVATIONS[config.activation]())
            n_in = size
        self.activation = config.activation
        self.depth = len(config.hidden)
        self.layers = nn.Sequential(*layers, orthogonal(nn.Linear(n_in, n_out), out_gain))

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def forward(
        self, x: Percept, state: tuple[()], probe: Probe | None = None
    ) -> tuple[Tensor, tuple[()]]:
        if probe is not None:
            _count(self.layers, x.obs, probe)
        return self._values(x.obs), ()

    def unroll(self, xs: Percept, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return self._values(xs.obs), ()

    @property
    def plastic(self) -> tuple[Synapses, ...]:
        """The connections onto hidden units."""
        return tuple(Synapses(connection) for connection in self.hidden)

    @property
    def hidden(self) -> list[nn.Linear]:
        """The connections onto hidden units."""
        return self._linear()[: self.depth]

    @property
    def readout(self) -> nn.Linear:
        """The connection onto the outputs."""
        return self._linear()[self.depth]

    @property
    def width(self) -> int:
        """Units of the last hidden layer."""
        return self.hidden[-1].out_features

    def drop_readout(self) -> None:
        """Remove the last layer."""
        self.layers = nn.Sequential(*list(self.layers)[:-1])

    def live(
        self,
        x: Percept,
        state: tuple[()],
        noise: Sequence[Tensor] = (),
        probe: Probe | None = None,
    ) -> Lived:
        """One decision with what its synapses met; noise: [B, N] added to each layer's drive."""
        activity, trails = x.obs, []
        for i, connection in enumerate(self.hidden):
            name = f"layer {i + 1}"
            if probe is not None:
                probe.synapses(name, connection.weight, activity)
            drive = connection(activity)
            if noise:
                drive = drive + noise[i]
            pre, activity = activity, self.layers[2 * i + 1](drive)
            post = Post(activity, psi=self._slope(activity, drive), v=drive)
            trails.append(Trail.once(pre, post))
        return Lived(activity, (), tuple(trails))

    def _slope(self, activity: Tensor, drive: Tensor) -> Tensor:
        """The derivative of each unit's activity by its drive."""
        if self.activation == "tanh":
            return 1.0 - activity.square()
        if self.activation == "relu":
            return (drive > 0.0).to(drive.dtype)
        gate = drive.sigmoid()  # silu: y = x σ(x), y' = σ + y (1 - σ)
        return gate + activity * (1.0 - gate)

    def _values(self, x: Tensor) -> Tensor:
        """The output of all layers for x."""
        if self.activation not in FUSED:
            return self.layers(x)
        linear = self._linear()
        weights = [layer.weight for layer in linear]
        biases = [layer.bias for layer in linear]
        return perceptron(x, weights, biases, self.activation)

    def _linear(self) -> list[nn.Linear]:
        """Its connections, that onto the outputs last where it has not been dropped."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def parts(self) -> tuple[Part, ...]:
        parts: list[Part] = []
        source = "input"
        for i, layer in enumerate(self.layers):
            depth = i // 2 + 1  # connections and units take turns
            if isinstance(layer, nn.Linear):
                n = layer.out_features
                parts.append(_parts.connection(f"layer {depth}", layer, n, source))
            else:
                n = parts[-1].n
                source = f"units {depth}"
                parts.append(_parts.units(source, self.activation, n, f"layer {depth}"))
        return tuple(parts)


def _count(layers: nn.Sequential, x: Tensor, probe: Probe) -> None:
    for depth, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            probe.synapses(f"layer {depth // 2 + 1}", layer.weight, x)
        x = layer(x)
