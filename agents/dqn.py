"""Deep Q-learning, with double, dueling, n-step and prioritised forms as options.
    Mnih et al. 2015, Nature 518

    y = Σ_{i<m} γ^i r_{t+i} + γ^m (1 - terminated) Q'(s', argmax_a Q(s', a)),   m ≤ n
        double: van Hasselt et al. 2016
    J = huber(Q(s, a) - y)
        prioritised: Schaul et al. 2016
    Q_a = V + A_a - mean A
        dueling: Wang et al. 2016

Without `double` Q' itself chooses. A spiking network's values are the membranes of neurons that do
not spike, when their readout integrates (`--spiking.tau-out 0`), or follow its leaky average: Chen
et al. 2022, arXiv 2201.09754.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl.checks import check_settings
from bio_rl.contracts import Metrics, State, Transition
from bio_rl.networks import Blueprint
from bio_rl.rl.clock import Horizon
from bio_rl.rl.off_policy import Learner, OffPolicy, actors, copied
from bio_rl.rl.replay import Drawn
from bio_rl.rl.targets import last_of_sum, n_step_target, next_outputs
from bio_rl.state import index, tree_map


@dataclass(frozen=True, kw_only=True)
class Config(OffPolicy):
    learning_rate: float = 6e-4
    """Of Adam."""
    explore: tuple[float, float] = (1.0, 0.05)
    """Share of random actions at first, and from `explore_until` on."""
    explore_until: float = 0.2
    """Share of the run over which it falls."""
    target_every: int = 250
    """Gradient steps after which the target network is a copy of the network."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm."""
    double: bool = True
    """The network chooses the next action, its target values it."""
    dueling: bool = False
    """One output is the state's value, the others are advantages."""
    n_step: int = 1
    """Steps whose rewards are summed before the value of what follows."""
    priority: float = 0.0
    """α, how much errors decide what is learned from; 0 for evenly, 0.6 as published."""
    priority_beta: float = 0.4
    """β, how much weights make up for that at first; 1 at the end of the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            self,
            positive=("learning_rate", "target_every", "max_grad_norm", "n_step"),
            unit=("explore_until", "priority", "priority_beta"),
        )
        self._refuse(
            len(self.explore) != 2 or not 0 <= min(self.explore) <= max(self.explore) <= 1,
            "explore",
            "two shares",
        )


class Agent(Learner):
    """See `types.Agent`."""

    targets: ClassVar = {"target": "values"}

    def __init__(
        self, config: Config, network: Blueprint, observation_space: gym.Space, action_space: gym.Space, *, horizon: Horizon,
        seed: int | Sequence[int] = 0, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        """Raises ValueError for a space or a network that it cannot serve."""
        own = {"n_step": config.n_step, "alpha": config.priority}
        super().__init__(
            config,
            network,
            observation_space,
            action_space,
            horizon=horizon,
            seed=seed,
            device=device,
            **own,
        )

    def build(self, network: Blueprint, action_space: gym.Space) -> None:
        if not isinstance(action_space, gym.spaces.Discrete):
            raise ValueError(f"action space {action_space} cannot be served; known: Discrete")
        self.n = int(action_space.n)
        self.actor = actors(network, self.features.size, self.n + self.config.dueling, self.seeds)
        """The network of values."""
        self.target = copied(self.actor)
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.int64))
        """Gradient steps so far."""
        self.optimised, self.rates = {"values": self.actor}, {"values": self.config.learning_rate}

    def values(self, out: Tensor) -> Tensor:
        """Q [..., actions] of the network's outputs."""
        if not self.config.dueling:
            return out
        value, advantage = out[..., :1], out[..., 1:]
        return value + advantage - advantage.mean(-1, keepdim=True)

    def greedy(self, out: Tensor) -> Tensor:
        return self.values(out).argmax(-1)

    def explore(self, out: Tensor) -> Tensor:
        first, last = self.config.explore
        fallen = (
            min(1.0, self.clock.lived / self.config.explore_until)
            if self.config.explore_until
            else 1.0
        )
        luck = self._luck(out)
        return torch.where(
            luck < first + (last - first) * fallen, self.random(out), self.greedy(out)
        )

    def random(self, out: Tensor) -> Tensor:
        return (self._luck(out) * self.n).to(torch.int64).clamp(max=self.n - 1)

    def draw_settings(self) -> dict[str, Any]:
        beta = self.config.priority_beta
        return {"beta": beta + (1.0 - beta) * self.clock.lived}

    def learn(self, drawn: Drawn) -> Metrics:
        c, steps, share = self.config, drawn.steps, self.share(drawn)
        state, window = drawn.states.actor, len(share)
        with torch.no_grad():
            cut = steps.terminated | steps.truncated
            if self.stateful or c.n_step == 1:
                next_q = self._next_values(steps, state)
            else:  # without memory, only the steps that sums end with are looked beyond
                at = last_of_sum(cut, c.n_step), torch.arange(cut.shape[1], device=cut.device)
                asked = tree_map(lambda x: x[at].unsqueeze(0), steps)
                next_q = torch.zeros_like(steps.reward).index_put_(
                    at, self._next_values(asked, state)[0]
                )
            y = n_step_target(steps.reward, next_q, steps.terminated, cut, c.gamma, c.n_step)
        out, _ = self.actor.unroll(index(steps.percept, slice(0, window)), state)
        q = self.values(out).gather(-1, steps.action[:window].unsqueeze(-1)).squeeze(-1)
        loss = self.by_seed(share * nn.functional.smooth_l1_loss(q, y, reduction="none"))
        self.minimise("values", loss.sum(), c.max_grad_norm)
        if c.priority:
            self.replay.prioritise(drawn.places, ((q - y).abs() * steps.valid[:window]).amax(0))
        self.steps += 1
        if int(self.steps) % c.target_every == 0:
            self.follow("target", 1.0)
        return {
            "train/loss": loss.detach(),
            "train/q": self.by_seed(share * q.detach()),
        }

    def _next_values(self, steps: Transition, state: State) -> Tensor:
        """The value of the best action after each of the steps, [L, B]."""
        ahead = self.values(next_outputs(self.target, steps, state))
        chooser = (
            self.values(next_outputs(self.actor, steps, state)) if self.config.double else ahead
        )
        return ahead.gather(-1, chooser.argmax(-1, keepdim=True)).squeeze(-1)

    def _luck(self, out: Tensor) -> Tensor:
        """Uniform in [0, 1), one for each row of the outputs [G·B, ...]."""
        block = out[..., :1].chunk(self.groups, -2)[0]
        return self.draws(lambda g: torch.empty_like(block).uniform_(generator=g)).squeeze(-1)
