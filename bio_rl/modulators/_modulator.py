"""The contract of a neuromodulator, and several of them acting together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Modulator(Protocol):
    """The constants of a neuromodulator, in a NamedTuple; `reads` and `sets` are attributes of the
    class.
    """

    @property
    def reads(self) -> str:
        """The input of `step`: "error", the prediction error δ of each decision, or "reward"."""
        ...

    @property
    def sets(self) -> str:
        """The field of Effects that its level sets, a meta-parameter of learning (Doya 2002)."""
        ...

    def init(self, batch: int, device: torch.device | None = None) -> Any:
        """The state of `batch` fresh lives."""
        ...

    def step(
        self, state: Any, x: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Any]:
        """(The level [B], state) after one decision with the error or the reward x [B]. generator:
        for those that draw; None is torch's own.
        """
        ...

    def effect(self, level: Tensor) -> Tensor:
        """The factor [B] of the learning rate or of the inverse temperature that a level makes; or
        the discount itself.
        """
        ...

    def resets(self, before: Any, after: Any) -> Tensor:
        """[B] bool, rows that should let go of beliefs that no longer hold, by the states before
        and after a decision.
        """
        ...


class Effects(NamedTuple):
    """The meta-parameters for the next decision; each [B]."""

    learning_rate: Tensor
    """A factor in [0, 1] of every learning rate; 1 where no modulator sets it."""
    inverse_temperature: Tensor
    """A factor in [0, 1] of the β of a softmax; 1 where no modulator sets it."""
    discount: Tensor
    """γ; the agent's own where no modulator sets it."""
    reset: Tensor
    """bool: let go of beliefs that no longer hold."""


class Together(NamedTuple):
    """Several neuromodulators at once, at most one for each meta-parameter."""

    modulators: tuple[Modulator, ...]

    def init(self, batch: int, device: torch.device | None = None) -> tuple[Any, ...]:
        """The states of all, for `batch` fresh lives."""
        states = []
        for modulator in self.modulators:
            states.append(modulator.init(batch, device))
        return tuple(states)

    def step(
        self,
        states: Sequence[Any],
        error: Tensor,
        reward: Tensor,
        discount: float,
        generator: torch.Generator | None = None,
    ) -> tuple[Effects, tuple[Any, ...]]:
        """(Effects on the next decision, states) after one with this error and reward [B].

        discount: the γ of the agent's settings, for where no modulator sets it.
        """
        # by the names that a modulator gives in `reads`
        inputs = {"error": error, "reward": reward}
        effects = no_effects(error, discount)
        after = []
        for modulator, state in zip(self.modulators, states, strict=True):
            x = inputs[modulator.reads]
            level, new = modulator.step(state, x, generator)
            after.append(new)

            # each sets a field of its own, and any of them may ask for a reset
            own_field = {modulator.sets: modulator.effect(level)}
            reset = effects.reset | modulator.resets(state, new)
            effects = effects._replace(reset=reset, **own_field)
        return effects, tuple(after)


def no_effects(like: Tensor, discount: float) -> Effects:
    """The Effects where no modulator sets anything, with the shape [B] of `like`."""
    return Effects(
        learning_rate=torch.ones_like(like),
        inverse_temperature=torch.ones_like(like),
        discount=torch.full_like(like, discount),
        reset=never(like),
    )


def never(like: Tensor) -> Tensor:
    """[B] bool, set nowhere, for `like` [B]."""
    return torch.zeros_like(like, dtype=torch.bool)
