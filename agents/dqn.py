"""Deep Q-learning, with double and n-step forms as options.
    Mnih et al. 2015, Nature 518

    y = Σ_{i<m} γ^i r_{t+i} + γ^m (1 - terminated) Q'(s', argmax_a Q(s', a)),   m ≤ n
        double: van Hasselt et al. 2016
    J = huber(Q(s, a) - y)

Without `double` Q' itself chooses. A spiking network's values are the membranes of neurons that do
not spike, when their readout integrates (`--spiking.tau-out 0`), or follow its leaky average: Chen
et al. 2022, arXiv 2201.09754.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl.checks import Among, Between, check_settings, tunable
from bio_rl.contracts import ActOut, Metrics, Network, Percept, Probe, Rollout, State, Transition
from bio_rl.networks import Blueprint
from bio_rl.rl import base, encoders, ranges
from bio_rl.rl.common_mode import CommonMode
from bio_rl.rl.off_policy import Learner, OffPolicy, OffPolicyState, Pace, refuse_regulation
from bio_rl.rl.replay import Sample
from bio_rl.rl.schedule import LearningRateSchedule
from bio_rl.rl.seed_networks import actors, copied
from bio_rl.rl.targets import last_of_sum, n_step_target, next_outputs
from bio_rl.rl.weights import Learned, Target, Weights
from bio_rl.state import index, tree_map


@dataclass(frozen=True, kw_only=True)
class Config(OffPolicy, LearningRateSchedule):
    lr: float = tunable(6e-4, ranges.ADAM)
    """Learning rate of Adam."""
    explore: tuple[float, float] = (1.0, 0.05)
    """Fractions of actions that are random: at first, and from `explore_until` on."""
    explore_until: float = tunable(0.2, Between(0.05, 0.5, log=True))
    """Fraction of the run over which exploration falls."""
    target_every: int = tunable(250, Between(30, 1000, log=True))
    """Gradient steps after which the target network becomes a copy of the network."""
    max_grad_norm: float = 10.0
    """Gradients longer than this are scaled down to it."""
    double: bool = True
    """Let the network choose the next action and the target network value it; else the target
    network does both.
    """
    n_step: int = tunable(1, Among((1, 3, 5)))
    """Steps whose rewards are summed before the value of what follows."""
    common_mode: str = ""
    """Network without memory, such as mlp, that learns the mean value of a state's actions while
    the run's own learns how they differ; it is not needed to act. "" lets the run's network learn
    both. It helps spiking networks with few ticks (CMC-DSQN).
    """

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("lr", "target_every", "max_grad_norm", "n_step"),
            unit=("explore", "explore_until"),
        )
        if len(self.explore) != 2:
            raise ValueError(f"dqn.explore is {self.explore}, expected two fractions")
        OffPolicy.__post_init__(self)
        LearningRateSchedule.__post_init__(self)


class Agent(base.Agent):
    """A DQN agent (`contracts.Agent`)."""

    config: Config

    @classmethod
    def batches(cls, spec: base.Spec) -> bool:
        """Seeds learn as one program, unless another network learns their common mode."""
        return not spec.config.common_mode

    def build(self, network: Blueprint) -> None:
        refuse_regulation(network)
        space = self.spec.action_space
        if not isinstance(space, gym.spaces.Discrete):
            raise ValueError(f"action space {space} cannot be served; known: Discrete")
        self.n = int(space.n)
        own = actors(network, self.features.size, self.n, self.seeds)
        self.actor = self._corrected(own) if self.config.common_mode else own
        """The network of values: its outputs are Q [..., n]."""
        self.target = copied(self.actor)
        self.pace = Pace()

    def _corrected(self, own: Network) -> CommonMode:
        """The network with the common mode from another one. Raises ValueError for one that
        remembers.
        """
        name = self.config.common_mode
        common = encoders.build(Blueprint.default(name), self.features.size, 1)
        if common.stateful:
            raise ValueError(
                f"dqn.common_mode is {name}, which has a memory; mlp and cnn have none"
            )
        return CommonMode(own, common)

    @property
    def decider(self) -> Network:
        return self.actor.differences if isinstance(self.actor, CommonMode) else self.actor

    def initial_state(self, batch: int) -> OffPolicyState:
        return OffPolicyState(self.actor.initial_state(batch), critic=())

    def prepare(self) -> None:
        learned = {"values": Learned(self.actor, self.config.lr)}
        targets = {"target": Target(self.target, "values")}
        self.weights = Weights(learned, targets, self.groups)
        self.optimisers = self.weights.optimisers
        self.learner = Learner(
            self,
            self.pace,
            self.weights,
            self.decider,
            critic=None,
            step=self._step,
            n_step=self.config.n_step,
        )
        self.replay = self.learner.replay
        self.rollout = self.learner.rollout

    # ---------------------------------- acting

    @torch.no_grad()
    def act(
        self, percept: Percept, state: Any, explore: bool = True, probe: Probe | None = None
    ) -> ActOut:
        q, state = self.learner.decide(percept, state, probe)
        action = q.argmax(-1)
        if explore and self.learner.starting:
            action = self._random(q)
        elif explore:
            is_random = self._uniform(q) < self._epsilon(len(q))
            action = torch.where(is_random, self._random(q), action)
        return ActOut(action, {}, state)

    def _random(self, q: Tensor) -> Tensor:
        """Any action, one for each row of the values."""
        u = self._uniform(q)
        choice = (u * self.n).to(torch.int64)
        # Rounding may bring a draw just below 1 to n.
        return choice.clamp(max=self.n - 1)

    def _epsilon(self, batch: int) -> float | Tensor:
        """The fraction of actions that are random now; [G·B] for the rows of several seeds."""
        lived = self.clock.lived_by_seed
        if self.groups == 1:
            return self._epsilon_at(lived[0])
        fractions = torch.tensor([self._epsilon_at(share) for share in lived], device=self.device)
        return self.of_rows(fractions, batch)

    def _epsilon_at(self, lived: float) -> float:
        """The fraction of actions that are random when the fraction `lived` of a run is over."""
        first, last = self.config.explore
        until = self.config.explore_until
        fallen = 1.0
        if until:
            fallen = min(1.0, lived / until)
        return first + (last - first) * fallen

    def _uniform(self, out: Tensor) -> Tensor:
        """Uniform in [0, 1), one for each row of the outputs [G·B, ...]."""
        # [B, 1] for each seed, as `draw` expects the rows at -2.
        like = self.seed_axis.block(out[..., :1])

        def noise(generator: torch.Generator) -> Tensor:
            return torch.empty_like(like).uniform_(generator=generator)

        drawn = self.seed_axis.draw(noise)
        return drawn.squeeze(-1)

    # ---------------------------------- learning

    def update(self, rollout: Rollout, state: Any) -> tuple[Any, Metrics]:
        return self.learner.update(rollout, state)

    def _step(self, sample: Sample) -> Metrics:
        """One gradient step; what it reports is [G]."""
        c = self.config
        steps = sample.steps
        state = sample.states.actor
        learned_from = slice(0, self.learner.window)
        y = self._targets(steps, state)

        out, _ = self.actor.unroll(index(steps.percept, learned_from), state)
        q = out.gather(-1, steps.action[learned_from].unsqueeze(-1)).squeeze(-1)
        # The loss: a mean over the steps of each seed.
        error = nn.functional.smooth_l1_loss(q, y, reduction="none")
        weights = self.learner.loss_weights(sample)
        loss = self.seed_axis.total(weights * error)
        self.weights.minimise("values", loss.sum(), c.max_grad_norm)

        if int(self.pace.taken) % c.target_every == 0:
            self.weights.follow("target", 1.0)
        mean_q = self.seed_axis.total(weights * q.detach())
        return {"train/loss": loss.detach(), "train/q": mean_q}

    @torch.no_grad()
    def _targets(self, steps: Transition, state: State) -> Tensor:
        """y [window, B] of the steps [L, B]."""
        c = self.config
        cut = steps.terminated | steps.truncated
        if self.learner.stateful or c.n_step == 1:
            next_q = self._next_values(steps, state)
        else:
            # Without memory only the steps that sums end with are looked beyond.
            next_q = torch.zeros_like(steps.reward)
            sequence = torch.arange(cut.shape[1], device=cut.device)
            at = (last_of_sum(cut, c.n_step), sequence)
            last = tree_map(lambda x: x[at].unsqueeze(0), steps)
            next_q.index_put_(at, self._next_values(last, state)[0])
        return n_step_target(steps.reward, next_q, steps.terminated, cut, c.gamma, c.n_step)

    def _next_values(self, steps: Transition, state: State) -> Tensor:
        """The value of the best action after each of the steps, [L, B]."""
        next_q = next_outputs(self.target, steps, state)
        chooser = next_q
        if self.config.double:
            chooser = next_outputs(self.actor, steps, state)
        best = chooser.argmax(-1, keepdim=True)
        value = next_q.gather(-1, best)
        return value.squeeze(-1)

    # ---------------------------------- copying

    def trained_tensors(self) -> Iterable[Tensor]:
        return self.weights.flat.values()

    def member(self, i: int) -> Agent:
        one = self.alone(i)
        self.learner.copy_member(one.learner, i)
        return one
