"""Weights shared over space:
drive_c'(y, x) = Σ_c Σ_kl w_c'ckl s_c(y·stride + k, x·stride + l) + b_c',  without padding.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bio_rl.connections._base import BaseConnection
from bio_rl.connections._check import check_sizes
from bio_rl.connections._init import orthogonal_weight, zero_bias


class Connection(BaseConnection):
    """Spikes [..., C, H, W] to drive [..., C', H', W'], H' = (H - kernel) // stride + 1; no state.

    kernel, stride: in pixels, the same along both axes. gain: scale of the initial weights,
    orthogonal as [C', C·kernel²].
    """

    name = "conv"
    between_layers = False

    bias: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        gain: float = 1.0,
    ) -> None:
        check_sizes("conv", in_channels=in_channels, out_channels=out_channels)
        check_sizes("conv", kernel=kernel, stride=stride)
        super().__init__(in_channels, out_channels)
        self.stride = stride
        self.weight = orthogonal_weight(out_channels, in_channels, kernel, kernel, gain=gain)
        self.bias = zero_bias(out_channels)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(C', H', W') of a picture (C, H, W). Raises ValueError where channels differ or the
        kernel does not fit.
        """
        out_channels, in_channels, kernel, _ = self.weight.shape
        if len(shape) != 3 or shape[0] != in_channels or min(shape[1:]) < kernel:
            raise ValueError(
                f"conv: a picture has shape {tuple(shape)}, "
                f"expected (C, H, W) with C = {in_channels}, H, W >= {kernel}"
            )
        _, height, width = shape
        rows = (height - kernel) // self.stride + 1
        columns = (width - kernel) // self.stride + 1
        return out_channels, rows, columns

    def forward(
        self, spikes: Tensor, state: tuple[()], dt: float = 1.0
    ) -> tuple[Tensor, tuple[()]]:
        """(drive, ()). Raises ValueError for pictures of another number of channels or smaller than
        the kernel.
        """
        lead = spikes.shape[:-3]
        picture = spikes.shape[-3:]
        out = self.output_shape(picture)
        # a convolution takes one leading axis
        pictures = spikes.reshape(-1, *picture)
        drive = F.conv2d(pictures, self.weight, self.bias, self.stride)
        return drive.view(*lead, *out), state

    def unfolded(self, spikes: Tensor) -> tuple[Tensor, Tensor]:
        """The same as a plain product: weights [C', C·kernel²] and the patches [..., H'·W',
        C·kernel²] that they meet.
        """
        lead = spikes.shape[:-3]
        picture = spikes.shape[-3:]
        self.output_shape(picture)
        pictures = spikes.reshape(-1, *picture)
        kernel = self.weight.shape[-1]
        # [pictures, C·kernel², H'·W'] to [pictures, H'·W', C·kernel²]
        patches = F.unfold(pictures, kernel, stride=self.stride).transpose(1, 2)
        patches = patches.reshape(*lead, *patches.shape[1:])
        return self.weight.flatten(1), patches
