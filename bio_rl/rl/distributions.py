"""Action distributions: how a network's output becomes a decision, one class per kind of action
space.

Actions of a Box are in units of its half-range around its centre, so [-1, 1] spans the bounds; the
vector adapter clips and scales. An unbounded Box is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import gymnasium as gym
import torch
from torch import Tensor, nn


class Distribution(Protocol):
    """Maps the output [..., n_out] of a network to actions [...] or [..., A]."""

    n_out: int

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        """The random numbers with which exploration samples from the outputs `out`."""
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
    """The distribution over actions of `space`. Raises ValueError for a space that none serves."""
    if isinstance(space, gym.spaces.Discrete):
        return Categorical(int(space.n))
    if isinstance(space, gym.spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return MultiCategorical([int(n) for n in space.nvec])
    if isinstance(space, gym.spaces.MultiBinary) and len(space.shape) == 1:
        return Bernoulli(space.shape[0])
    size = vector_size(space)
    if size:
        return DiagonalGaussian(size, log_std)
    known = "Discrete, 1-D MultiDiscrete, 1-D MultiBinary, 1-D float Box"
    raise ValueError(f"action space {space} cannot be served; known: {known}")


def vector_size(space: gym.Space) -> int:
    """The numbers of an action of a 1-D Box of floats; 0 for another space."""
    if not isinstance(space, gym.spaces.Box):
        return 0
    if len(space.shape) != 1 or space.dtype.kind != "f":
        return 0
    return space.shape[0]


def bounded_actions(space: gym.Space) -> int:
    """The numbers of an action of `space`.

    Raises ValueError where it is not a 1-D Box of floats with bounds.
    """
    size = vector_size(space)
    if isinstance(space, gym.spaces.Box) and size and space.is_bounded():
        return size
    known = "1-D float Box with bounds"
    raise ValueError(f"action space {space} cannot be served; known: {known}")


def gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise of the shape of `like`: argmax(logits + noise) is a sample of the
    softmax.
    """
    exponential = torch.empty_like(like).exponential_(generator=generator)
    # The logarithm of an exponential variable is the negative of a Gumbel one.
    return exponential.log_().neg_()


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
        logp = out.log_softmax(-1)
        chosen = action.unsqueeze(-1)
        return logp.gather(-1, chosen).squeeze(-1)

    def entropy(self, out: Tensor) -> Tensor:
        logp = out.log_softmax(-1)
        expected = logp.exp() * logp
        return -expected.sum(-1)

    def score(self, out: Tensor, action: Tensor) -> Tensor:
        """1[k = a] - π_k."""
        one_hot = torch.zeros_like(out)
        one_hot.scatter_(-1, action.unsqueeze(-1), 1.0)
        return one_hot - out.softmax(-1)

    def entropy_score(self, out: Tensor) -> Tensor:
        """-π_k (log π_k + H)."""
        logp = out.log_softmax(-1)
        entropy = self.entropy(out).unsqueeze(-1)
        return -out.softmax(-1) * (logp + entropy)


class MultiCategorical(nn.Module):
    """Independent softmaxes over n_1, n_2, … choices; actions [..., A] int64."""

    def __init__(self, choices: list[int]) -> None:
        super().__init__()
        self.choices = choices
        self.n_out = sum(choices)
        self.parts = [Categorical(n) for n in choices]

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        return gumbel(out, generator)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        return self.mode(out + noise)

    def mode(self, out: Tensor) -> Tensor:
        best = [part.argmax(-1) for part in self._split(out)]
        return torch.stack(best, -1)

    def log_prob(self, out: Tensor, action: Tensor) -> Tensor:
        logp = [
            part.log_prob(logits, chosen)
            for part, logits, chosen in self._with_actions(out, action)
        ]
        # The choices are independent: their log probabilities add.
        return torch.stack(logp).sum(0)

    def entropy(self, out: Tensor) -> Tensor:
        entropies = [
            part.entropy(logits) for part, logits in zip(self.parts, self._split(out), strict=True)
        ]
        return torch.stack(entropies).sum(0)

    def score(self, out: Tensor, action: Tensor) -> Tensor:
        scores = [
            part.score(logits, chosen) for part, logits, chosen in self._with_actions(out, action)
        ]
        return torch.cat(scores, -1)

    def entropy_score(self, out: Tensor) -> Tensor:
        scores = [
            part.entropy_score(logits)
            for part, logits in zip(self.parts, self._split(out), strict=True)
        ]
        return torch.cat(scores, -1)

    def _split(self, out: Tensor) -> Sequence[Tensor]:
        """The logits [..., n_i] of each choice."""
        return out.split(self.choices, -1)

    def _with_actions(
        self, out: Tensor, action: Tensor
    ) -> Iterator[tuple[Categorical, Tensor, Tensor]]:
        """(its softmax, logits [..., n_i], what was chosen [...]) of each choice."""
        return zip(
            self.parts,
            self._split(out),
            action.unbind(-1),
            strict=True,
        )


class Bernoulli(nn.Module):
    """n independent coins; actions [..., n] int64 in {0, 1}."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n_out = n

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        return torch.empty_like(out).uniform_(generator=generator)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        heads = noise < out.sigmoid()
        return heads.to(torch.int64)

    def mode(self, out: Tensor) -> Tensor:
        return (out > 0).to(torch.int64)

    def log_prob(self, out: Tensor, action: Tensor) -> Tensor:
        # log σ(x) = -softplus(-x), and 1 - σ(x) = σ(-x).
        negative = torch.where(action > 0, -out, out)
        return -nn.functional.softplus(negative).sum(-1)

    def entropy(self, out: Tensor) -> Tensor:
        p = out.sigmoid()
        entropy = nn.functional.softplus(out) - p * out
        return entropy.sum(-1)

    def score(self, out: Tensor, action: Tensor) -> Tensor:
        """a - σ(out)."""
        return action - out.sigmoid()

    def entropy_score(self, out: Tensor) -> Tensor:
        """-out σ(out) σ(-out)."""
        p = out.sigmoid()
        return -out * p * (-out).sigmoid()


class DiagonalGaussian(nn.Module):
    """Normal with a learned, state-independent standard deviation; actions [..., A]."""

    def __init__(self, n: int, log_std: float) -> None:
        super().__init__()
        self.n_out = n
        initial = torch.full((n,), float(log_std))
        self.log_std = nn.Parameter(initial)

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        return torch.empty_like(out).normal_(generator=generator)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        return out + self.log_std.exp() * noise

    def mode(self, out: Tensor) -> Tensor:
        return out

    def log_prob(self, out: Tensor, action: Tensor) -> Tensor:
        z = (action - out) * (-self.log_std).exp()
        constant = 0.5 * math.log(2 * math.pi) * self.n_out
        exponent = -0.5 * z.square().sum(-1)
        return exponent - self.log_std.sum() - constant

    def entropy(self, out: Tensor) -> Tensor:
        standard = 0.5 * math.log(2 * math.pi * math.e) * self.n_out
        entropy = self.log_std.sum() + standard
        # The same for every row, as the deviation is no output.
        return entropy.expand(out.shape[:-1])

    def score(self, out: Tensor, action: Tensor) -> Tensor:
        """(a - μ) / σ²."""
        precision = (-2.0 * self.log_std).exp()
        return (action - out) * precision

    def entropy_score(self, out: Tensor) -> Tensor:
        """0: σ is no output."""
        return torch.zeros_like(out)


class SquashedGaussian(nn.Module):
    """tanh of a normal whose mean and log standard deviation [..., A] each are outputs; actions in
    (-1, 1)^A.

    log π(a) = Σ log N(u; μ, σ) - log(1 - tanh²u),   a = tanh u        Haarnoja et al. 2018, arXiv
    1812.05905, appendix C
    """

    LOW = -20.0
    """Least log σ, that of the paper's code."""
    HIGH = 2.0
    """Greatest log σ, that of the paper's code."""
    EPSILON = 1e-6
    """Added to 1 - tanh²u, as in the paper's code: no action is infinitely likely."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        self.n_out = 2 * n

    def noise(self, out: Tensor, generator: torch.Generator) -> Tensor:
        """[..., A]."""
        shape = (*out.shape[:-1], self.n)
        return out.new_empty(shape).normal_(generator=generator)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = self._parts(out)
        u = mean + log_std.exp() * noise
        return u.tanh()

    def sample_and_log_prob(self, out: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(actions [..., A], their log probability [...]), differentiable by `out` through both."""
        mean, log_std = self._parts(out)
        u = mean + log_std.exp() * noise
        action = u.tanh()
        constant = 0.5 * math.log(2.0 * math.pi)
        normal = -0.5 * noise.square() - log_std - constant
        # The density of tanh u: that of u over the slope there.
        slope = 1.0 - action.square() + self.EPSILON
        logp = (normal - slope.log()).sum(-1)
        return action, logp

    def mode(self, out: Tensor) -> Tensor:
        mean = out[..., : self.n]
        return mean.tanh()

    def _parts(self, out: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = out.split(self.n, -1)
        bounded = log_std.clamp(self.LOW, self.HIGH)
        return mean, bounded
