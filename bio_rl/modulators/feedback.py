"""Error fed back: the learning signal of hidden neurons from the error of the output, through
weights that need not be those of the output.

    L_j = Σ_k B_jk (y_k - y*_k)                    given to a rule as its `signal`

    random      B is drawn once and stays; W_out comes to align with it. Lillicrap et al. 2016; to
                every layer at once, Nøkland 2016
    symmetric   B = W_outᵀ: for a linear readout L_j is the gradient of ½ Σ_k (y_k - y*_k)² by the
                activity of neuron j
    adaptive    B is drawn, and changes by what W_out changes by, while both decay: they become
                symmetric. Kolen & Pollack 1994

All three are those of e-prop (Bellec et al. 2020, "random", "symmetric" and "adaptive e-prop").
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("random", "symmetric", "adaptive")


class FeedbackState(NamedTuple):
    b: Tensor | tuple[()] = ()
    """[..., hidden, out] the weights B; empty where they are those of the readout."""


class Feedback(NamedTuple):
    """Constants."""

    kind: str = "random"
    decay: float = 0.0
    """Adaptive: the part of B and of W_out that is lost at each change."""

    def init(self, w_out: Tensor, generator: torch.Generator | None = None) -> FeedbackState:
        """B for the readout w_out [..., out, hidden]: normal, with the standard deviation 1 /
        √hidden.

        Raises ValueError for an unknown kind, or one that does not decay and yet should.
        """
        if self.kind not in KINDS:
            raise ValueError(f"feedback: kind is {self.kind!r}; known: {', '.join(KINDS)}")
        decays = self.decay > 0.0
        if not 0.0 <= self.decay < 1.0 or decays != (self.kind == "adaptive"):
            raise ValueError(
                f"feedback: decay is {self.decay}, "
                "expected a part in (0, 1) for 'adaptive' and 0 for the others"
            )
        if self.kind == "symmetric":
            return FeedbackState()
        # a new tensor of the generator's draws, with the device and the precision of the readout
        b = torch.randn(
            w_out.mT.shape,
            generator=generator,
            device=w_out.device,
            dtype=w_out.dtype,
        )
        n_hidden = w_out.shape[-1]
        return FeedbackState(b * n_hidden**-0.5)

    def signal(self, state: FeedbackState, w_out: Tensor, error: Tensor) -> Tensor:
        """L [..., hidden] from the error y - y* [..., out], detached."""
        # symmetric feedback has no weights but those of the readout
        b = w_out.mT if isinstance(state.b, tuple) else state.b
        column = error.unsqueeze(-1)
        signal = (b @ column).squeeze(-1)
        return signal.detach()

    def step(
        self, state: FeedbackState, w_out: Tensor, change: Tensor
    ) -> tuple[Tensor, FeedbackState]:
        """(W_out, state) after a change [..., out, hidden] of the readout by its own rule,
        detached.
        """
        keep = 1.0 - self.decay
        w_out = (keep * w_out + change).detach()
        if self.kind != "adaptive" or isinstance(state.b, tuple):
            return w_out, state
        # the same change and the same decay on both sides: their difference fades
        b = (keep * state.b + change.mT).detach()
        return w_out, FeedbackState(b)
