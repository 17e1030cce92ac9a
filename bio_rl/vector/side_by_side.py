"""Environments of several seeds as one batch, whose rows are blocks: one seed after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bio_rl.faults import DivergedError, SeedDivergedError
from bio_rl.state import tree_map
from bio_rl.vector.interface import Ended, Step, TensorVectorEnv


class SideBySide(TensorVectorEnv):
    """Vectors of one kind as one. `reset(seed)` starts the i-th as it would be alone with seed + i.

    A seed whose training is over is stopped with `stop`: its rows stay, so that every block keeps
    its place, but its world stands still.
    """

    def __init__(self, vectors: Sequence[TensorVectorEnv]) -> None:
        self.vectors = list(vectors)
        first = vectors[0]
        self.device = first.device
        self.mode = first.mode
        self.observation_space = first.observation_space
        self.action_space = first.action_space
        self.num_envs = sum(vector.num_envs for vector in self.vectors)
        self._still: dict[int, Step] = {}
        """The step that each stopped vector repeats."""
        self._last: list[Step | None] = [None] * len(self.vectors)

    @property
    def exact(self) -> bool:
        return self.vectors[0].exact

    def no_action(self) -> Tensor:
        return torch.cat([vector.no_action() for vector in self.vectors])

    def reset(self, seed: int | None = None, stream: int = 0) -> Any:
        obs = [
            vector.reset(None if seed is None else seed + i, stream)
            for i, vector in enumerate(self.vectors)
        ]
        return tree_map(lambda *blocks: torch.cat(blocks), *obs)

    def step(self, action: Tensor) -> Step:
        """The steps of all vectors as one. Raises SeedDivergedError for an action of NaN."""
        # [G·B, ...] as G blocks of B.
        parts = action.chunk(len(self.vectors))
        steps = [self._step_of(i, part) for i, part in enumerate(parts)]
        self._last = list(steps)
        has_junk = any(step.valid is not None for step in steps)
        # torch.cat needs a tensor of every vector, also of one whose rows are all valid.
        whole = [step._replace(valid=_valid(step)) for step in steps]
        joined = tree_map(lambda *blocks: torch.cat(blocks), *whole)
        return joined if has_junk else joined._replace(valid=None)

    def _step_of(self, i: int, action: Tensor) -> Step:
        if i in self._still:
            return self._still[i]
        try:
            return self.vectors[i].step(action)
        except DivergedError as error:
            raise SeedDivergedError(i, str(error)) from error

    def stop(self, i: int) -> None:
        """Let the i-th vector stand still: its next steps earn nothing, end nothing, show the same.

        Its rows stay valid, so that counts over all rows remain those of the other seeds.
        """
        last = self._last[i]
        if last is None:
            return
        never = torch.zeros_like(last.reset)
        self._still[i] = Step(
            obs=last.obs,
            reward=torch.zeros_like(last.reward),
            terminated=never,
            truncated=never,
            final_obs=last.obs,
            reset=never,
            valid=None,
        )

    def take_episodes(self) -> list[Ended]:
        # Row r of vector i is row i·B + r of all.
        rows = self.vectors[0].num_envs
        return [
            end._replace(row=end.row + i * rows)
            for i, vector in enumerate(self.vectors)
            for end in vector.take_episodes()
        ]

    def close(self) -> None:
        for vector in self.vectors:
            vector.close()


def _valid(step: Step) -> Tensor:
    return torch.ones_like(step.reset) if step.valid is None else step.valid
