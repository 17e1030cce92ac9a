"""The part of an off-policy agent that keeps experience and learns from it again.

An agent makes its networks, decides, and takes one gradient step from a sample. Its `Learner` does
all else: it stores rollouts, draws sequences, and says how many gradient steps are due.

Several seeds may learn side by side: their environments are blocks of rows, their networks members
of a group, and nothing of one enters another's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bio_rl import groups
from bio_rl.checks import Among, check_settings, tunable
from bio_rl.contracts import Metrics, Network, Percept, Probe, Rollout, State, Steps
from bio_rl.networks import Blueprint
from bio_rl.rl import ranges
from bio_rl.rl.activity import ActivityReport
from bio_rl.rl.base import Agent
from bio_rl.rl.critics import TwinCritic
from bio_rl.rl.replay import Replay, Sample
from bio_rl.rl.weights import Weights
from bio_rl.state import leaves


@dataclass(frozen=True, kw_only=True)
class OffPolicy:
    """Settings of every off-policy learner, beside those of its `LearningRateSchedule`."""

    replay: int = 1_000_000
    """Steps that are kept to learn from, all environments together; never more than the run has."""
    start: int = 1000
    """Steps of random actions before anything is learned."""
    batch: int = tunable(256, Among((64, 128, 256, 512)))
    """Steps per gradient step."""
    ratio: float = tunable(1.0, Among((0.25, 0.5, 1.0)))
    """Gradient steps per environment step."""
    update_every: int = 1
    """Steps of each environment between updates, which then make up for all of them."""
    sequence: int = 16
    """Steps per training sequence of a network with memory, which starts from the state kept at
    that step.
    """
    gamma: float = tunable(0.99, ranges.DISCOUNT)
    """Discount per step."""
    normalise_obs: bool = False
    """Scale Box observations by their running mean and deviation."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("replay", "batch", "ratio", "update_every", "sequence"),
            non_negative=("start",),
            unit=("gamma",),
        )


class OffPolicyState(NamedTuple):
    actor: State
    """[B, ...] of the network that decides."""
    critic: State
    """[B, ...] of the critics' memory, which advances in `update`."""


class Pace(nn.Module):
    """Counts gradient steps; its counts are part of the agent's state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = nn.Buffer(torch.zeros((), dtype=torch.int64))
        """Gradient steps since the beginning."""
        self.due = nn.Buffer(torch.zeros((), dtype=torch.float64))
        """The fraction of a gradient step that is due, between updates."""

    def _apply(self, fn, recurse: bool = True):  # type: ignore[override]
        """Stays on the CPU: Python reads the counts."""
        return self

    def steps(self, more: float) -> int:
        """The whole gradient steps that are due when `more` have become due."""
        self.due += more
        whole = int(self.due)
        # A part of a step stays due for the next update.
        self.due -= whole
        return whole


class Learner:
    """The replay of an agent, and its loop over gradient steps.

    Rows [G·B, ...] are the environments of G seeds.
    """

    def __init__(
        self,
        agent: Agent,
        pace: Pace,
        weights: Weights,
        actor: Network,
        critic: TwinCritic | None,
        step: Callable[[Sample], Metrics],
        n_step: int = 1,
    ) -> None:
        """agent: its `config` is an `OffPolicy`. actor: the network that decides. critic: None
        where the actor's outputs are values. step: one gradient step; what it reports is [G].
        n_step: steps whose rewards a target sums.
        """
        self.agent = agent
        self.config = agent.config
        self.pace = pace
        self.weights = weights
        self.actor = actor
        self.critic = critic
        self.step = step
        self.stateful = bool(list(leaves(tuple(agent.initial_state(agent.groups)))))
        self.window = self.config.sequence if self.stateful else 1
        """Steps of a sequence that are learned from; n_step - 1 more follow."""
        self.replay = Replay(
            min(self.config.replay, agent.clock.horizon.steps) * agent.groups,
            agent.device,
            length=self.window + n_step - 1,
            stride=self.window,
            groups=agent.groups,
        )
        # As many whole windows as the steps between two updates begin.
        windows = -(-self.config.update_every // self.window)
        self.rollout = Steps(windows * self.window, self.window)
        self.steady = agent.steady_operations(actor)
        self.report_names: tuple[str, ...] = ()
        """Names of the figures of an `ActivityReport`, known after the first update."""

    # ---------------------------------- acting

    @property
    def starting(self) -> bool:
        """Whether actions are still random."""
        return int(self.agent.clock.steps.min()) < self.config.start

    def decide(
        self, percept: Percept, state: OffPolicyState, probe: Probe | None
    ) -> tuple[Tensor, OffPolicyState]:
        """The actor's outputs for a percept, and the state after it."""
        out, actor = self.actor(self.agent.see(percept), state.actor, probe)
        return out, state._replace(actor=actor)

    # ---------------------------------- learning

    def update(self, rollout: Rollout, state: OffPolicyState) -> tuple[OffPolicyState, Metrics]:
        """Store a rollout, then take the gradient steps that are due."""
        agent = self.agent
        steps = rollout.steps
        valid = int(steps.valid.sum())
        ends = (steps.terminated | steps.truncated) & steps.valid
        agent.count(steps, valid, int(ends.sum()))
        agent.features.update(steps.percept.obs, steps.valid)
        state = self._store(rollout, state)
        metrics: Metrics = {}
        if int(agent.clock.steps.min()) > self.config.start and self.replay.starts:
            self.anneal()
            # A gradient step is one of every seed, so they take the steps that their mean has due.
            for _ in range(self.pace.steps(self.config.ratio * (valid // agent.groups))):
                metrics = self.learn(self.sample())
        if agent.groups > 1:
            return state, metrics
        report = self._report(rollout.next, state)
        return state, metrics_of_one(metrics) | report

    def _store(self, rollout: Rollout, state: OffPolicyState) -> OffPolicyState:
        """Put the rollout into the replay; returns the state with the critics' memory after it."""
        agent = self.agent
        steps = rollout.steps
        states = rollout.states
        if self.stateful and self.critic is not None:
            percepts = agent.see(steps.percept, 1)
            starts, after = self.critic.advance_in(percepts, state.critic, self.window)
            states = states._replace(critic=starts)
            state = state._replace(critic=after)
        percept = steps.percept._replace(obs=agent.features.compact(steps.percept.obs))
        final_obs = agent.features.compact(steps.final_obs)
        steps = steps._replace(percept=percept, final_obs=final_obs)
        # A learner without memory has states too, but nothing in them.
        self.replay.add(steps, states if self.stateful else ())
        return state

    def sample(self) -> Sample:
        """Sequences from the replay, with features in place of observations."""
        agent = self.agent
        n = max(1, self.config.batch // self.window)
        sample = self.replay.sample(n, agent.generators)
        steps = sample.steps
        final_obs = agent.features(steps.final_obs, 1)
        steps = steps._replace(percept=agent.see(steps.percept, 1), final_obs=final_obs)
        return Sample(steps, sample.states or OffPolicyState((), ()))

    def learn(self, sample: Sample) -> Metrics:
        """One gradient step, counted; what it reports is [G]."""
        self.pace.taken.add_(1)
        return self.step(sample)

    def loss_weights(self, sample: Sample) -> Tensor:
        """[window, G·N] what each step counts in the mean loss of its seed."""
        valid = sample.steps.valid[: self.window]
        return self.agent.seed_axis.mean_weights(valid)

    def anneal(self) -> None:
        """Set what follows a schedule, each seed's by its own clock: learning rates, and the slope
        of spikes.
        """
        lived = self.agent.clock.lived_by_seed
        self.weights.scale_rates([self.config.lr_factor(share) for share in lived])
        groups.anneal(self.actor, lived)
        if self.critic is not None:
            self.critic.anneal(lived)

    def _report(self, percept: Percept, state: OffPolicyState) -> Metrics:
        """Figures of the actor's decision for this percept, worked out when they are read."""
        report = ActivityReport(
            lambda probe: self.decide(percept, state, probe), len(percept.reset), self.steady
        )
        self.report_names = self.report_names or tuple(report.all())
        return {name: partial(report.figure, name) for name in self.report_names}

    # ---------------------------------- copying

    @torch.no_grad()
    def copy_member(self, one: Learner, i: int) -> None:
        """Bring the fresh agent of `one` to where the i-th seed of this agent is."""
        whole = self.agent
        alone = one.agent
        self.weights.copy_member(one.weights, i)
        alone.features.each[0].load_state_dict(whole.features.each[i].state_dict())
        alone.clock.steps.copy_(whole.clock.steps.view(-1)[i])
        alone.clock.episodes.copy_(whole.clock.episodes.view(-1)[i])
        one.pace.load_state_dict(self.pace.state_dict())
        drawn_so_far = whole.generators[i].get_state()
        alone.generator.set_state(drawn_so_far)
        one.replay.load_state_dict(self.replay.member(i))


def refuse_regulation(network: Blueprint) -> None:
    """Raise ValueError for a network whose firing rates are to be regulated."""
    if network.config.target_rate > 0:
        raise ValueError(
            f"--{network.name}.target-rate: a rate is regulated over whole rollouts, "
            "as ppo collects them"
        )


def metrics_of_one(metrics: Metrics) -> Metrics:
    """Metrics [1] of a single seed as scalars."""
    scalars: Metrics = {}
    for name, x in metrics.items():
        assert isinstance(x, Tensor)
        scalars[name] = x.squeeze()
    return scalars
