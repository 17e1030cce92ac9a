"""Parts that learners without backpropagation share: the networks that they can teach, and the gate
that dopamine passes, with its controls.

A claim about dopamine needs its controls: with `shuffled` a synapse receives a prediction error of
some other moment, of the same distribution, and with `none` it receives nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bio_rl.contracts import Network
from bio_rl.discovery import suggestion
from bio_rl.faults import DivergedError
from bio_rl.networks import Blueprint
from bio_rl.plasticity.three_factor import ThreeFactor
from bio_rl.rl.base import Agent

BY_DECISION = ThreeFactor(tau_e=math.inf, lr=1.0)
"""The three-factor rule of synapses whose learner says at each decision how fast they learn and how
much of their eligibility is left.
"""
DOPAMINE = ("rpe", "shuffled", "none")
"""Names of what may gate plasticity."""
MOMENTS = 1024
"""Past prediction errors from which shuffled dopamine is drawn."""


class DopamineGate(nn.Module):
    """Turns prediction errors into the dopamine that synapses receive."""

    past: Tensor | None
    """[G, MOMENTS] the last prediction errors of each seed; None unless they are shuffled."""

    def __init__(self, kind: str, groups: int = 1) -> None:
        """kind: rpe, shuffled or none. Raises ValueError for another."""
        super().__init__()
        if kind not in DOPAMINE:
            raise ValueError(f"dopamine is {kind!r}; {suggestion(kind, DOPAMINE)}")
        self.kind = kind
        past = torch.zeros(groups, MOMENTS) if kind == "shuffled" else None
        self.register_buffer("past", past)

    def forward(
        self, rpe: Tensor, generators: Sequence[torch.Generator], here: Tensor | None = None
    ) -> Tensor:
        """Dopamine [G·B] for the prediction errors rpe [G·B].

        generators: one for each seed. here: [G·B] bool, where dopamine comes at all; everywhere by
        default.
        """
        if self.past is None:
            return rpe if self.kind == "rpe" else torch.zeros_like(rpe)
        comes = rpe.chunk(len(self.past)) if here is None else self._coming(rpe, here)
        size = len(rpe) // len(self.past)
        moments, drawn = [], []
        for past, new, generator in zip(self.past, comes, generators, strict=True):
            moments.append(torch.cat((past, new))[-MOMENTS:])
            choice = torch.randint(MOMENTS, (size,), generator=generator, device=rpe.device)
            drawn.append(moments[-1][choice])
        self.past.copy_(torch.stack(moments))
        shuffled = torch.cat(drawn)
        return shuffled if here is None else torch.where(here, shuffled, 0.0)

    def _coming(self, rpe: Tensor, here: Tensor) -> list[Tensor]:
        """The prediction errors of each seed in the rows where dopamine comes."""
        groups = len(self.past) if self.past is not None else 1
        blocks = zip(rpe.chunk(groups), here.chunk(groups), strict=True)
        return [errors[rows] for errors, rows in blocks]


def build_teachable(
    agent: Agent,
    network: Blueprint,
    n_out: int,
    suits: Callable[[Network], bool],
    out_gain: float = 1.0,
) -> Network:
    """The network of `agent`, from its features to `n_out` outputs.

    suits: whether the agent can teach a network, by what this is and not by its name. Raises
    ValueError, which says what the agent teaches, for one that it cannot.
    """
    if not network.image:
        made = network.build(agent.numbers(), n_out, out_gain)
        if suits(made):
            return made
    if network.name in agent.teaches:
        raise ValueError(
            f"{agent.name} cannot teach {network.name} with these settings of it; "
            "with its defaults it can"
        )
    raise ValueError(
        f"{agent.name} cannot teach {network.name}; it teaches: {', '.join(agent.teaches)}"
    )


def check_finite(total: float, agent: str, settings: Sequence[str]) -> None:
    """Raise DivergedError where the sum or mean of prediction errors is not a number.

    settings: the learning rates of `agent` that most likely made its critic diverge.
    """
    if math.isfinite(total):
        return
    names = " or ".join(f"{agent}.{name}" for name in settings)
    raise DivergedError(
        f"dopamine is NaN or infinite: the critic diverged; a lower {names} or fewer environments "
        "help"
    )


class Readout(nn.Module):
    """The weights onto the outputs of each seed, the critic's last; zero at first."""

    def __init__(self, groups: int, n_out: int, n: int) -> None:
        super().__init__()
        self.weight = nn.Buffer(torch.zeros(groups, n_out, n))
        """[G, outputs + 1, N]."""
