"""Soft actor-critic with automatic temperature.      Haarnoja et al. 2018, arXiv 1812.05905

    V(s) = E_{ã ~ π(s)} [min_k Q_k(s, ã) - α log π(ã|s)]      y = r + γ (1 - terminated) V'(s')
    J_Q = ½ Σ_k (Q_k(s, a) - y)²      J_π = -V(s)      J_α = -α E_ã [log π(ã|s) + H̄]

The twin critics are one stacked network. Box actions are squashed to their bounds, and E is of one
draw; of Discrete actions it is the sum over all: Christodoulou 2019, arXiv 1910.07207.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import Tensor

from bio_rl.checks import check_settings
from bio_rl.contracts import Metrics
from bio_rl.networks import Blueprint
from bio_rl.rl.clock import Horizon
from bio_rl.rl.critics import TwinCritic, twin_critic
from bio_rl.rl.distributions import Categorical, SquashedGaussian, bounded_actions
from bio_rl.rl.off_policy import Learner, OffPolicy, Scalars, actors, copied
from bio_rl.rl.replay import Drawn
from bio_rl.rl.targets import n_step_target, next_outputs


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
    """H̄ per dimension of a Box action, in nats of actions in half-ranges of their bounds."""
    target_entropy_share: float = 0.3
    """H̄ of Discrete actions, as a share of the most that there is, log n; 0.98 as published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            self,
            positive=("learning_rate", "critic_learning_rate", "critic_hidden", "tau"),
            non_negative=("temperature",),
            unit=("target_entropy_share",),
        )
        if self.tau > 1:
            raise ValueError(f"sac.tau is {self.tau}, expected a number from 0 to 1")


class Agent(Learner):
    """See `types.Agent`."""

    def __init__(
        self, config: Config, network: Blueprint, observation_space: gym.Space, action_space: gym.Space, *, horizon: Horizon,
        seed: int | Sequence[int] = 0, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        """Raises ValueError for a space or a network that it cannot serve."""
        super().__init__(
            config,
            network,
            observation_space,
            action_space,
            horizon=horizon,
            seed=seed,
            device=device,
        )

    def build(self, network: Blueprint, action_space: gym.Space) -> None:
        c, size = self.config, self.features.size
        self.choices = int(action_space.n) if isinstance(action_space, gym.spaces.Discrete) else 0
        """Of Discrete actions; 0 for Box."""
        if self.choices:
            self.policy: Categorical | SquashedGaussian = Categorical(self.choices)
            self.critic = twin_critic(network, c.critic_hidden, size, 0, self.seeds, self.choices)
            self.target_entropy = c.target_entropy_share * math.log(self.choices)
        else:
            n = bounded_actions(action_space)
            self.policy = SquashedGaussian(n)
            self.critic = twin_critic(network, c.critic_hidden, size, n, self.seeds)
            self.target_entropy = c.target_entropy * n
        self.actor = actors(network, size, self.policy.n_out, self.seeds)
        self.target = copied(self.critic)
        self.log_alpha = Scalars(self.groups)
        self.optimised = {"actor": self.actor, "critic": self.critic, "temperature": self.log_alpha}
        self.rates = {
            "actor": c.learning_rate,
            "critic": c.critic_learning_rate,
            "temperature": c.learning_rate,
        }

    def greedy(self, out: Tensor) -> Tensor:
        return self.policy.mode(out)

    def explore(self, out: Tensor) -> Tensor:
        return self.policy.sample(out, self._noise(out))

    def random(self, out: Tensor) -> Tensor:
        if self.choices:
            return self.explore(torch.zeros_like(out))
        block = (*out.shape[:-2], out.shape[-2] // self.groups, self.policy.n)
        return self.draws(lambda g: out.new_empty(block).uniform_(-1.0, 1.0, generator=g))

    def learn(self, drawn: Drawn) -> Metrics:
        c, steps, states, share = self.config, drawn.steps, drawn.states, self.share(drawn)
        alpha = self._alpha()
        with torch.no_grad():
            ahead = next_outputs(self.actor, steps, states.actor)
            value, _ = self._value(
                ahead, self.target, self.target.next_summary(steps, states.critic), alpha
            )
            cut = steps.terminated | steps.truncated
            y = n_step_target(steps.reward, value, steps.terminated, cut, c.gamma, 1)

        summary = self.critic.summary(steps.percept, states.critic)
        if self.choices:
            q = (
                self.critic(summary)
                .gather(-1, steps.action.expand(2, -1, -1).unsqueeze(-1))
                .squeeze(-1)
            )
        else:
            q = self.critic(summary, steps.action)
        critic_loss = 0.5 * self.by_seed(share * (q - y).square().sum(0))
        self.minimise("critic", critic_loss.sum())

        out, _ = self.actor.unroll(steps.percept, states.actor)
        with self.fixed("critic"):
            value, entropy = self._value(out, self.critic, summary.detach(), alpha)
        actor_loss = self.by_seed(share * -value)
        self.minimise("actor", actor_loss.sum())

        with torch.no_grad():
            entropy = self.by_seed(share * entropy)
            if not c.temperature:
                self.log_alpha.value.grad.copy_(entropy - self.target_entropy)
                self.optimisers["temperature"].step()
            self.follow("target", c.tau)
            return {
                "train/critic_loss": critic_loss.detach(),
                "train/actor_loss": actor_loss.detach(),
                "train/ent_coef": alpha,
                "train/entropy": entropy,
                "train/q": self.by_seed(share * q[0]),
            }

    def _value(
        self, out: Tensor, critic: TwinCritic, summary: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(V, entropy), both [L, B], of the policy that `out` [L, B, ...] says, by the critics."""
        alpha = self.per_row(alpha, out[..., 0])
        if not self.choices:
            action, logp = self.policy.sample_and_log_prob(out, self._noise(out))
            return critic(summary, action).amin(0) - alpha * logp, -logp
        entropy = self.policy.entropy(out)
        return (out.softmax(-1) * critic(summary).amin(0)).sum(-1) + alpha * entropy, entropy

    def _alpha(self) -> Tensor:
        fixed = self.config.temperature
        log_alpha = self.log_alpha.value.detach()
        return torch.full_like(log_alpha, fixed) if fixed else log_alpha.exp()

    def _noise(self, out: Tensor) -> Tensor:
        """What the policy draws with, for the actor's outputs [..., G·B, ...]."""
        block = out.chunk(self.groups, -2)[0]
        return self.draws(lambda g: self.policy.noise(block, g))
