"""Action distributions: how a network's output becomes a decision, one class per kind of action
space.

Actions of a Box are in units of its half-range around its centre, so [-1, 1] spans the bounds; the
vector adapter clips and scales. An unbounded Box is taken as it is.
"""

from __future__ import annotations

import math
from typing import Protocol

import gymnasium as gym
import torch
from torch import Tensor, nn


class Distribution(Protocol):
    """Maps the output [..., n_out] of a network to actions [...] or [..., A]."""

    n_out: int

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        """What exploration draws for the outputs `out`, of their shape."""
        ...

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        """The action that `noise` makes of `out`: a sample, where it was drawn for it."""
        ...

    def mode(self, out: Tensor) -> Tensor: ...
    def log_prob(self, out: Tensor, action: Tensor) -> Tensor: ...
    def entropy(self, out: Tensor) -> Tensor: ...
    def score(self, out: Tensor, action: Tensor) -> Tensor:
        """∂ log π(action) / ∂ out [..., n_out]: which way each output would have to move for the
        action to become likelier.
        """
        ...

    def entropy_score(self, out: Tensor) -> Tensor:
        """∂ entropy / ∂ out [..., n_out]."""
        ...


def for_space(
    space: gym.Space, log_std: float = 0.0
) -> Categorical | MultiCategorical | Bernoulli | DiagonalGaussian:
    """The distribution over actions of `space`. Raises ValueError for a space that none can serve."""
    if isinstance(space, gym.spaces.Discrete):
        return Categorical(int(space.n))
    if isinstance(space, gym.spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return MultiCategorical([int(n) for n in space.nvec])
    if isinstance(space, gym.spaces.MultiBinary) and len(space.shape) == 1:
        return Bernoulli(space.shape[0])
    if (
        isinstance(space, gym.spaces.Box)
        and len(space.shape) == 1
        and space.shape[0]
        and space.dtype.kind == "f"
    ):
        return DiagonalGaussian(space.shape[0], log_std)
    raise ValueError(
        f"action space {space} cannot be served; known: Discrete, 1-D MultiDiscrete, 1-D MultiBinary, 1-D float Box"
    )


def bounded_actions(space: gym.Space) -> int:
    """The dimensions of a float Box [A] with bounds. Raises ValueError for another space."""
    if (
        isinstance(space, gym.spaces.Box)
        and len(space.shape) == 1
        and space.dtype.kind == "f"
        and space.is_bounded()
        and space.shape[0]
    ):
        return space.shape[0]
    raise ValueError(f"action space {space} cannot be served; known: 1-D float Box with bounds")


def gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise of the shape of `like`: argmax(logits + noise) is a sample of the
    softmax.
    """
    return torch.empty_like(like).exponential_(generator=generator).log_().neg_()


class Categorical(nn.Module):
    """Softmax over n choices; actions [...] int64."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n_out = n

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        return gumbel(out, generator)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        return (out + noise).argmax(-1)

    def mode(self, out: Tensor) -> Tensor:
        return out.argmax(-1)

    def log_prob(self, out: Tensor, action: Tensor) -> Tensor:
        return out.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self, out: Tensor) -> Tensor:
        logp = out.log_softmax(-1)
        return -(logp.exp() * logp).sum(-1)

    def score(self, out: Tensor, action: Tensor) -> Tensor:
        """1[k = a] - π_k."""
        chosen = torch.zeros_like(out).scatter_(-1, action.unsqueeze(-1), 1.0)
        return chosen - out.softmax(-1)

    def entropy_score(self, out: Tensor) -> Tensor:
        """-π_k (log π_k + H)."""
        return -out.softmax(-1) * (out.log_softmax(-1) + self.entropy(out).unsqueeze(-1))


class MultiCategorical(nn.Module):
    """Independent softmaxes over n_1, n_2, … choices; actions [..., A] int64."""

    def __init__(self, choices: list[int]) -> None:
        super().__init__()
        self.choices, self.n_out = choices, sum(choices)
        self.parts = [Categorical(n) for n in choices]

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        return gumbel(out, generator)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        return self.mode(out + noise)

    def mode(self, out: Tensor) -> Tensor:
        return torch.stack([part.argmax(-1) for part in out.split(self.choices, -1)], -1)

    def log_prob(self, out: Tensor, action: Tensor) -> Tensor:
        parts = zip(self.parts, out.split(self.choices, -1), action.unbind(-1), strict=True)
        return torch.stack([p.log_prob(o, a) for p, o, a in parts]).sum(0)

    def entropy(self, out: Tensor) -> Tensor:
        return torch.stack(
            [p.entropy(o) for p, o in zip(self.parts, out.split(self.choices, -1), strict=True)]
        ).sum(0)

    def score(self, out: Tensor, action: Tensor) -> Tensor:
        parts = zip(self.parts, out.split(self.choices, -1), action.unbind(-1), strict=True)
        return torch.cat([p.score(o, a) for p, o, a in parts], -1)

    def entropy_score(self, out: Tensor) -> Tensor:
        return torch.cat(
            [
                p.entropy_score(o)
                for p, o in zip(self.parts, out.split(self.choices, -1), strict=True)
            ],
            -1,
        )


class Bernoulli(nn.Module):
    """n independent coins; actions [..., n] int64 in {0, 1}."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n_out = n

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        return torch.empty_like(out).uniform_(generator=generator)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        return (noise < out.sigmoid()).to(torch.int64)

    def mode(self, out: Tensor) -> Tensor:
        return (out > 0).to(torch.int64)

    def log_prob(self, out: Tensor, action: Tensor) -> Tensor:
        return -nn.functional.softplus(torch.where(action > 0, -out, out)).sum(-1)

    def entropy(self, out: Tensor) -> Tensor:
        p = out.sigmoid()
        return (nn.functional.softplus(out) - p * out).sum(-1)

    def score(self, out: Tensor, action: Tensor) -> Tensor:
        """a - σ(out)."""
        return action - out.sigmoid()

    def entropy_score(self, out: Tensor) -> Tensor:
        """-out σ(out) σ(-out)."""
        return -out * out.sigmoid() * (-out).sigmoid()


class DiagonalGaussian(nn.Module):
    """Normal with a learned, state-independent standard deviation; actions [..., A]."""

    def __init__(self, n: int, log_std: float) -> None:
        super().__init__()
        self.n_out = n
        self.log_std = nn.Parameter(torch.full((n,), float(log_std)))

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        return torch.empty_like(out).normal_(generator=generator)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        return out + self.log_std.exp() * noise

    def mode(self, out: Tensor) -> Tensor:
        return out

    def log_prob(self, out: Tensor, action: Tensor) -> Tensor:
        z = (action - out) * (-self.log_std).exp()
        return (
            -0.5 * z.square().sum(-1)
            - self.log_std.sum()
            - 0.5 * math.log(2 * math.pi) * self.n_out
        )

    def entropy(self, out: Tensor) -> Tensor:
        entropy = self.log_std.sum() + 0.5 * math.log(2 * math.pi * math.e) * self.n_out
        return entropy.expand(out.shape[:-1])

    def score(self, out: Tensor, action: Tensor) -> Tensor:
        """(a - μ) / σ²."""
        return (action - out) * (-2.0 * self.log_std).exp()

    def entropy_score(self, out: Tensor) -> Tensor:
        """0: σ is no output."""
        return torch.zeros_like(out)


class SquashedGaussian(nn.Module):
    """tanh of a normal whose mean and log standard deviation [..., A] each are outputs; actions in
    (-1, 1)^A.

    log π(a) = Σ log N(u; μ, σ) - log(1 - tanh²u),   a = tanh u        Haarnoja et al. 2018, arXiv
    1812.05905, appendix C
    """

    LOW, HIGH = -20.0, 2.0
    """Bounds of log σ, those of the paper's code."""
    EPSILON = 1e-6
    """Added to 1 - tanh²u, as in the paper's code: no action is infinitely likely."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n, self.n_out = n, 2 * n

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        """[..., A]."""
        return out.new_empty(*out.shape[:-1], self.n).normal_(generator=generator)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = self._parts(out)
        return (mean + log_std.exp() * noise).tanh()

    def sample_and_log_prob(self, out: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(actions [..., A], their log probability [...]), differentiable by `out` through both."""
        mean, log_std = self._parts(out)
        u = mean + log_std.exp() * noise
        action = u.tanh()
        normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
        return action, (normal - (1.0 - action.square() + self.EPSILON).log()).sum(-1)

    def mode(self, out: Tensor) -> Tensor:
        return out[..., : self.n].tanh()

    def _parts(self, out: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = out.split(self.n, -1)
        return mean, log_std.clamp(self.LOW, self.HIGH)
