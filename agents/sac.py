"""Soft actor-critic with automatic temperature.      Haarnoja et al. 2018, arXiv 1812.05905

    V(s) = E_{ã ~ π(s)} [min_k Q_k(s, ã) - α log π(ã|s)]      y = r + γ (1 - terminated) V'(s')
    J_Q = ½ Σ_k (Q_k(s, a) - y)²      J_π = -V(s)      J_α = -α E_ã [log π(ã|s) + H̄]

The twin critics are one stacked network. Box actions are squashed to their bounds, and E is of one
draw; of Discrete actions it is the sum over all: Christodoulou 2019, arXiv 1910.07207.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from bio_rl.checks import Between, check, check_settings, tunable
from bio_rl.contracts import ActOut, Metrics, Network, Percept, Probe, Rollout
from bio_rl.networks import Blueprint
from bio_rl.rl import base, ranges
from bio_rl.rl.critics import TwinCritic, twin_critic
from bio_rl.rl.distributions import Categorical, SquashedGaussian, bounded_actions
from bio_rl.rl.off_policy import Learner, OffPolicy, OffPolicyState, Pace, refuse_regulation
from bio_rl.rl.replay import Sample
from bio_rl.rl.schedule import LearningRateSchedule
from bio_rl.rl.seed_networks import Scalars, actors, copied
from bio_rl.rl.targets import n_step_target, next_outputs
from bio_rl.rl.weights import Learned, Target, Weights


@dataclass(frozen=True, kw_only=True)
class Config(OffPolicy, LearningRateSchedule):
    lr: float = tunable(3e-4, ranges.ADAM)
    """Learning rate of Adam for the actor and the temperature."""
    critic_lr: float = tunable(3e-4, ranges.ADAM)
    """Learning rate of Adam for the critics."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Rectified units per hidden layer of each critic."""
    tau: float = tunable(0.005, Between(0.002, 0.05, log=True))
    """Step of the target critics towards the critics, per gradient step."""
    temperature: float = 0.0
    """Temperature α where it is fixed; 0 learns it, from 1."""
    target_entropy: float = -1.0
    """Entropy H̄ that a learned temperature aims at, per dimension of a Box action, in nats of
    actions in half-ranges of their bounds.
    """
    target_entropy_share: float = 0.3
    """Entropy H̄ that a learned temperature aims at for Discrete actions, as a fraction of the most
    that there is, log n; 0.98 as published.
    """

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("lr", "critic_lr", "critic_hidden", "tau"),
            non_negative=("temperature",),
            unit=("target_entropy_share",),
        )
        check("sac", "tau", self.tau, "unit")
        OffPolicy.__post_init__(self)
        LearningRateSchedule.__post_init__(self)


class Agent(base.Agent):
    """A SAC agent (`contracts.Agent`)."""

    config: Config

    @classmethod
    def batches(cls, spec: base.Spec) -> bool:
        """Seeds always learn as one program."""
        return True

    def build(self, network: Blueprint) -> None:
        refuse_regulation(network)
        c = self.config
        size = self.features.size
        space = self.spec.action_space
        self.choices = int(space.n) if isinstance(space, gym.spaces.Discrete) else 0
        """The number of Discrete actions; 0 for Box."""
        if self.choices:
            self.policy: Categorical | SquashedGaussian = Categorical(self.choices)
            self.critic = twin_critic(network, c.critic_hidden, size, 0, self.seeds, self.choices)
            self.target_entropy = c.target_entropy_share * math.log(self.choices)
        else:
            n = bounded_actions(space)
            self.policy = SquashedGaussian(n)
            self.critic = twin_critic(network, c.critic_hidden, size, n, self.seeds)
            self.target_entropy = c.target_entropy * n
        self.actor = actors(network, size, self.policy.n_out, self.seeds)
        self.target = copied(self.critic)
        self.log_alpha = Scalars(self.groups)
        self.pace = Pace()

    @property
    def decider(self) -> Network:
        return self.actor

    def initial_state(self, batch: int) -> OffPolicyState:
        return OffPolicyState(self.actor.initial_state(batch), self.critic.initial_state(batch))

    def prepare(self) -> None:
        c = self.config
        learned = {
            "actor": Learned(self.actor, c.lr),
            "critic": Learned(self.critic, c.critic_lr),
            "temperature": Learned(self.log_alpha, c.lr),
        }
        targets = {"target": Target(self.target, "critic")}
        self.weights = Weights(learned, targets, self.groups)
        self.optimisers = self.weights.optimisers
        self.learner = Learner(self, self.pace, self.weights, self.actor, self.critic, self._step)
        self.replay = self.learner.replay
        self.rollout = self.learner.rollout

    # ---------------------------------- acting

    @torch.no_grad()
    def act(
        self, percept: Percept, state: Any, explore: bool = True, probe: Probe | None = None
    ) -> ActOut:
        out, state = self.learner.decide(percept, state, probe)
        if not explore:
            action = self.policy.mode(out)
        elif self.learner.starting:
            action = self._random(out)
        else:
            action = self.policy.sample(out, self._noise(out))
        return ActOut(action, {}, state)

    def _random(self, out: Tensor) -> Tensor:
        """Actions that know nothing, of as many rows as the actor's outputs."""
        if isinstance(self.policy, Categorical):
            # Equal logits are a policy that knows nothing.
            equal = torch.zeros_like(out)
            return self.policy.sample(equal, self._noise(out))
        block = self.seed_axis.block(out)
        like = block[..., : self.policy.n]

        def noise(generator: torch.Generator) -> Tensor:
            return torch.empty_like(like).uniform_(-1, 1, generator=generator)

        return self.seed_axis.draw(noise)

    # ---------------------------------- learning

    def update(self, rollout: Rollout, state: Any) -> tuple[Any, Metrics]:
        return self.learner.update(rollout, state)

    def _step(self, sample: Sample) -> Metrics:
        """One gradient step; what it reports is [G]."""
        alpha = self._alpha()
        weights = self.learner.loss_weights(sample)
        y = self._targets(sample, alpha)

        # The critics move towards the soft value of what came next.
        summary = self.critic.summary(sample.steps.percept, sample.states.critic)
        q = self._values_of(summary, sample.steps.action)
        critic_loss = 0.5 * self.seed_axis.total(weights * (q - y).square().sum(0))
        self.weights.minimise("critic", critic_loss.sum())

        # The actor moves towards what the critics value.
        out, _ = self.actor.unroll(sample.steps.percept, sample.states.actor)
        with self.weights.fixed("critic"):
            value, entropy = self._soft_value(out, self.critic, summary.detach(), alpha)
        actor_loss = self.seed_axis.total(weights * -value)
        self.weights.minimise("actor", actor_loss.sum())

        mean_entropy = self.seed_axis.total(weights * entropy.detach())
        self._adapt_temperature(mean_entropy)
        self.weights.follow("target", self.config.tau)
        return {
            "train/critic_loss": critic_loss.detach(),
            "train/actor_loss": actor_loss.detach(),
            "train/ent_coef": alpha,
            "train/entropy": mean_entropy,
            "train/q": self.seed_axis.total(weights * q[0].detach()),
        }

    @torch.no_grad()
    def _targets(self, sample: Sample, alpha: Tensor) -> Tensor:
        """y [L, B] of the sampled steps."""
        steps = sample.steps
        next_out = next_outputs(self.actor, steps, sample.states.actor)
        next_summary = self.target.next_summary(steps, sample.states.critic)
        next_value, _ = self._soft_value(next_out, self.target, next_summary, alpha)
        return n_step_target(
            steps.reward,
            next_value,
            steps.terminated,
            steps.terminated | steps.truncated,
            self.config.gamma,
            n=1,
        )

    def _values_of(self, summary: Tensor, action: Tensor) -> Tensor:
        """Q [2, L, B] of the actions that were taken."""
        if not self.choices:
            return self.critic(summary, action)
        taken = action.expand(2, -1, -1).unsqueeze(-1)
        return self.critic(summary).gather(-1, taken).squeeze(-1)

    def _soft_value(
        self, out: Tensor, critic: TwinCritic, summary: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(V, entropy), both [L, B], of the policy that `out` [L, B, ...] is, by the critics."""
        alpha = self.seed_axis.spread(alpha, out[..., 0])
        if isinstance(self.policy, SquashedGaussian):
            # One draw stands for the expectation.
            noise = self._noise(out)
            action, logp = self.policy.sample_and_log_prob(out, noise)
            q = critic(summary, action).amin(0)
            return q - alpha * logp, -logp
        # The expectation is a sum over all choices.
        entropy = self.policy.entropy(out)
        q = critic(summary).amin(0)
        expected = (out.softmax(-1) * q).sum(-1)
        return expected + alpha * entropy, entropy

    def _alpha(self) -> Tensor:
        """[G] the temperature of each seed."""
        fixed = self.config.temperature
        log_alpha = self.log_alpha.value.detach()
        if fixed:
            return torch.full_like(log_alpha, fixed)
        return log_alpha.exp()

    @torch.no_grad()
    def _adapt_temperature(self, entropy: Tensor) -> None:
        """Raise the temperature where the entropy [G] is below the one aimed at, else lower it."""
        if self.config.temperature:
            return
        gradient = self.log_alpha.value.grad
        assert gradient is not None
        # Of -log α E_ã [log π + H̄]: log α stands for α, as in the code of the paper's authors.
        gradient.copy_(entropy - self.target_entropy)
        self.weights.move("temperature")

    def _noise(self, out: Tensor) -> Tensor:
        """The noise that the policy samples with, for the actor's outputs [..., G·B, ...]."""
        block = self.seed_axis.block(out)

        def noise(generator: torch.Generator) -> Tensor:
            return self.policy.noise(block, generator)

        return self.seed_axis.draw(noise)

    # ---------------------------------- copying

    def trained_tensors(self) -> Iterable[Tensor]:
        return self.weights.flat.values()

    def member(self, i: int) -> Agent:
        one = self.alone(i)
        self.learner.copy_member(one.learner, i)
        return one
