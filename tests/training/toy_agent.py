"""The smallest agent that fulfils the contract, also for several seeds: it acts at random, and its
one weight is the sum of rewards, so that each seed can be told to the last bit from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bio_rl import contracts
from bio_rl.contracts import ActOut, Metrics, Percept, Probe, Rollout, Steps
from bio_rl.rl.clock import Horizon


@dataclass(frozen=True, kw_only=True)
class Config:
    spoilt: int = -1
    """The seed that goes wrong; -1 for none."""
    at: int = 5
    """The update from which on it does."""
    how: str = "weights"
    """What is NaN then: weights, loss or action."""
    lr: float = 1.0
    """The weight of a reward."""


class Agent(contracts.Agent):
    """Rows [G·B, ...] are the environments of G seeds."""

    teaches = ()

    def __init__(
        self, config: Config, network: Any, observation_space: Any, action_space: Any, *,
        horizon: Horizon, seed: int | Sequence[int] = 0, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.made_from = config, network, observation_space, action_space
        self.config, self.horizon = config, horizon
        self.discrete = hasattr(action_space, "n")
        self.seeds = [seed] if isinstance(seed, int) else list(seed)
        self.device = torch.device(device)
        self.rollout = Steps(2)
        self.generators = [torch.Generator().manual_seed(s) for s in self.seeds]
        self.weight = torch.zeros(len(self.seeds))
        self.updates = torch.zeros((), dtype=torch.int64)

    @classmethod
    def batches(cls, spec: Any) -> bool:
        return True

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def act(
        self, percept: Percept, state: Any, explore: bool = True, probe: Probe | None = None
    ) -> ActOut:
        rows = len(percept.reward) // len(self.seeds)
        if not explore:
            drawn = torch.zeros(len(percept.reward))
        else:
            drawn = torch.cat([torch.rand(rows, generator=g) for g in self.generators])
        if self.discrete:
            return ActOut((drawn > 0.5).long(), {}, ())
        return ActOut((drawn + self._spoil("action", rows)).unsqueeze(-1), {}, ())

    def _spoil(self, how: str, rows: int = 1) -> Tensor:
        """[G·rows] zeros, NaN for the spoilt seed where this is what goes wrong with it."""
        bad = self.config.how == how and int(self.updates) >= self.config.at
        marks = [float("nan") if bad and s == self.config.spoilt else 0.0 for s in self.seeds]
        return torch.tensor(marks).repeat_interleave(rows)

    def update(self, rollout: Rollout, state: Any) -> tuple[Any, Metrics]:
        self.updates += 1
        by_seed = rollout.steps.reward.sum(0).view(len(self.seeds), -1).sum(1)
        self.weight = self.weight + self.config.lr * by_seed + self._spoil("weights")
        loss = by_seed + self._spoil("loss")
        return state, {"train/loss": loss if len(self.seeds) > 1 else loss.squeeze()}

    def trained_tensors(self) -> list[Tensor]:
        return [self.weight]

    def state_dict(self) -> dict[str, Any]:
        generators = torch.stack([g.get_state() for g in self.generators])
        return {"weight": self.weight, "updates": self.updates, "generators": generators}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight, self.updates = state["weight"].clone(), state["updates"].clone()
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.clone())  # torch crashes over a view with an offset

    def member(self, i: int) -> Agent:
        one = Agent(*self.made_from, horizon=self.horizon, seed=self.seeds[i], device=self.device)
        own = slice(i, i + 1)
        state = self.state_dict()
        one.load_state_dict(
            {**state, "weight": state["weight"][own], "generators": state["generators"][own]}
        )
        return one
