"""Several seeds of an agent in one program, one after the other: for agents that no batched form
serves.

Rows [G·B, ...] are G blocks, each the lives of one seed. Every seed has an agent of its own, which
sees its block alone, so that it learns bit by bit what it would learn alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from bio_rl.contracts import ActOut, Percept, Probe, Rollout, State
from bio_rl.groups import blocks
from bio_rl.rl.base import Agent, Spec
from bio_rl.rl.clock import Horizon
from bio_rl.state import tree_map


class OneByOne:
    """Agents of several seeds as one (`contracts.Agent`)."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        """agents: one for each seed, alike but for it."""
        self.agents = list(agents)
        self.replay = None  # each agent has its own, if any
        self.rollout = agents[0].rollout
        self.device = agents[0].device

    def initial_state(self, batch: int) -> State:
        each = batch // len(self.agents)
        return _together([agent.initial_state(each) for agent in self.agents])

    def act(
        self, percept: Percept, state: State, explore: bool = True, probe: Probe | None = None
    ) -> ActOut:
        decided = self._each(
            lambda agent, percept, state: agent.act(percept, state, explore, probe),
            (percept, 0),
            (state, 0),
        )
        return _together(decided)

    def update(self, rollout: Rollout, state: State) -> tuple[State, dict[str, list[Any]]]:
        """Every seed learns from its block; what they report is a list, one entry a seed."""
        # of a rollout the steps and the states have time before rows, the next percept has not
        updated = self._each(
            lambda agent, steps, states, following, state: agent.update(
                Rollout(steps, states, following), state
            ),
            (rollout.steps, 1),
            (rollout.states, 1),
            (rollout.next, 0),
            (state, 0),
        )
        states = [state for state, _ in updated]
        reports = [report for _, report in updated]
        common = set(reports[0]).intersection(*reports[1:])
        return _together(states), {name: [r[name] for r in reports] for name in sorted(common)}

    def trained_tensors(self) -> Iterable[Tensor]:
        return chain.from_iterable(agent.trained_tensors() for agent in self.agents)

    def check_memory(self) -> str:
        """The memory that the first agent will take, in words; every other takes as much."""
        return self.agents[0].check_memory()

    def member(self, i: int) -> Agent:
        """A copy of the agent of the i-th seed, as it is now."""
        agent = self.agents[i]
        one = agent.alone(0)
        one.load_state_dict(agent.state_dict())
        return one

    def state_dict(self) -> dict[str, Any]:
        return {str(i): agent.state_dict() for i, agent in enumerate(self.agents)}

    def learned_state(self) -> dict[str, Any]:
        """`state_dict` without the rows of replays."""
        return {str(i): agent.learned_state() for i, agent in enumerate(self.agents)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, agent in enumerate(self.agents):
            agent.load_state_dict(state[str(i)])

    def _each(self, run: Callable[..., Any], *trees: tuple[Any, int]) -> list[Any]:
        """The results of `run` for each agent and its block of every tree, whose rows are at an
        axis.
        """
        parts = [blocks(tree, len(self.agents), axis) for tree, axis in trees]
        return [run(agent, *own) for agent, *own in zip(self.agents, *parts, strict=True)]


def of_seeds(
    kind: type[Agent],
    spec: Spec,
    *,
    horizon: Horizon,
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
) -> Agent | OneByOne:
    """An agent of that kind for one seed, or for several: as one batched program where the kind
    has such a form, else one by one.
    """
    if len(seeds) == 1 or kind.batches(spec):
        seed = seeds[0] if len(seeds) == 1 else seeds
        return kind(*spec, horizon=horizon, seed=seed, device=device)
    return OneByOne([kind(*spec, horizon=horizon, seed=s, device=device) for s in seeds])


def _together(parts: Sequence[Any]) -> Any:
    """The trees of several seeds as one, their rows in blocks."""
    return tree_map(lambda *x: torch.cat(x), *parts)
