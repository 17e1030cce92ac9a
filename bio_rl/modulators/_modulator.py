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
        return tuple(modulator.init(batch, device) for modulator in self.modulators)

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
        inputs = {"error": error, "reward": reward}
        effects = Effects(
            learning_rate=torch.ones_like(error),
            inverse_temperature=torch.ones_like(error),
            discount=torch.full_like(error, discount),
            reset=torch.zeros_like(error, dtype=torch.bool),
        )
        after = []
        for modulator, state in zip(self.modulators, states, strict=True):
            level, new = modulator.step(state, inputs[modulator.reads], generator)
            after.append(new)
            reset = effects.reset | modulator.resets(state, new)
            effects = effects._replace(reset=reset, **{modulator.sets: modulator.effect(level)})
        return effects, tuple(after)
