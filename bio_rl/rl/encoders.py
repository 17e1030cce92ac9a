"""Learned encoders: pictures and tokens as numbers, in front of any network and trained with it.

Each network has an encoder of its own, so that a critic's gradients never move what an actor sees.
What an encoder adds has mean 0 and deviation 1 over its units (Ba et al. 2016), the scale of
normalised observations, which population codes expect.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bio_rl.contracts import Network, Percept, Probe, State
from bio_rl.networks import Blueprint, _parts, cnn
from bio_rl.networks._init import orthogonal
from bio_rl.parts import INPUT, Cost, Part
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
    picture = only_picture(size)
    if picture is None:
        raise ValueError(
            f"these observations cannot be served by {network.name}, a network for pictures; "
            "known: one Box of bytes [H, W, C] or [C, H, W]; "
            "networks of another kind, such as mlp, take any, pictures included"
        )
    return Encoded(AsFloat(picture), network.build(picture.shape, n_out, out_gain))


def only_picture(size: int | Mixed) -> Picture | None:
    """The picture that features consist of; None where they are anything else or more."""
    if isinstance(size, int) or size.flat or len(size.others) != 1:
        return None
    (only,) = size.others
    return only if isinstance(only, Picture) else None


class Encoded(Network):
    """A network behind an encoder: see `contracts.Network`."""

    def __init__(self, encoder: AsFloat | Encoder, network: Network) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network

    def initial_state(self, batch: int) -> State:
        return self.network.initial_state(batch)

    def forward(self, x: Percept, state: State, probe: Probe | None = None) -> tuple[Tensor, State]:
        return self.network(x._replace(obs=self.encoder(x.obs, probe)), state, probe)

    def unroll(self, xs: Percept, state: State) -> tuple[Tensor, State]:
        return self.network.unroll(xs._replace(obs=self.encoder(xs.obs)), state)

    def anneal(self, progress: float) -> None:
        """Set what follows a schedule in the network."""
        self.network.anneal(progress)

    @property
    def follows_schedule(self) -> bool:
        """Whether the network follows a schedule."""
        return self.network.follows_schedule

    def regulate(self, probe: Probe) -> None:
        """Let the network regulate itself."""
        self.network.regulate(probe)

    def parts(self) -> tuple[Part, ...]:
        parts = list(self.encoder.graph())
        given = parts[-1].name
        for part in self.network.parts():
            # what the network takes for its input is what the encoder gives
            sources = (given if s == INPUT else s for s in part.sources)
            parts.append(part._replace(sources=tuple(sources)))
        return tuple(parts)


class AsFloat(nn.Module):
    """The one picture of a tuple of features, bytes in any order of axes, as [..., C, H, W] in [0,
    1]. Nothing is learned.
    """

    def __init__(self, picture: Picture) -> None:
        super().__init__()
        self.axes = picture.axes
        self.high = picture.high
        self.size = math.prod(picture.shape)

    def forward(self, features: tuple[Tensor], probe: Probe | None = None) -> Tensor:
        (obs,) = features
        leading = obs.dim() - 3
        # Time and rows stay in front; only the last three axes change places.
        axes = (leading + axis for axis in self.axes)
        channels_first = obs.permute(*range(leading), *axes)
        return channels_first.to(torch.float32) / self.high

    def graph(self, name: str = "picture") -> tuple[Part, ...]:
        """It as a part of a network, called `name`."""
        scaled = Cost(macs=float(self.size))
        return (_parts.code(name, "as_float", self.size, INPUT, module=self, cost=scaled),)


def normed(n: int) -> Cost:
    """The arithmetic of a layer norm of n numbers: their mean, their squares, and their scaling."""
    return Cost(adds=2.0 * n, macs=2.0 * n, functions=1.0)


class Encoder(nn.Module):
    """Features as `Mixed` says to one vector [..., size]: the numbers, then each picture and each
    row of tokens encoded.
    """

    def __init__(self, features: Mixed) -> None:
        super().__init__()
        self.flat = features.flat
        encoders = [
            PictureEncoder(other, name) if isinstance(other, Picture) else TokenEncoder(other, name)
            for other, name in zip(features.others, features.names, strict=True)
        ]
        self.parts = _parts.module_list(encoders)
        self.size = self.flat + sum(encoder.size for encoder in encoders)

    def forward(self, features: tuple[Tensor, ...], probe: Probe | None = None) -> Tensor:
        # The numbers come first, where there are any.
        begin = 1 if self.flat else 0
        numbers = features[:begin]
        others = features[begin:]
        encoded = [part(x, probe) for part, x in zip(self.parts, others, strict=True)]
        return torch.cat((*numbers, *encoded), -1)

    def graph(self) -> tuple[Part, ...]:
        """It as parts of a network, those of each encoder and last the vector of all."""
        parts: list[Part] = []
        sources = [INPUT] if self.flat else []
        for encoder in self.parts:
            parts += encoder.graph()
            sources.append(parts[-1].name)
        together = _parts.code("features", "together", self.size, *sources)
        return (*parts, together)


class PictureEncoder(nn.Module):
    """A picture of bytes to [..., PICTURE_FEATURES] by the convolutions of `cnn` and a dense
    layer.
    """

    def __init__(self, picture: Picture, name: str) -> None:
        super().__init__()
        self.name = f"encoder {name}".strip()
        self.size = PICTURE_FEATURES
        self.look = AsFloat(picture)
        layers = cnn.fit(*picture.shape[1:])
        self.trunk = cnn.Trunk(picture.shape, layers)
        self.dense = orthogonal(nn.Linear(self.trunk.size, PICTURE_FEATURES), 1.0)
        self.norm = nn.LayerNorm(PICTURE_FEATURES, elementwise_affine=False)

    def forward(self, obs: Tensor, probe: Probe | None = None) -> Tensor:
        picture = self.look((obs,))
        seen = self.trunk(picture, probe, f"{self.name} conv")
        if probe is not None:
            probe.synapses(f"{self.name} dense", self.dense.weight, seen)
        dense = self.dense(seen)
        return self.norm(dense)

    def graph(self) -> tuple[Part, ...]:
        """It as parts of a network, what it gives last."""
        (picture,) = self.look.graph(f"{self.name} picture")
        trunk = self.trunk.parts(picture.name, f"{self.name} conv")
        dense = _parts.connection(f"{self.name} dense", self.dense, self.size, trunk[-1].name)
        norm = _parts.code(
            self.name,
            "layer_norm",
            self.size,
            dense.name,
            module=self.norm,
            cost=normed(self.size),
        )
        return (picture, *trunk, dense, norm)


class TokenEncoder(nn.Module):
    """Tokens w_1..w_J to [..., TOKEN_FEATURES]: the mean over positions of their embeddings,
    weighted so that the order counts.

    m = Σ_j l_j ∘ E w_j,   l_jk = (1 - j/J) - (k/d)(1 - 2j/J)      Sukhbaatar et al. 2015, §4.1,
    "position encoding"

    The first of the vocabulary, which most worlds fill up with, adds nothing. A look-up multiplies
    nothing, so a probe is told nothing.
    """

    def __init__(self, tokens: Tokens, name: str = "") -> None:
        super().__init__()
        self.name = f"encoder {name}".strip()
        self.first = tokens.first
        self.size = TOKEN_FEATURES
        self.embedding = nn.Embedding(tokens.words, TOKEN_FEATURES, padding_idx=0)
        j = torch.arange(1, tokens.positions + 1).unsqueeze(1) / tokens.positions
        k = torch.arange(1, TOKEN_FEATURES + 1) / TOKEN_FEATURES
        self.place = nn.Buffer((1 - j) - k * (1 - 2 * j), persistent=False)
        self.norm = nn.LayerNorm(TOKEN_FEATURES, elementwise_affine=False)

    def forward(self, obs: Tensor, probe: Probe | None = None) -> Tensor:
        words = self.embedding(obs - self.first)
        # [..., J, d]: each position weighs the d numbers of its word in its own way.
        sentence = (words * self.place).mean(-2)
        return self.norm(sentence)

    def graph(self) -> tuple[Part, ...]:
        """It as a part of a network."""
        # each number of each word meets the weight of its place
        placed = float(self.place.numel())
        norm = normed(self.size)
        cost = norm._replace(macs=norm.macs + placed)
        return (_parts.code(self.name, "embedding", self.size, INPUT, module=self, cost=cost),)
