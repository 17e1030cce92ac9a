"""A spiking network for pictures: convolutional layers of neurons, then dense ones, and a linear
readout of averaged spikes.

The brightness of the pixels drives the first layer as a direct current, so its convolution is
computed once a decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from bio_rl.connections import conv
from bio_rl.contracts import State
from bio_rl.networks import _parts
from bio_rl.networks._encoder import Encoder
from bio_rl.networks._layers import Layer
from bio_rl.networks._settings import Spikes
from bio_rl.networks._spikes import SpikingNetwork
from bio_rl.parts import Part


@dataclass(frozen=True, kw_only=True)
class Config(Spikes):
    """Settings of the spiking network for pictures."""

    channels: tuple[int, ...] = (16, 32)
    """Channels of the convolutional layers (Mnih et al. 2013's sizes)."""
    kernel: tuple[int, ...] = (8, 4)
    """Width of each layer's kernels, in pixels."""
    stride: tuple[int, ...] = (4, 2)
    """Pixels from one place of a layer's kernels to the next."""
    hidden: tuple[int, ...] = (256,)
    """Neurons per dense layer."""
    critic: str = "spiking_conv"
    """Network that values states while training."""
    image: ClassVar[bool] = True

    @property
    def depth(self) -> int:
        return len(self.channels) + super().depth

    def __post_init__(self) -> None:
        super().__post_init__()
        layers = len(self.channels)
        for name in ("channels", "kernel", "stride"):
            sizes = vars(self)[name]
            fits = len(sizes) == layers and min(sizes, default=0) >= 1
            self.require(fits, name, f"{layers} positive numbers, one for each convolutional layer")

    def encoder(self, n_in: tuple[int, ...]) -> Pixels:
        return Pixels(n_in)

    def layers(self, n_in: tuple[int, ...]) -> list[Layer]:
        layers: list[Layer] = []
        shape = tuple(n_in)
        for channels, kernel, stride in zip(self.channels, self.kernel, self.stride, strict=True):
            picture = Picture(shape, channels, kernel, stride, self.gain)
            shape = picture.shape
            n = math.prod(shape)
            p = self.neurons(len(layers), n)
            layers.append(PictureLayer(p, len(layers) + 1, picture, n))
        n = math.prod(shape)
        for size in self.hidden:
            connection = self.connect(n, size, graded=False)
            p = self.neurons(len(layers), size)
            layers.append(Layer(p, len(layers) + 1, connection, size))
            n = size
        return layers


class Pixels(Encoder):
    """Pictures [T, B, C, H, W] as currents [T, B, C·H·W]."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = math.prod(shape)

    def forward(
        self, obs: Tensor, reset: Tensor, keys: Tensor | None, state: tuple[State, ...]
    ) -> tuple[Tensor, tuple[State, ...]]:
        return obs.flatten(-3), state

    def parts(self) -> tuple[Part, ...]:
        return (_parts.code("pixels", "current", self.size, "input"),)


class Picture(nn.Module):
    """A convolution between layers whose neurons stand in one row: [..., C·H·W] to [...,
    C'·H'·W'].
    """

    stateful: ClassVar[bool] = False
    releases: ClassVar[bool] = False
    mask: Tensor | None = None

    def __init__(
        self, shape: tuple[int, ...], channels: int, kernel: int, stride: int, gain: float
    ) -> None:
        super().__init__()
        self.conv = conv.Connection(shape[0], channels, kernel, stride, gain=gain)
        self.shape_in = shape
        self.shape = self.conv.output_shape(shape)
        self.bias = self.conv.bias

    @property
    def weight(self) -> Tensor:
        """[C', C, kernel, kernel]."""
        return self.conv.weight

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def arrive(
        self, spikes: Tensor, state: tuple[()], reset: Tensor, ticks: int
    ) -> tuple[Tensor, tuple[()]]:
        """(spikes, state): they arrive as they are."""
        return spikes, state

    def product(self, arriving: Tensor) -> Tensor:
        """The drive [..., C'·H'·W'] by pictures [..., C·H·W]."""
        pictures = arriving.unflatten(-1, self.shape_in)
        drive, _ = self.conv(pictures, ())
        return drive.flatten(-3)


class PictureLayer(Layer[Picture]):
    """A convolution and the neurons that it drives."""

    def product(self, spikes: Tensor) -> tuple[Tensor, Tensor]:
        pictures = spikes.unflatten(-1, self.connection.shape_in)
        return self.connection.conv.unfolded(pictures)

    def incoming(self) -> nn.Module:
        return self.connection.conv


Network = SpikingNetwork
