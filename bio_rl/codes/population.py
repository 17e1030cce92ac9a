"""Population code: every input dimension drives neurons with receptive fields along it, every
output reads its own.

    A_ik = exp(-½ ((o_i - μ_k) / σ)²),   μ evenly over [-reach, reach]
        Tang et al. 2020 (PopSAN), eq. 1: all cells answer to every input, most of them faintly

With d = |o_i - μ_k| in units of the distance between neighbouring centres and [x]₊ = max(x, 0):

    A_ik = [1 - d]₊                       linear: two cells answer
    A_ik = ½ [3/2 - d]₊² - 3/2 [½ - d]₊²  quadratic: three cells answer
        the B-splines of degree 1 and 2 (de Boor 1978, A Practical Guide to Splines, ch. IX)

A cell that does not answer costs no operation, and the answers of B-splines sum to one.

The fields drive the next layer directly (current), are spike probabilities (poisson, in
`codes.rate`), or charge one integrate-and-fire neuron each (deterministic).

    y_a = Σ_i w_ai r_ai + b_a   over the rates r_ai of the neurons of output a alone
        ibid., the decoder
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bio_rl.codes._ticks import check_ticks
from bio_rl.codes.rate import poisson
from bio_rl.discovery import suggestion
from bio_rl.parts import Cost

__all__ = ["Population", "Readout", "deterministic", "poisson"]

THRESHOLD = 0.999
"""Threshold of the encoding neurons in PopSAN's code: just below the field's peak, so that a neuron
at its peak fires at every tick.
"""


FIELDS = ("gaussian", "linear", "quadratic")
"""Shapes of receptive fields."""


class Population(nn.Module):
    """Features [..., F] to currents or spike probabilities [..., F·size] in [0, 1].

    reach, sigma: in units of the (normalised) input. With sigma=None neighbouring Gaussian fields
    cross at half a spacing per σ; B-splines are as wide as their centres are apart. fields: one of
    `FIELDS`.
    """

    def __init__(
        self, size: int, reach: float = 3.0, sigma: float | None = None, fields: str = "gaussian"
    ) -> None:
        super().__init__()
        if fields not in FIELDS:
            raise ValueError(f"fields is {fields!r}; {suggestion(fields, FIELDS)}")
        if size < 2 or reach <= 0:
            raise ValueError(
                f"population code of size {size} and reach {reach}: "
                "expected size >= 2 and reach > 0"
            )
        spacing = 2.0 * reach / (size - 1)
        self.fields = fields
        # of Gaussians in units of √2 σ, so that the exponent is the square of a distance
        unit = 0.5**0.5 if fields == "gaussian" else 1.0
        scale = torch.tensor(unit / (sigma or spacing))
        self.scale = nn.Buffer(scale, persistent=False)
        centres = torch.linspace(-reach, reach, size) * self.scale
        self.centres = nn.Buffer(centres, persistent=False)

    def cost(self, features: int) -> Cost:
        """The arithmetic of the fields of so many features. The two or three cells of a spline that
        answer are found by the place of the input, without a look at the others.
        """
        if self.fields == "gaussian":
            cells = features * len(self.centres)
            return Cost(adds=cells, macs=features + cells, functions=cells)
        if self.fields == "linear":
            # the place among the centres, what lies left of it, and the share of either cell
            return Cost(adds=3 * features, macs=features)
        return Cost(adds=4 * features, macs=5 * features)

    def forward(self, features: Tensor) -> Tensor:
        """A [..., F·size], constant over the ticks of a decision (direct current)."""
        scaled = features * self.scale
        # [..., F, size]: each feature meets the centres of its own cells
        distance = scaled.unsqueeze(-1) - self.centres
        return self._answer(distance).flatten(-2)

    def _answer(self, distance: Tensor) -> Tensor:
        """A of fields at a distance from their centres, in units of `scale`."""
        if self.fields == "gaussian":
            return distance.square().neg().exp()
        d = distance.abs()
        if self.fields == "linear":
            return (1.0 - d).relu()
        return 0.5 * (1.5 - d).relu().square() - 1.5 * (0.5 - d).relu().square()


class Readout(nn.Module):
    """Rates [..., A·size], of a population for each of A outputs, to the outputs [..., A].

    gain: initial length of an output's weights. With a group axis, [G, A, size], weights read rows
    [..., G·B, A·size], a block for each, as in `connections.dense.linear`.
    """

    def __init__(self, n_out: int, size: int, gain: float = 1.0) -> None:
        super().__init__()
        directions = nn.functional.normalize(torch.randn(n_out, size), dim=-1)
        self.weight = nn.Parameter(gain * directions)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, rates: Tensor) -> Tensor:
        weight = self.weight
        bias = self.bias
        rates = rates.unflatten(-1, weight.shape[-2:])
        if weight.dim() == 2:
            return (rates * weight).sum(-1) + bias
        # [..., G, B, A, size] meets the weights [G, 1, A, size] of its group
        blocks = rates.unflatten(-3, (len(weight), -1))
        out = (blocks * weight.unsqueeze(1)).sum(-1) + bias.unsqueeze(1)
        return out.flatten(-3, -2)


def deterministic(currents: Tensor, ticks: int, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Spikes [K, B, N] float of integrate-and-fire neurons that the fields charge, and their
    membranes [B, N] after them.

        V ← V + A;   z = 1[V > 0.999];   V ← V - 0.999 z
            Tang et al. 2020 (PopSAN), constants of its code

    currents: A [B, N] in [0, 1], held for the K = `ticks` ticks; v: [B, N], what the last decision
    left, None for zero. From zero a field with 0 < A <= 0.999 fires ⌈K A / 0.999⌉ - 1 times, at
    even intervals.

    The threshold has no derivative; as in PopSAN's code the gradient passes straight through it,
    ∂z/∂V := 1, also into the reset. Then ∂z_k/∂A = (1 - 0.001^k) / 0.999 and the count's is about K
    / 0.999, the slope of the line that the count rounds: centres and widths can be learned through
    it. Raises ValueError for a v of another shape or ticks < 1.
    """
    check_ticks("deterministic", ticks)
    if v is None:
        v = torch.zeros_like(currents)
    if v.shape != currents.shape:
        raise ValueError(
            f"deterministic: v has shape {tuple(v.shape)}, "
            f"expected that of currents, {tuple(currents.shape)}"
        )
    spikes = []
    for _ in range(ticks):
        v = v + currents
        fired = (v > THRESHOLD).to(v.dtype)
        # exactly zero, and carries the gradient
        straight_through = v - v.detach()
        z = fired + straight_through
        v = v - THRESHOLD * z
        spikes.append(z)
    return torch.stack(spikes), v
