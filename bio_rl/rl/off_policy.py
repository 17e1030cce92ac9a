"""The base of off-policy learners: experience that is stored and sampled again, and the loop over
gradient steps.

Several seeds may learn side by side: their environments are blocks of rows, their networks members
of a group, and nothing of one enters another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl.checks import check_settings
from bio_rl.contracts import ActOut, Metrics, Network, Percept, Probe, Rollout, State, Steps
from bio_rl.networks import Blueprint
from bio_rl.rl import replay_size
from bio_rl.rl.activity import ActivityReport
from bio_rl.rl.base import Agent, Spec
from bio_rl.rl.clock import Clock
from bio_rl.rl.critics import TwinCritic
from bio_rl.rl.replay import Replay, Sample
from bio_rl.rl.schedule import LearningRateSchedule
from bio_rl.rl.seed_axis import SeedAxis
from bio_rl.rl.weights import Learned, Target, Weights
from bio_rl.state import leaves, tree_map


@dataclass(frozen=True, kw_only=True)
class OffPolicy(LearningRateSchedule):
    """Settings of every off-policy learner."""

    replay: int = 1_000_000
    """Steps that are kept to learn from, all environments together; never more than the run has."""
    start: int = 1000
    """Steps of random actions before anything is learned."""
    batch: int = 256
    """Steps per gradient step."""
    ratio: float = 1.0
    """Gradient steps per environment step."""
    update_every: int = 1
    """Steps of each environment between updates, which then make up for all of them."""
    sequence: int = 16
    """Steps per training sequence of a network with memory, which starts from the state kept at
    that step.
    """
    gamma: float = 0.99
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
        super().__post_init__()


class OffPolicyState(NamedTuple):
    actor: State
    """[B, ...] of the network that decides."""
    critic: State
    """[B, ...] of the critics' memory, which advances in `update`."""


class Learner(Agent):
    """An off-policy agent. Rows [G·B, ...] are the environments of G seeds.

    One of this kind overrides `networks`, `explore`, `greedy`, `random` and `step`.
    """

    config: OffPolicy
    replay: Replay
    actor: Network
    """The network that decides."""
    learned: dict[str, Learned]
    """The networks that learn, by the names that `Weights` knows them under."""
    targets: dict[str, Target]
    """The networks that follow them."""
    replay: Replay
    """Experience that is kept to learn from again; `prepare` makes it."""
    weights: Weights
    episodes: Tensor
    """[G] episodes of each seed."""
    gradient_steps: Tensor
    steps_due: Tensor
    """Gradient steps that are due: a fraction of one, between updates."""

    @classmethod
    def batches(cls, spec: Spec) -> bool:
        """Seeds always learn as one program."""
        return True

    def build(self, network: Blueprint) -> None:
        """Make the networks, and counts that all seeds have in common."""
        _refuse_regulation(network)
        self.clock = Clock(self.clock.horizon)
        """It counts the steps of one seed, and the most episodes of any."""
        self.critic: TwinCritic | None = None
        self.networks(network, self.spec.action_space)
        self.episodes = nn.Buffer(torch.zeros(self.groups, dtype=torch.int64))
        self.gradient_steps = nn.Buffer(torch.zeros((), dtype=torch.int64))
        self.steps_due = nn.Buffer(torch.zeros((), dtype=torch.float64))

    def prepare(self) -> None:
        """Make what needs the networks on their device."""
        self.weights = Weights(self.learned, self.targets, self.groups)
        self.optimisers = self.weights.optimisers
        self.seed_axis = SeedAxis(self.generators)
        self.stateful = bool(list(leaves(tuple(self.initial_state(self.groups)))))
        self.window = self.config.sequence if self.stateful else 1
        """Steps of a sequence that are learned from; n_step - 1 more follow."""
        self.replay = Replay(
            min(self.config.replay, self.clock.horizon.steps) * self.groups,
            self.device,
            length=self.window + self.n_step - 1,
            stride=self.window,
            groups=self.groups,
        )
        # As many whole windows as the steps between two updates begin.
        windows = -(-self.config.update_every // self.window)
        self.rollout = Steps(windows * self.window, self.window)
        self.report_names: tuple[str, ...] = ()
        """Names of the figures of an `ActivityReport`, known after the first update."""

    # ---------------------------------- what a learner of this kind is

    def networks(self, network: Blueprint, action_space: gym.Space) -> None:
        """Make the networks: `actor`, a TwinCritic `critic` where there is one, and which of them
        learn (`learned`) and follow (`targets`).
        """
        raise NotImplementedError

    def greedy(self, out: Tensor) -> Tensor:
        """The best actions for the actor's outputs."""
        raise NotImplementedError

    def explore(self, out: Tensor) -> Tensor:
        """Actions to learn from, for the actor's outputs."""
        raise NotImplementedError

    def random(self, out: Tensor) -> Tensor:
        """Actions that know nothing, of as many rows as the actor's outputs."""
        raise NotImplementedError

    def step(self, sample: Sample) -> Metrics:
        """One gradient step; what it reports is [G]."""
        raise NotImplementedError

    @property
    def n_step(self) -> int:
        """Steps whose rewards a target sums."""
        return 1

    # ---------------------------------- acting

    def initial_state(self, batch: int) -> OffPolicyState:
        """The state of `batch` fresh lives."""
        actor = self.actor.initial_state(batch)
        if self.critic is None:
            return OffPolicyState(actor, ())
        return OffPolicyState(actor, self.critic.initial_state(batch))

    @torch.no_grad()
    def act(
        self,
        percept: Percept,
        state: OffPolicyState,
        explore: bool = True,
        probe: Probe | None = None,
    ) -> ActOut:
        """One decision for each row; with explore=False the greedy one, which draws nothing."""
        out, actor = self.actor(self.see(percept), state.actor, probe)
        state = state._replace(actor=actor)
        if not explore:
            action = self.greedy(out)
        elif int(self.clock.steps) < self.config.start:
            action = self.random(out)
        else:
            action = self.explore(out)
        return ActOut(action, {}, state)

    # ---------------------------------- learning

    def update(self, rollout: Rollout, state: OffPolicyState) -> tuple[OffPolicyState, Metrics]:
        """Store a rollout, then take the gradient steps that are due."""
        steps = rollout.steps
        count = int(steps.valid.sum()) // self.groups
        self.episodes += self.seed_axis.total((steps.terminated | steps.truncated) & steps.valid)
        self.clock.count(count, int(self.episodes.max()) - int(self.clock.episodes))
        self.features.update(steps.percept.obs, steps.valid)
        state = self._store(rollout, state)
        metrics: Metrics = {}
        if int(self.clock.steps) > self.config.start and self.replay.starts:
            self.steps_due += self.config.ratio * count
            self.anneal()
            for _ in range(int(self.steps_due)):
                metrics = self.learn(self.sample())
            # A part of a step stays due for the next update.
            self.steps_due -= int(self.steps_due)
        if self.groups > 1:
            return state, metrics
        report = self._report(rollout.next, state)
        return state, metrics_of_one(metrics) | report

    def _store(self, rollout: Rollout, state: OffPolicyState) -> OffPolicyState:
        """Put the rollout into the replay; returns the state with the critics' memory after it."""
        steps = rollout.steps
        states = rollout.states
        if self.stateful and self.critic is not None:
            percepts = self.see(steps.percept, 1)
            starts, after = self.critic.advance_in(percepts, state.critic, self.window)
            states = states._replace(critic=starts)
            state = state._replace(critic=after)
        percept = steps.percept._replace(obs=self.compact(steps.percept.obs))
        steps = steps._replace(percept=percept, final_obs=self.compact(steps.final_obs))
        # A learner without memory has states too, but nothing in them.
        self.replay.add(steps, states if self.stateful else ())
        return state

    def compact(self, obs: Any) -> Any:
        """Observations in the precision in which the replay stores them."""
        return self.features.compact(obs)

    def sample(self) -> Sample:
        """Sequences from the replay, with features in place of observations."""
        n = max(1, self.config.batch // self.window)
        sample = self.replay.sample(n, self.generators)
        steps = sample.steps
        final_obs = self.features(steps.final_obs, 1)
        steps = steps._replace(percept=self.see(steps.percept, 1), final_obs=final_obs)
        return sample._replace(steps=steps, states=sample.states or OffPolicyState((), ()))

    def learn(self, sample: Sample) -> Metrics:
        """One gradient step, counted; what it reports is [G]."""
        self.gradient_steps += 1
        return self.step(sample)

    def loss_weights(self, sample: Sample) -> Tensor:
        """[window, G·N] what each step counts in the mean loss of its seed."""
        valid = sample.steps.valid[: self.window]
        return self.seed_axis.mean_weights(valid)

    def anneal(self) -> None:
        """Set what follows a schedule: learning rates, and the slope of spikes."""
        self.weights.scale_rates(self.config.lr_factor(self.clock.lived))
        self.actor.anneal(self.clock.lived)
        if self.critic is not None:
            self.critic.anneal(self.clock.lived)

    def _report(self, percept: Percept, state: OffPolicyState) -> Metrics:
        """Figures of the actor's decision for this percept, worked out when they are read."""

        def decide(probe: Probe) -> object:
            features = self.see(percept)
            return self.actor(features, state.actor, probe)

        report = ActivityReport(decide, len(percept.reset))
        self.report_names = self.report_names or tuple(report.all())
        return {name: partial(report.figure, name) for name in self.report_names}

    # ---------------------------------- memory

    def check_memory(self) -> str:
        """A sentence with the memory that the replay takes. Raises ValueError, with the flag to
        change, where there is no room for it.
        """
        capacity = self.replay.capacity // self.groups
        return replay_size.check_size(
            capacity, self.step_bytes(), self.flag, self.device, self.groups
        )

    def step_bytes(self) -> int:
        """Bytes that a step takes in the replay, in memory and on disk."""
        spec = self.spec
        step = replay_size.step_bytes(spec.observation_space, spec.action_space)
        state = leaves(tuple(self.initial_state(1)))
        state_bytes = sum(x.numel() * x.element_size() for x in state)
        # A state is stored with every stride-th step alone.
        return step + state_bytes // self.replay.stride

    @property
    def flag(self) -> str:
        """The flag that says how many steps are kept."""
        return f"--{self.name}.replay"

    # ---------------------------------- saving and copying

    def trained_tensors(self) -> list[Tensor]:
        """The tensors that learning changes."""
        return list(self.weights.flat.values())

    def load_state_dict(self, state: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Go on from `state_dict` or `learned_state`; without a replay in it the experience stays
        as it is here.
        """
        super().load_state_dict(state)
        if "replay" in state:
            self._load_replay(dict(state["replay"]))

    def _load_replay(self, saved: dict[str, Any]) -> None:
        if saved["states"]:
            like = self.initial_state(self.groups)
            saved["states"] = tree_map(lambda _, x: x, like, OffPolicyState(*saved["states"]))
        self.replay.load_state_dict(saved)

    @torch.no_grad()
    def member(self, i: int) -> Self:
        """The i-th seed's learner alone, as it is now."""
        one = self.alone(i)
        self.weights.copy_member(one.weights, i)
        one.features.each[0].load_state_dict(self.features.each[i].state_dict())
        one.clock.count(int(self.clock.steps), int(self.episodes[i]))
        one.episodes.copy_(self.episodes[i])
        one.gradient_steps.copy_(self.gradient_steps)
        one.steps_due.copy_(self.steps_due)
        drawn_so_far = self.generators[i].get_state()
        one.generators[0].set_state(drawn_so_far)
        one.replay.load_state_dict(self.replay.member(i))
        return one


def _refuse_regulation(network: Blueprint) -> None:
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
