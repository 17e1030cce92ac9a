"""Learned encoders: pictures and tokens as numbers, in front of any network and trained with it.

Each network has an encoder of its own, so that a critic's gradients never move what an actor sees.
What an encoder adds has mean 0 and deviation 1 over its units (Ba et al. 2016), the scale of
normalised observations, which population codes expect.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bio_rl.contracts import Network, Percept, Probe, State
from bio_rl.networks import Blueprint, cnn
from bio_rl.networks._init import orthogonal
from bio_rl.rl.observations import Mixed, Picture, Tokens

PICTURE_FEATURES = 64
"""Numbers that a picture becomes (Yarats et al. 2021, SAC+AE, have 50)."""
TOKEN_FEATURES = 32
"""Numbers that a row of tokens becomes."""


def build(network: Blueprint, size: int | Mixed, n_out: int, out_gain: float = 1.0) -> Network:
    """A network to [B, n_out] for features of `size` (`observations.Features`), behind an encoder
    where they need one.

    Raises ValueError for a network that looks at pictures where there is not exactly one picture.
    """
    if not network.image:
        if isinstance(size, int):
            return network.build(size, n_out, out_gain)
        encoder = Encoder(size)
        return Encoded(encoder, network.build(encoder.size, n_out, out_gain))
    if (
        isinstance(size, int)
        or size.flat
        or len(size.others) != 1
        or not isinstance(size.others[0], Picture)
    ):
        raise ValueError(
            f"these observations cannot be served by {network.name}, a network for pictures; known: one Box of bytes "
            "[H, W, C] or [C, H, W]; networks of another kind, such as mlp, take any, pictures included"
        )
    return Encoded(AsFloat(size.others[0]), network.build(size.others[0].shape, n_out, out_gain))


class Encoded(Network):
    """A network behind an encoder: see `types.Network`."""

    def __init__(self, encoder: nn.Module, network: Network) -> None:
        super().__init__()
        self.encoder, self.network = encoder, network

    def initial_state(self, batch: int) -> State:
        return self.network.initial_state(batch)

    def forward(self, x: Percept, state: State, probe: Probe | None = None) -> tuple[Tensor, State]:
        return self.network(x._replace(obs=self.encoder(x.obs, probe)), state, probe)

    def unroll(self, xs: Percept, state: State) -> tuple[Tensor, State]:
        return self.network.unroll(xs._replace(obs=self.encoder(xs.obs)), state)

    def anneal(self, progress: float) -> None:
        """Of the network, where it follows a schedule."""
        self.network.anneal(progress)

    def regulate(self, probe: Probe) -> None:
        """Of the network, where it regulates itself."""
        self.network.regulate(probe)


class AsFloat(nn.Module):
    """The one picture of a tuple of features, bytes in any order of axes, as [..., C, H, W] in [0,
    1]. Nothing is learned.
    """

    def __init__(self, picture: Picture) -> None:
        super().__init__()
        self.axes, self.high = picture.axes, picture.high

    def forward(self, features: tuple[Tensor], probe: Probe | None = None) -> Tensor:
        (obs,) = features
        lead = obs.dim() - 3
        return (
            obs.permute(*range(lead), *(lead + axis for axis in self.axes)).to(torch.float32)
            / self.high
        )


class Encoder(nn.Module):
    """Features as `Mixed` says to one vector [..., size]: the numbers, then each picture and each
    row of tokens encoded.
    """

    def __init__(self, features: Mixed) -> None:
        super().__init__()
        self.flat = features.flat
        self.parts = nn.ModuleList(
            PictureEncoder(other, name) if isinstance(other, Picture) else TokenEncoder(other)
            for other, name in zip(features.others, features.names, strict=True)
        )
        self.size = self.flat + sum(part.size for part in self.parts)

    def forward(self, features: tuple[Tensor, ...], probe: Probe | None = None) -> Tensor:
        numbers, others = (features[:1], features[1:]) if self.flat else ((), features)
        encoded = [part(x, probe) for part, x in zip(self.parts, others, strict=True)]
        return torch.cat((*numbers, *encoded), -1)


class PictureEncoder(nn.Module):
    """A picture, bytes, to [..., PICTURE_FEATURES] by the convolutions of `cnn` and a dense layer."""

    def __init__(self, picture: Picture, name: str) -> None:
        super().__init__()
        self.name, self.size = f"encoder {name}".strip(), PICTURE_FEATURES
        self.look = AsFloat(picture)
        self.trunk = cnn.Trunk(picture.shape, cnn.fit(*picture.shape[1:]))
        self.dense = orthogonal(nn.Linear(self.trunk.size, PICTURE_FEATURES), 1.0)
        self.norm = nn.LayerNorm(PICTURE_FEATURES, elementwise_affine=False)

    def forward(self, obs: Tensor, probe: Probe | None = None) -> Tensor:
        seen = self.trunk(self.look((obs,)), probe, f"{self.name} conv")
        if probe is not None:
            probe.synapses(f"{self.name} dense", self.dense.weight, seen)
        return self.norm(self.dense(seen))


class TokenEncoder(nn.Module):
    """Tokens w_1..w_J to [..., TOKEN_FEATURES]: the mean over positions of their embeddings,
    weighted so that the order counts.

    m = Σ_j l_j ∘ E w_j,   l_jk = (1 - j/J) - (k/d)(1 - 2j/J)      Sukhbaatar et al. 2015, §4.1,
    "position encoding"

    The first of the vocabulary, which most worlds fill up with, adds nothing. A look-up multiplies
    nothing, so a probe is told nothing.
    """

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.first, self.size = tokens.first, TOKEN_FEATURES
        self.embedding = nn.Embedding(tokens.words, TOKEN_FEATURES, padding_idx=0)
        j = torch.arange(1, tokens.positions + 1).unsqueeze(1) / tokens.positions
        k = torch.arange(1, TOKEN_FEATURES + 1) / TOKEN_FEATURES
        self.place = nn.Buffer((1 - j) - k * (1 - 2 * j), persistent=False)
        self.norm = nn.LayerNorm(TOKEN_FEATURES, elementwise_affine=False)

    def forward(self, obs: Tensor, probe: Probe | None = None) -> Tensor:
        return self.norm((self.embedding(obs - self.first) * self.place).mean(-2))
