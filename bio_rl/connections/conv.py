"""Weights shared over space:
drive_c'(y, x) = Σ_c Σ_kl w_c'ckl s_c(y·stride + k, x·stride + l) + b_c',  without padding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bio_rl.connections._check import check_sizes
from bio_rl.connections._init import orthogonal


class Connection(nn.Module):
    """Spikes [..., C, H, W] to drive [..., C', H', W'], H' = (H - kernel) // stride + 1; no state.

    kernel, stride: in pixels, the same along both axes. gain: of the initial weights, orthogonal as
    [C', C·kernel²].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        check_sizes(
            "conv", in_channels=in_channels, out_channels=out_channels, kernel=kernel, stride=stride
        )
        self.stride = stride
        self.weight = orthogonal(out_channels, in_channels, kernel, kernel, gain=gain)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(C', H', W') of a picture (C, H, W). Raises ValueError where channels differ or the
        kernel does not fit.
        """
        out_channels, in_channels, kernel, _ = self.weight.shape
        if len(shape) != 3 or shape[0] != in_channels or min(shape[1:]) < kernel:
            raise ValueError(
                f"conv: a picture has shape {tuple(shape)}, expected (C, H, W) with C = {in_channels}, H, W >= {kernel}"
            )
        return (
            out_channels,
            (shape[1] - kernel) // self.stride + 1,
            (shape[2] - kernel) // self.stride + 1,
        )

    def forward(
        self, spikes: Tensor, state: tuple[()], dt: float = 1.0
    ) -> tuple[Tensor, tuple[()]]:
        """(drive, ()). Raises ValueError for pictures of another number of channels or smaller than
        the kernel.
        """
        out, lead = self.output_shape(spikes.shape[-3:]), spikes.shape[:-3]
        drive = F.conv2d(
            spikes.reshape(-1, *spikes.shape[-3:]), self.weight, self.bias, self.stride
        )
        return drive.view(*lead, *out), state

    def unfolded(self, spikes: Tensor) -> tuple[Tensor, Tensor]:
        """The same as a plain product: weights [C', C·kernel²] and the patches [..., H'·W',
        C·kernel²] that they meet.
        """
        self.output_shape(spikes.shape[-3:])
        patches = F.unfold(
            spikes.reshape(-1, *spikes.shape[-3:]), self.weight.shape[-1], stride=self.stride
        ).transpose(1, 2)
        return self.weight.flatten(1), patches.reshape(*spikes.shape[:-3], *patches.shape[1:])
