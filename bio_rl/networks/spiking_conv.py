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

from bio_rl.connections import conv, dense
from bio_rl.networks._layers import Layer
from bio_rl.networks._spikes import Spikes, SpikingNetwork


@dataclass(frozen=True, kw_only=True)
class Config(Spikes):
    channels: tuple[int, ...] = (16, 32)
    """Of the convolutional layers (Mnih et al. 2013's sizes)."""
    kernel: tuple[int, ...] = (8, 4)
    """Pixels, of each of them."""
    stride: tuple[int, ...] = (4, 2)
    """Pixels, of each of them."""
    hidden: tuple[int, ...] = (256,)
    """Neurons per dense layer."""
    critic: str = "spiking_conv"
    """Network that values states while training."""
    image: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse(
            not self.hidden or min(self.hidden, default=0) < 1,
            "hidden",
            "positive layer sizes such as 256",
        )
        for name in ("channels", "kernel", "stride"):
            wrong = (
                len(getattr(self, name)) != len(self.channels)
                or min(getattr(self, name), default=0) < 1
            )
            self._refuse(
                wrong,
                name,
                f"{len(self.channels)} positive numbers, one for each convolutional layer",
            )
        depth = len(self.channels) + len(self.hidden) + (self.out_population > 0)
        self._refuse(
            len(self.tau_mem) not in (1, depth),
            "tau_mem",
            f"one time constant, or one for each layer ({depth})",
        )


class Picture(nn.Module):
    """A convolution between layers whose neurons stand in one row: [..., C·H·W] to [..., C'·H'·W']."""

    def __init__(
        self, shape: tuple[int, ...], channels: int, kernel: int, stride: int, gain: float
    ) -> None:
        super().__init__()
        self.conv, self.shape_in = (
            conv.Connection(shape[0], channels, kernel, stride, gain=gain),
            shape,
        )
        self.shape = self.conv.output_shape(shape)
        self.bias = self.conv.bias

    @property
    def weight(self) -> Tensor:
        """[C', C, kernel, kernel]."""
        return self.conv.weight

    def forward(self, spikes: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        drive, state = self.conv(spikes.unflatten(-1, self.shape_in), state)
        return drive.flatten(-3), state


class PictureLayer(Layer):
    """A convolution and the neurons that it drives."""

    def product(self, spikes: Tensor) -> tuple[Tensor, Tensor]:
        return self.connection.conv.unfolded(spikes.unflatten(-1, self.connection.shape_in))


class Network(SpikingNetwork):
    """Pictures [B, *n_in] to [B, n_out]. Raises ValueError for pictures that are smaller than the
    kernels.
    """

    def __init__(
        self, config: Config, n_in: tuple[int, ...], n_out: int, out_gain: float = 1.0
    ) -> None:
        shape, stack = tuple(n_in), []
        for depth, size in enumerate(
            zip(config.channels, config.kernel, config.stride, strict=True)
        ):
            connection = Picture(shape, *size, config.gain)
            shape = connection.shape
            stack.append(PictureLayer(config, depth, connection, math.prod(shape)))
        n = math.prod(shape)
        for size in config.hidden:
            stack.append(
                Layer(
                    config,
                    len(stack),
                    dense.Connection(n, size, gain=config.gain, graded=False),
                    size,
                )
            )
            n = size
        super().__init__(config, stack, n_out, out_gain)

    def encode(self, obs: Tensor, keys: Tensor | None) -> Tensor:
        return obs.flatten(-3)
