"""Twin delayed deep deterministic policy gradient.      Fujimoto et al. 2018, arXiv 1802.09477

y = r + γ (1 - terminated) min_k Q'_k(s', clip(π'(s') + clip(ε, ±c), ±1)),   ε ~ N(0, σ²)
J_Q = Σ_k (Q_k(s, a) - y)²
J_π = -Q_1(s, π(s)), every `delay`-th step, with which the targets follow
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bio_rl.checks import Between, check, check_settings, tunable
from bio_rl.contracts import ActOut, Metrics, Network, Percept, Probe, Rollout
from bio_rl.networks import Blueprint
from bio_rl.rl import base, ranges
from bio_rl.rl.critics import twin_critic
from bio_rl.rl.distributions import bounded_actions
from bio_rl.rl.off_policy import Learner, OffPolicy, OffPolicyState, Pace, refuse_regulation
from bio_rl.rl.replay import Sample
from bio_rl.rl.schedule import LearningRateSchedule
from bio_rl.rl.seed_networks import actors, copied
from bio_rl.rl.targets import n_step_target, next_outputs
from bio_rl.rl.weights import Learned, Target, Weights


@dataclass(frozen=True, kw_only=True)
class Config(OffPolicy, LearningRateSchedule):
    lr: float = tunable(3e-4, ranges.ADAM)
    """Learning rate of Adam for the actor."""
    critic_lr: float = tunable(3e-4, ranges.ADAM)
    """Learning rate of Adam for the critics."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Rectified units per hidden layer of each critic."""
    tau: float = tunable(0.005, Between(0.002, 0.05, log=True))
    """Step of the targets towards the networks, per step of the actor."""
    delay: int = 2
    """Critic steps per actor step."""
    noise: float = tunable(0.1, Between(0.03, 0.4, log=True))
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
        OffPolicy.__post_init__(self)
        LearningRateSchedule.__post_init__(self)


class Agent(base.Agent):
    """A TD3 agent (`contracts.Agent`)."""

    config: Config

    @classmethod
    def batches(cls, spec: base.Spec) -> bool:
        """Seeds always learn as one program."""
        return True

    def build(self, network: Blueprint) -> None:
        refuse_regulation(network)
        size = self.features.size
        n = bounded_actions(self.spec.action_space)
        self.actor = actors(network, size, n, self.seeds)
        self.critic = twin_critic(network, self.config.critic_hidden, size, n, self.seeds)
        self.target = copied(self.critic)
        self.target_actor = copied(self.actor)
        self.pace = Pace()

    @property
    def decider(self) -> Network:
        return self.actor

    def initial_state(self, batch: int) -> OffPolicyState:
        return OffPolicyState(self.actor.initial_state(batch), self.critic.initial_state(batch))

    def prepare(self) -> None:
        learned = {
            "actor": Learned(self.actor, self.config.lr),
            "critic": Learned(self.critic, self.config.critic_lr),
        }
        targets = {
            "target": Target(self.target, "critic"),
            "target_actor": Target(self.target_actor, "actor"),
        }
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
        drive, state = self.learner.decide(percept, state, probe)
        action = drive.tanh()
        if explore and self.learner.starting:
            action = self._random(drive)
        elif explore:
            noise = self.config.noise * self._noise(drive)
            action = (action + noise).clamp(-1.0, 1.0)
        return ActOut(action, {}, state)

    def _random(self, out: Tensor) -> Tensor:
        """Actions that know nothing, of as many rows as the actor's outputs."""
        like = self.seed_axis.block(out)

        def noise(generator: torch.Generator) -> Tensor:
            return torch.empty_like(like).uniform_(-1, 1, generator=generator)

        return self.seed_axis.draw(noise)

    # ---------------------------------- learning

    def update(self, rollout: Rollout, state: Any) -> tuple[Any, Metrics]:
        return self.learner.update(rollout, state)

    def _step(self, sample: Sample) -> Metrics:
        """One gradient step; what it reports is [G]."""
        weights = self.learner.loss_weights(sample)
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
        if int(self.pace.taken) % self.config.delay == 0:
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

    # ---------------------------------- copying

    def trained_tensors(self) -> Iterable[Tensor]:
        return self.weights.flat.values()

    def member(self, i: int) -> Agent:
        one = self.alone(i)
        self.learner.copy_member(one.learner, i)
        return one
