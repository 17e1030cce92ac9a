"""Soft actor-critic with automatic temperature.      Haarnoja et al. 2018, arXiv 1812.05905

    y = r + γ (1 - terminated) (min_k Q'_k(s', a') - α log π(a'|s')),   a' ~ π(s')
    J_Q = ½ Σ_k (Q_k(s, a) - y)²      J_π = α log π(ã|s) - min_k Q_k(s, ã)      J_α = -α (log π(ã|s) + H̄),   ã ~ π(s)

The twin critics are one stacked network. Box actions are squashed to their bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import Tensor

from bio_rl.clock import Horizon
from bio_rl.distributions import SquashedGaussian, bounded_actions
from bio_rl.networks import Blueprint
from bio_rl.off_policy import Learner, OffPolicy, Scalars, actors, copied, follow, twin_critic
from bio_rl.replay import Drawn
from bio_rl.sequences import n_step_target, next_outputs
from bio_rl.types import Metrics


@dataclass(frozen=True, kw_only=True)
class Config(OffPolicy):
    learning_rate: float = 3e-4
    """Of Adam, for the actor and the temperature."""
    critic_learning_rate: float = 3e-4
    """Of Adam, for the critics."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Rectified units per hidden layer of each critic."""
    tau: float = 0.005
    """Step of the target critics towards the critics, per gradient step."""
    temperature: float = 0.0
    """α, if it is to be fixed; 0 learns it, from 1."""
    target_entropy: float = -1.0
    """H̄ per action dimension, in nats of actions in half-ranges of their bounds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rate", "critic_learning_rate", "tau"):
            self._refuse(not getattr(self, name) > 0, name, "a positive number")
        self._refuse(self.temperature < 0, "temperature", "0 or more")


class Agent(Learner):
    """See `types.Agent`."""

    def __init__(
        self, config: Config, network: Blueprint, observation_space: gym.Space, action_space: gym.Space, *, horizon: Horizon,
        seed: int | Sequence[int] = 0, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        """Raises ValueError for an unserved space, or a replay that does not fit into memory."""
        super().__init__(config, network, observation_space, action_space, horizon=horizon, seed=seed, device=device)

    def build(self, network: Blueprint, action_space: gym.Space) -> None:
        c, n = self.config, bounded_actions(action_space)
        self.policy = SquashedGaussian(n)
        self.actor = actors(network, self.features.size, self.policy.n_out, self.seeds)
        self.critic = twin_critic(network, c.critic_hidden, self.features.size, n, self.seeds)
        self.target = copied(self.critic)
        self.target_entropy = c.target_entropy * n
        self.log_alpha = Scalars(self.groups)
        self.optimised = {"actor": self.actor, "critic": self.critic, "temperature": self.log_alpha}
        self.rates = {"actor": c.learning_rate, "critic": c.critic_learning_rate, "temperature": c.learning_rate}

    def greedy(self, out: Tensor) -> Tensor:
        return self.policy.mode(out)

    def explore(self, out: Tensor) -> Tensor:
        return self.policy.sample(out, self._noise(out))

    def random(self, out: Tensor) -> Tensor:
        block = (*out.shape[:-2], out.shape[-2] // self.groups, self.policy.n)
        return self.draws(lambda g: out.new_empty(block).uniform_(-1.0, 1.0, generator=g))

    def learn(self, drawn: Drawn) -> Metrics:
        c, steps, states, share = self.config, drawn.steps, drawn.states, self.share(drawn)
        alpha = self._alpha()
        out, _ = self.actor.unroll(steps.percept, states.actor)
        action, logp = self.policy.sample_and_log_prob(out, self._noise(out))
        row_alpha = self.per_row(alpha, logp)

        with torch.no_grad():
            ahead = next_outputs(self.actor, steps, states.actor)
            next_action, next_logp = self.policy.sample_and_log_prob(ahead, self._noise(ahead))
            next_q = self.target(self.target.next_summary(steps, states.critic), next_action).amin(0) - row_alpha * next_logp
            cut = steps.terminated | steps.truncated
            y = n_step_target(steps.reward, next_q, steps.terminated, cut, c.gamma, 1)

        summary = self.critic.summary(steps.percept, states.critic)
        q = self.critic(summary, steps.action)
        critic_loss = 0.5 * self.by_seed(share * (q - y).square().sum(0))
        self.minimise("critic", critic_loss.sum())

        with self.fixed("critic"):
            q_new = self.critic(summary.detach(), action).amin(0)
        actor_loss = self.by_seed(share * (row_alpha * logp - q_new))
        self.minimise("actor", actor_loss.sum())

        with torch.no_grad():
            entropy = -self.by_seed(share * logp)
            if not c.temperature:
                self.log_alpha.value.grad.copy_(entropy - self.target_entropy)
                self.optimisers["temperature"].step()
            follow(self.target, self.critic, c.tau)
            return {
                "train/critic_loss": critic_loss.detach(),
                "train/actor_loss": actor_loss.detach(),
                "train/ent_coef": alpha,
                "train/entropy": entropy,
                "train/q": self.by_seed(share * q[0]),
            }

    def _alpha(self) -> Tensor:
        fixed = self.config.temperature
        log_alpha = self.log_alpha.value.detach()
        return torch.full_like(log_alpha, fixed) if fixed else log_alpha.exp()

    def _noise(self, out: Tensor) -> Tensor:
        """Standard normal, [..., A] for the actor's outputs [..., G·B, 2A]."""
        block = out.chunk(self.groups, -2)[0]
        return self.draws(lambda g: self.policy.noise(block, g))
