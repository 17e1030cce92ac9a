"""Proximal policy optimisation for memoryless and stateful networks.
    Schulman et al. 2017, arXiv 1707.06347

Actor and critic are separate networks. Experience is cut into sequences of `sequence` steps that
start from the state kept at that step; for a memoryless network they are single steps. Details
after Engstrom et al. 2020 and Huang et al. 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bio_rl.checks import Among, Between, check_settings, tunable
from bio_rl.contracts import (
    ActOut,
    Metrics,
    Network,
    Percept,
    Probe,
    Rollout,
    State,
    Steps,
    Transition,
)
from bio_rl.networks import Blueprint
from bio_rl.rl import base, distributions, encoders, ranges
from bio_rl.rl.activity import activity_report
from bio_rl.rl.losses import clipped_value_loss, ppo_policy_loss
from bio_rl.rl.normalize import RunningNorm
from bio_rl.rl.optim import clip_, flatten
from bio_rl.rl.returns import discounted_sum, gae
from bio_rl.rl.schedule import LearningRateSchedule
from bio_rl.rl.targets import following_percepts, unroll_with_next
from bio_rl.state import detach, index, tree_map


@dataclass(frozen=True, kw_only=True)
class Config(LearningRateSchedule):
    update_every: int = tunable(128, Among((32, 64, 128, 256)))
    """Steps per environment between updates."""
    minibatch: int = tunable(256, Among((64, 128, 256, 512)))
    """Steps per gradient step."""
    epochs: int = tunable(5, Between(3, 20, log=True))
    """Passes over a rollout."""
    sequence: int = 16
    """Steps per training sequence of a stateful network (truncated backpropagation
    through time).
    """
    lr: float = tunable(8e-4, ranges.ADAM)
    """Learning rate of Adam."""
    lr_final: float = 0.0
    """Factor of the learning rate at the end of the run; 1 keeps it as it is."""
    gamma: float = tunable(0.99, ranges.DISCOUNT)
    """Discount per step."""
    gae_lambda: float = tunable(0.95, Among((0.8, 0.9, 0.95, 0.98)))
    """λ of the generalised advantage estimate."""
    clip: float = tunable(0.2, Among((0.1, 0.2, 0.3)))
    """Bound ε of the policy ratio."""
    clip_value: float = 0.0
    """Bound of the value's change, in units of normalised return; 0 for the plain squared error."""
    entropy: float = tunable(0.0, Among((0.0, 0.001, 0.003, 0.01, 0.03)))
    """Coefficient of the entropy bonus."""
    value_weight: float = 0.5
    """Coefficient of the value loss."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    target_kl: float = 0.0
    """Stop the epochs of an update when the policy has moved further than this; 0 never stops."""
    normalise_obs: bool = True
    """Running mean and deviation of Box observations, pictures and tokens aside."""
    normalise_reward: bool = tunable(True, Among((False, True)))
    """Divide rewards by the running deviation of the discounted return."""
    normalise_advantage: bool = True
    """To mean 0 and deviation 1 over a rollout."""
    recompute_advantage: bool = False
    """Estimate values and advantages anew before each epoch (Andrychowicz et al. 2021, §3.5)."""
    log_std: float = tunable(-0.5, ranges.LOG_STD)
    """Initial log standard deviation of continuous actions, in half-ranges of the action bounds."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=(
                "update_every",
                "minibatch",
                "epochs",
                "sequence",
                "lr",
                "clip",
                "max_grad_norm",
            ),
            non_negative=("clip_value", "entropy", "value_weight", "target_kl"),
            unit=("gamma", "gae_lambda"),
        )
        super().__post_init__()


class PPOState(NamedTuple):
    actor: State
    critic: State
    """The critic is not needed to act: its state advances in `update`."""
    returns: Tensor
    """[B] running discounted return, what rewards are scaled by."""


class Batch(NamedTuple):
    """Training sequences: N of them, L steps each."""

    percept: Percept
    """[L, N, ...]; obs are features, pictures and tokens among them as they came."""
    action: Tensor
    logp: Tensor
    advantage: Tensor
    target: Tensor
    value: Tensor
    weight: Tensor
    """[L, N] 1 where valid, else 0."""


class Losses(NamedTuple):
    """The losses of one minibatch are scalars; beside them stand, per step [L, N], the log
    probabilities now and when acting, and the weights.
    """

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    logp: Tensor
    logp_old: Tensor
    weight: Tensor


class Agent(base.Agent):
    """See `rl.base.Agent`."""

    def build(self, network: Blueprint) -> None:
        self.policy = distributions.for_space(self.spec.action_space, self.config.log_std)
        size = self.features.size
        self.actor = encoders.build(network, size, self.policy.n_out, out_gain=0.01)
        self.critic = encoders.build(network.critic(), size, 1)
        self.reward_norm = RunningNorm(())

    def prepare(self) -> None:
        c = self.config
        self.stateful = self.actor.stateful or self.critic.stateful
        self.chunk = min(c.sequence, c.update_every) if self.stateful else 1
        self.rollout = Steps(c.update_every, self.chunk)
        # In a list: the vector is no parameter beside those that it holds.
        self.weights = [flatten(self.parameters())]
        adam = torch.optim.Adam(self.weights, c.lr, eps=1e-5, fused=True)
        self.optimisers["adam"] = adam
        self.steady = self.steady_operations(self.actor)

    def trained_tensors(self) -> list[nn.Parameter]:
        return self.weights

    def load_state_dict(self, state: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        super().load_state_dict(state)
        self._anneal()  # the horizon may have become longer

    @property
    def decider(self) -> Network:
        return self.actor

    def initial_state(self, batch: int) -> PPOState:
        returns = torch.zeros(batch, device=self.device)
        return PPOState(self.actor.initial_state(batch), self.critic.initial_state(batch), returns)

    @torch.no_grad()
    def act(
        self, percept: Percept, state: PPOState, explore: bool = True, probe: Probe | None = None
    ) -> ActOut:
        out, actor = self.actor(self.see(percept), state.actor, probe)
        if not explore:
            return ActOut(self.policy.mode(out), {}, state._replace(actor=actor))
        action = self.policy.sample(out, self.policy.noise(out, self.generator))
        return ActOut(
            action, {"logp": self.policy.log_prob(out, action)}, state._replace(actor=actor)
        )

    def update(self, rollout: Rollout, state: PPOState) -> tuple[PPOState, Metrics]:
        c, steps = self.config, rollout.steps
        if not bool(
            steps.valid.any()
        ):  # every row only began an episode: there is nothing to learn from
            return state, {}
        reward, returns = self._scale(steps, state.returns)
        seen, final, ahead = (
            self.see(steps.percept, 1),
            self.features(steps.final_obs, 1),
            self.see(rollout.next),
        )
        log: list[dict[str, Tensor]] = []
        start = rollout.states.critic
        for epoch in range(c.epochs):
            if epoch == 0 or c.recompute_advantage:
                values, critic_states, critic = self._values(
                    steps, seen, final, ahead, index(start, 0)
                )
                batch = self._batch(steps, seen, reward, *values)
                starts = (rollout.states.actor, critic_states)
            for part, (actor_state, critic_state) in self._minibatches(batch, starts):
                losses = self._loss(part, actor_state, critic_state)
                self._step(losses.total)
            log.append(self._measure(losses))
            if c.target_kl and log[-1]["train/approx_kl"].item() > c.target_kl:
                break
        ends = (steps.terminated | steps.truncated) & steps.valid
        self.clock.count(int(steps.valid.sum()), int(ends.sum()))
        self._anneal()
        self.features.update(steps.percept.obs, steps.valid)
        metrics = {name: torch.stack([m[name] for m in log]).mean() for name in log[0]}
        return PPOState(state.actor, critic, returns), metrics | self._report(
            batch, rollout.next, state.actor
        )

    # ---------------------------------- the parts of an update, in the order of their use

    def _scale(self, steps: Transition, carry: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards [T, B] in units of the running deviation of the discounted return, and the
        carried return [B].
        """
        cut = steps.terminated | steps.truncated
        returns, carry = discounted_sum(steps.reward, carry, cut, self.config.gamma)
        if not self.config.normalise_reward:
            return steps.reward, carry
        self.reward_norm.update(returns, steps.valid)
        limit = self.reward_norm.limit
        return (steps.reward * self.reward_norm.scale).clamp(-limit, limit), carry

    @torch.no_grad()
    def _values(
        self, steps: Transition, seen: Percept, final: Any, ahead: Percept, state: State
    ) -> tuple[tuple[Tensor, Tensor], State, State]:
        """(V(s_t), V(s'_t)) [T, B], the critic's states at the chunk starts, and its state after
        the rollout.
        """
        following = following_percepts(steps._replace(final_obs=final))
        chunk = self.chunk if self.stateful else 0
        unrolled = unroll_with_next(
            self.critic, seen, following, steps.truncated, state, chunk=chunk, after=ahead
        )
        values = (unrolled.now.squeeze(-1), unrolled.next.squeeze(-1))
        return values, unrolled.starts, unrolled.state

    def _batch(
        self, steps: Transition, seen: Percept, reward: Tensor, v: Tensor, v_next: Tensor
    ) -> Batch:
        """The rollout [T, B] as sequences [L, T/L · B]."""
        c, cut = self.config, steps.terminated | steps.truncated
        advantage = gae(reward, v, v_next, steps.terminated, cut, c.gamma, c.gae_lambda)
        target, weight = advantage + v, steps.valid.to(v.dtype)
        if c.normalise_advantage:
            count = weight.sum()
            mean = (weight * advantage).sum() / count
            spread = ((weight * (advantage - mean).square()).sum() / count).sqrt()
            advantage = (advantage - mean) / (spread + 1e-8)
        batch = Batch(seen, steps.action, steps.extras["logp"], advantage, target, v, weight)
        return tree_map(self._sequences, batch)

    def _sequences(self, x: Tensor) -> Tensor:
        """[T, B, ...] to [L, T/L · B, ...]."""
        chunks = x.unflatten(0, (-1, self.chunk))
        return chunks.transpose(0, 1).flatten(1, 2)

    def _minibatches(self, batch: Batch, states: State) -> Iterator[tuple[Batch, State]]:
        """One shuffled pass: sequences [L, n, ...] with about `minibatch` steps, and the states [n,
        ...] they start from.
        """
        total = batch.weight.shape[1]
        order = torch.randperm(total, generator=self.generator, device=self.device)
        batch = tree_map(lambda x: x.index_select(1, order), batch)
        states = tree_map(lambda x: x.flatten(0, 1).index_select(0, order), states)
        size = max(1, self.config.minibatch // self.chunk)
        for a in range(0, total, size):
            yield index(batch, (slice(None), slice(a, a + size))), index(states, slice(a, a + size))

    def _step(self, loss: Tensor) -> None:
        (flat,) = self.weights
        gradient = flat.grad
        assert gradient is not None  # `flatten` gives weights that learn their place for it
        gradient.zero_()
        loss.backward()
        clip_(gradient, self.config.max_grad_norm)
        self.optimisers["adam"].step()

    def _loss(self, batch: Batch, actor_state: State, critic_state: State) -> Losses:
        c, weight = self.config, batch.weight / batch.weight.sum().clamp(min=1)
        out, _ = self.actor.unroll(batch.percept, actor_state)
        value, _ = self.critic.unroll(batch.percept, critic_state)
        logp = self.policy.log_prob(out, batch.action)
        policy = ppo_policy_loss(logp, batch.logp, batch.advantage, weight, c.clip)
        error = clipped_value_loss(
            value.squeeze(-1), batch.value, batch.target, weight, c.clip_value
        )
        entropy = (weight * self.policy.entropy(out)).sum()
        return Losses(
            policy + c.value_weight * error - c.entropy * entropy,
            policy,
            error,
            entropy,
            logp,
            batch.logp,
            weight,
        )

    @torch.no_grad()
    def _measure(self, x: Losses) -> dict[str, Tensor]:
        """The figures of the last minibatch of an epoch."""
        change = x.logp - x.logp_old
        return {
            "train/loss": x.total,
            "train/policy_gradient_loss": x.policy,
            "train/value_loss": x.value,
            "train/entropy_loss": -x.entropy,
            "train/approx_kl": (
                x.weight * (change.exp() - 1 - change)
            ).sum(),  # Schulman 2020, the k3 estimator
            "train/clip_fraction": (x.weight * (change.exp() - 1).abs().gt(self.config.clip)).sum(),
        }

    def _anneal(self) -> None:
        left = self.lr_factor()
        for group in self.optimisers["adam"].param_groups:
            group["lr"] = self.config.lr * left
        for network in (self.actor, self.critic):
            network.anneal(self.clock.lived)

    @torch.no_grad()
    def _report(self, batch: Batch, ahead: Percept, state: State) -> Metrics:
        """The figures that are worth a look once per update: explained variance, learning rate,
        deviation, firing, operations.
        """
        error, target = (
            (batch.target - batch.value).var(correction=0),
            batch.target.var(correction=0),
        )
        unexplained = error / target.clamp(min=1e-8)
        report: Metrics = {
            "train/explained_variance": 1.0 - unexplained,
            "train/learning_rate": torch.tensor(
                self.optimisers["adam"].param_groups[0]["lr"], device=self.device
            ),
        }
        if isinstance(self.policy, distributions.DiagonalGaussian):
            report["train/std"] = self.policy.log_std.exp().mean()
        probe = Probe()
        self.actor(self.see(ahead), detach(state), probe)
        report |= activity_report(probe, len(ahead.reset), self.steady)
        self.actor.regulate(probe)
        return report
