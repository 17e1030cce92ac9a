"""Twin delayed deep deterministic policy gradient.      Fujimoto et al. 2018, arXiv 1802.09477

y = r + γ (1 - terminated) min_k Q'_k(s', clip(π'(s') + clip(ε, ±c), ±1)),   ε ~ N(0, σ²)
J_Q = Σ_k (Q_k(s, a) - y)²
J_π = -Q_1(s, π(s)), every `delay`-th step, with which the targets follow
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import Tensor

from bio_rl.checks import check, check_settings
from bio_rl.contracts import Metrics
from bio_rl.networks import Blueprint
from bio_rl.rl.critics import TwinCritic, twin_critic
from bio_rl.rl.distributions import bounded_actions
from bio_rl.rl.off_policy import Learner, OffPolicy
from bio_rl.rl.replay import Sample
from bio_rl.rl.seed_networks import actors, copied
from bio_rl.rl.targets import n_step_target, next_outputs
from bio_rl.rl.weights import Learned, Target


@dataclass(frozen=True, kw_only=True)
class Config(OffPolicy):
    lr: float = 3e-4
    """Learning rate of Adam for the actor."""
    critic_lr: float = 3e-4
    """Learning rate of Adam for the critics."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Rectified units per hidden layer of each critic."""
    tau: float = 0.005
    """Step of the targets towards the networks, per step of the actor."""
    delay: int = 2
    """Critic steps per actor step."""
    noise: float = 0.1
    """Standard deviation of exploration, in half-ranges of the action bounds."""
    target_noise: float = 0.2
    """Standard deviation σ of the noise that smooths the target policy."""
    target_noise_clip: float = 0.5
    """Bound c of the noise that smooths the target policy."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("lr", "critic_lr", "critic_hidden", "tau", "delay"),
            non_negative=("noise", "target_noise", "target_noise_clip"),
        )
        check("td3", "tau", self.tau, "unit")
        super().__post_init__()


class Agent(Learner):
    """A TD3 agent (`contracts.Agent`)."""

    config: Config
    critic: TwinCritic

    def networks(self, network: Blueprint, action_space: gym.Space) -> None:
        c = self.config
        size = self.features.size
        n = bounded_actions(action_space)
        self.actor = actors(network, size, n, self.seeds)
        self.critic = twin_critic(network, c.critic_hidden, size, n, self.seeds)
        self.target = copied(self.critic)
        self.target_actor = copied(self.actor)
        self.learned = {
            "actor": Learned(self.actor, c.lr),
            "critic": Learned(self.critic, c.critic_lr),
        }
        self.targets = {
            "target": Target(self.target, "critic"),
            "target_actor": Target(self.target_actor, "actor"),
        }

    def greedy(self, out: Tensor) -> Tensor:
        return out.tanh()

    def explore(self, out: Tensor) -> Tensor:
        noise = self.config.noise * self._noise(out)
        action = out.tanh() + noise
        return action.clamp(-1.0, 1.0)

    def random(self, out: Tensor) -> Tensor:
        like = self.seed_axis.block(out)

        def noise(generator: torch.Generator) -> Tensor:
            return torch.empty_like(like).uniform_(-1, 1, generator=generator)

        return self.seed_axis.draw(noise)

    # ---------------------------------- learning

    def step(self, sample: Sample) -> Metrics:
        weights = self.loss_weights(sample)
        y = self._targets(sample)

        # Both critics move towards one target.
        summary = self.critic.summary(sample.steps.percept, sample.states.critic)
        q = self.critic(summary, sample.steps.action)
        critic_loss = self.seed_axis.total(weights * (q - y).square().sum(0))
        self.weights.minimise("critic", critic_loss.sum())
        metrics: Metrics = {
            "train/critic_loss": critic_loss.detach(),
            "train/q": self.seed_axis.total(weights * q[0].detach()),
        }
        if int(self.gradient_steps) % self.config.delay == 0:
            actor_loss = self._improve_actor(sample, summary.detach(), weights)
            self.weights.follow("target", self.config.tau)
            self.weights.follow("target_actor", self.config.tau)
            metrics["train/actor_loss"] = actor_loss
        return metrics

    @torch.no_grad()
    def _targets(self, sample: Sample) -> Tensor:
        """y [L, B] of the sampled steps."""
        c = self.config
        steps = sample.steps
        # The target policy, smoothed: actions alike are to be worth alike.
        next_action = next_outputs(self.target_actor, steps, sample.states.actor).tanh()
        noise = c.target_noise * self._noise(next_action)
        noise = noise.clamp(-c.target_noise_clip, c.target_noise_clip)
        next_action = (next_action + noise).clamp(-1.0, 1.0)

        # The lesser of two values, as a maximum of errors overestimates.
        next_summary = self.target.next_summary(steps, sample.states.critic)
        next_q = self.target(next_summary, next_action).amin(0)
        return n_step_target(
            steps.reward,
            next_q,
            steps.terminated,
            steps.terminated | steps.truncated,
            c.gamma,
            n=1,
        )

    def _improve_actor(self, sample: Sample, summary: Tensor, weights: Tensor) -> Tensor:
        """One step of the actor towards what the first critic values; returns its loss [G]."""
        out, _ = self.actor.unroll(sample.steps.percept, sample.states.actor)
        action = out.tanh()
        with self.weights.fixed("critic"):
            q = self.critic.first(summary, action)
        actor_loss = -self.seed_axis.total(weights * q)
        self.weights.minimise("actor", actor_loss.sum())
        return actor_loss.detach()

    def _noise(self, out: Tensor) -> Tensor:
        """Standard normal, of the shape of the actor's outputs [..., G·B, A]."""
        like = self.seed_axis.block(out)

        def noise(generator: torch.Generator) -> Tensor:
            return torch.empty_like(like).normal_(generator=generator)

        return self.seed_axis.draw(noise)
