"""Twin delayed deep deterministic policy gradient.      Fujimoto et al. 2018, arXiv 1802.09477

    y = r + γ (1 - terminated) min_k Q'_k(s', clip(π'(s') + clip(ε, ±c), ±1)),   ε ~ N(0, σ²)
    J_Q = Σ_k (Q_k(s, a) - y)²
        J_π = -Q_1(s, π(s)), every `delay`-th step, with which the targets follow

With `proxy` the target actor of a spiking actor is a network of rectified units that learns to do
as the actor does, instead of a spiking one whose weights follow: that one's spikes, and with them
its actions, jump as its weights glide. Xu et al. 2025, arXiv 2505.24161.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl.checks import check_settings
from bio_rl.contracts import Metrics
from bio_rl.networks import Blueprint, mlp
from bio_rl.rl.clock import Horizon
from bio_rl.rl.critics import twin_critic
from bio_rl.rl.distributions import bounded_actions
from bio_rl.rl.off_policy import Learner, OffPolicy, actors, copied
from bio_rl.rl.replay import Drawn
from bio_rl.rl.targets import n_step_target, next_outputs


@dataclass(frozen=True, kw_only=True)
class Config(OffPolicy):
    learning_rate: float = 3e-4
    """Of Adam, for the actor."""
    critic_learning_rate: float = 3e-4
    """Of Adam, for the critics."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Rectified units per hidden layer of each critic."""
    tau: float = 0.005
    """Step of the targets towards the networks."""
    delay: int = 2
    """Critic steps per actor step."""
    noise: float = 0.1
    """Standard deviation of exploration, in half-ranges of the action bounds."""
    target_noise: float = 0.2
    """σ, of the noise that smooths the target policy."""
    target_noise_clip: float = 0.5
    """c."""
    proxy: int = 0
    """Steps by which the proxy target learns per actor step (3 as published); 0 for a target that
    follows.
    """
    proxy_hidden: tuple[int, ...] = (512, 512)
    """Rectified units per hidden layer of the proxy."""
    proxy_learning_rate: float = 1e-3
    """Of Adam, for the proxy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            self,
            positive=(
                *("learning_rate", "critic_learning_rate", "critic_hidden", "tau", "delay"),
                *("proxy_hidden", "proxy_learning_rate"),
            ),
            non_negative=("noise", "target_noise", "target_noise_clip", "proxy"),
        )
        if self.tau > 1:
            raise ValueError(f"td3.tau is {self.tau}, expected a number from 0 to 1")


class Agent(Learner):
    """See `types.Agent`."""

    targets: ClassVar = {"target": "critic", "target_actor": "actor"}

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
        self.n = bounded_actions(action_space)
        self.actor = actors(network, size, self.n, self.seeds)
        self.critic = twin_critic(network, c.critic_hidden, size, self.n, self.seeds)
        self.target = copied(self.critic)
        proxy = Blueprint("mlp", mlp.Config(hidden=c.proxy_hidden, activation="relu"))
        self.target_actor = (
            actors(proxy, size, self.n, self.seeds) if c.proxy else copied(self.actor)
        )
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.int64))
        """Gradient steps so far."""
        self.optimised = {"actor": self.actor, "critic": self.critic} | (
            {"proxy": self.target_actor} if c.proxy else {}
        )
        rates = {
            "actor": c.learning_rate,
            "critic": c.critic_learning_rate,
            "proxy": c.proxy_learning_rate,
        }
        self.rates = {name: rates[name] for name in self.optimised}

    def greedy(self, out: Tensor) -> Tensor:
        return out.tanh()

    def explore(self, out: Tensor) -> Tensor:
        return (out.tanh() + self.config.noise * self._noise(out)).clamp(-1.0, 1.0)

    def random(self, out: Tensor) -> Tensor:
        block = out.chunk(self.groups, -2)[0]
        return self.draws(lambda g: torch.empty_like(block).uniform_(-1.0, 1.0, generator=g))

    def learn(self, drawn: Drawn) -> Metrics:
        c, steps, states, share = self.config, drawn.steps, drawn.states, self.share(drawn)
        with torch.no_grad():
            ahead = next_outputs(self.target_actor, steps, () if c.proxy else states.actor).tanh()
            noise = (c.target_noise * self._noise(ahead)).clamp(
                -c.target_noise_clip, c.target_noise_clip
            )
            action = (ahead + noise).clamp(-1.0, 1.0)
            next_q = self.target(self.target.next_summary(steps, states.critic), action).amin(0)
            y = n_step_target(
                steps.reward,
                next_q,
                steps.terminated,
                steps.terminated | steps.truncated,
                c.gamma,
                1,
            )

        summary = self.critic.summary(steps.percept, states.critic)
        q = self.critic(summary, steps.action)
        critic_loss = self.by_seed(share * (q - y).square().sum(0))
        self.minimise("critic", critic_loss.sum())
        self.steps += 1
        metrics = {
            "train/critic_loss": critic_loss.detach(),
            "train/q": self.by_seed(share * q[0].detach()),
        }
        if int(self.steps) % c.delay == 0:
            out, _ = self.actor.unroll(steps.percept, states.actor)
            with self.fixed("critic"):
                actor_loss = -self.by_seed(share * self.critic.first(summary.detach(), out.tanh()))
            self.minimise("actor", actor_loss.sum())
            self.follow("target", c.tau)
            if c.proxy:
                metrics["train/proxy_loss"] = self._imitate(drawn)
            else:
                self.follow("target_actor", c.tau)
            metrics["train/actor_loss"] = actor_loss.detach()
        return metrics

    def _imitate(self, drawn: Drawn) -> Tensor:
        """The proxy does as the actor does: mean (tanh proxy(s) - π(s))² goes down. Xu et al. 2025,
        algorithm 1.
        """
        share = self.share(drawn)
        with torch.no_grad():
            out, _ = self.actor.unroll(drawn.steps.percept, drawn.states.actor)
        for _ in range(self.config.proxy):
            ours, _ = self.target_actor.unroll(drawn.steps.percept, ())
            loss = self.by_seed(share * (ours.tanh() - out.tanh()).square().mean(-1))
            self.minimise("proxy", loss.sum())
        return loss.detach()

    def _noise(self, out: Tensor) -> Tensor:
        """Standard normal, of the shape of the actor's outputs [..., G·B, A]."""
        block = out.chunk(self.groups, -2)[0]
        return self.draws(lambda g: torch.empty_like(block).normal_(generator=g))
