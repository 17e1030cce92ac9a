"""A convolutional network for pictures: rectified convolutions, then dense layers. It has no
memory.

Pictures of 36 pixels and more are looked at as Mnih et al. 2015 do, smaller ones with kernels of 3,
as Young & Tian 2019 do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bio_rl import contracts
from bio_rl.connections import conv
from bio_rl.contracts import NetworkConfig, Percept, Probe
from bio_rl.networks import _parts
from bio_rl.networks._init import orthogonal
from bio_rl.parts import Part

NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""(channels, kernel, stride) of each layer, Mnih et al. 2015, Methods. They need 36 pixels."""


@dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    channels: tuple[int, ...] = ()
    """Channels of the convolutional layers; with none given here, layers are taken that fit the
    picture.
    """
    kernel: tuple[int, ...] = ()
    """Width of each layer's kernels, in pixels."""
    stride: tuple[int, ...] = ()
    """Pixels from one place of a layer's kernels to the next."""
    hidden: tuple[int, ...] = (256,)
    """Units per dense layer."""
    image: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(
                f"cnn.hidden is {self.hidden}, expected positive layer sizes such as 256"
            )
        for name in ("channels", "kernel", "stride"):
            sizes = vars(self)[name]
            layers = len(self.channels)
            if len(sizes) != layers or min(sizes, default=1) < 1:
                expected = f"{layers} positive numbers, one for each of cnn.channels"
                raise ValueError(f"cnn.{name} is {sizes}, expected {expected}")


def fit(height: int, width: int) -> tuple[tuple[int, int, int], ...]:
    """(channels, kernel, stride) of layers for pictures of this size.

    Below 36 pixels: 16 and 32 channels (Young & Tian 2019 have one layer of 16), kernels of 3,
    every second pixel from 16 on.
    """
    side = min(height, width)
    if side >= 36:
        return NATURE
    layers = []
    for channels in (16, 32):
        kernel = min(3, side)
        stride = 2 if side >= 16 else 1
        layers.append((channels, kernel, stride))
        side = (side - kernel) // stride + 1
    return tuple(layers)


class Trunk(nn.Module):
    """Pictures [..., C, H, W] in [0, 1] to what the last convolution sees, [..., size]."""

    def __init__(self, shape: tuple[int, ...], layers: tuple[tuple[int, int, int], ...]) -> None:
        """layers: (channels, kernel, stride) of each. Raises ValueError where a picture is smaller
        than a kernel.
        """
        super().__init__()
        connections = []
        self.sizes: list[int] = []
        """Units of each layer."""
        for channels, kernel, stride in layers:
            layer = conv.Connection(shape[0], channels, kernel, stride, gain=math.sqrt(2))
            connections.append(layer)
            shape = layer.output_shape(shape)
            self.sizes.append(math.prod(shape))
        self.layers = _parts.module_list(connections)
        self.size = math.prod(shape)

    def forward(self, x: Tensor, probe: Probe | None = None, name: str = "conv") -> Tensor:
        """A probe is told of every product under `name`."""
        for depth, layer in enumerate(self.layers, 1):
            if probe is not None:
                probe.synapses(f"{name} {depth}", *layer.unfolded(x))
            drive, _ = layer(x, ())
            x = torch.relu(drive)
        return x.flatten(-3)

    def parts(self, source: str, name: str = "conv") -> list[Part]:
        """Its connections and units in turn, the first of which reads the part `source`; `name`: as
        in `forward`.
        """
        parts = []
        for depth, (layer, size) in enumerate(zip(self.layers, self.sizes, strict=True), 1):
            connection = f"{name} {depth}"
            parts.append(_parts.connection(connection, layer, size, source))
            source = f"units of {connection}"
            parts.append(_parts.units(source, "relu", size, connection))
        return parts


class Network(contracts.Network):
    """Pictures [B, *n_in] to [B, n_out]; no state. Raises ValueError for pictures that are smaller
    than the kernels.
    """

    def __init__(
        self, config: Config, n_in: tuple[int, ...], n_out: int, out_gain: float = 1.0
    ) -> None:
        super().__init__()
        layers = tuple(zip(config.channels, config.kernel, config.stride, strict=True))
        _, height, width = n_in
        self.trunk = Trunk(n_in, layers or fit(height, width))
        dense = []
        size = self.trunk.size
        for hidden in config.hidden:
            dense.append(orthogonal(nn.Linear(size, hidden), math.sqrt(2)))
            size = hidden
        self.dense = _parts.module_list(dense)
        self.readout = orthogonal(nn.Linear(size, n_out), out_gain)

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def forward(
        self, x: Percept, state: tuple[()], probe: Probe | None = None
    ) -> tuple[Tensor, tuple[()]]:
        activity = self.trunk(x.obs, probe)
        for depth, layer in enumerate(self.dense, 1):
            if probe is not None:
                probe.synapses(f"dense {depth}", layer.weight, activity)
            activity = torch.relu(layer(activity))
        if probe is not None:
            probe.synapses("readout", self.readout.weight, activity)
        return self.readout(activity), ()

    def unroll(self, xs: Percept, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return self.forward(xs, state)

    def parts(self) -> tuple[Part, ...]:
        parts = self.trunk.parts("input")
        for depth, layer in enumerate(self.dense, 1):
            name = f"dense {depth}"
            size = layer.out_features
            parts.append(_parts.connection(name, layer, size, parts[-1].name))
            parts.append(_parts.units(f"units of {name}", "relu", size, name))
        return (*parts, *_parts.readout(self, parts[-1].name))
