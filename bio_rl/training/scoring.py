"""Evaluations of a run: while it trains, to propose its best weights, and at the end, to choose."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from bio_rl.contracts import Agent
from bio_rl.faults import DivergedError
from bio_rl.machine.signals import Interrupted, StopRequest
from bio_rl.training.build import (
    FINAL_EPISODES,
    FINAL_SEED,
    make_agent,
    make_env,
    open_env,
    single_thread,
)
from bio_rl.training.config import Experiment
from bio_rl.training.evaluation import Evaluation, evaluate, evaluate_in_rounds
from bio_rl.training.fitting import fit_agent
from bio_rl.training.recording import record
from bio_rl.training.reporting import Notes, reason
from bio_rl.training.runner import Runner
from bio_rl.training.saving import Keeper

EVAL_SEED = 1_000_000
"""Seed of the start states of the evaluations while training, by which a best is proposed."""
CHOICE_SEED = 3_000_000
"""Seed of the start states on which the proposed best and the last weights are compared."""
CHOICE_SHARE = 3
"""How many times as many start states these are as those of an evaluation while training."""
PICTURED = 32
"""Decisions of the raster on TensorBoard."""

T = TypeVar("T")


class Scoring:
    """Evaluates the agent of a run, in environments of its own."""

    def __init__(
        self,
        experiment: Experiment,
        runner: Runner,
        keeper: Keeper,
        stop: StopRequest,
        notes: Notes,
        alone: bool = True,
    ) -> None:
        """alone: whether the agent is not one of several that are trained side by side."""
        self.experiment = experiment
        self.runner = runner
        self.keeper = keeper
        self.stop = stop
        self.notes = notes
        self.alone = alone
        self.only_one = False
        """Whether no second instance of the environment can be made."""

    def attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """The result of work that the run can do without; None where it fails, which is said, or is
        interrupted.
        """
        try:
            with self.stop.at_once():
                return work()
        except Interrupted:
            return None
        except DivergedError:
            raise
        except Exception as error:
            self.notes.say(f"the {what} failed: {reason(error)}; the training is not touched by it")
            return None

    def evaluated(self, agent: Agent, episodes: int, seed: int) -> Evaluation:
        """Greedy episodes in environments of their own; in the one that is being trained in where
        no second can be made.
        """
        run = self.experiment.run
        # A training goes on where it was: its own episodes are not touched.
        env = None if self.only_one else self._second_env(episodes)
        if env is not None:
            with open_env(env), single_thread():
                return evaluate(agent, env, seed)
        result = evaluate_in_rounds(agent, self.runner.env, episodes, seed)
        self.runner.start(run.seed)
        return result

    def _second_env(self, episodes: int) -> Any:
        """Environments beside those of the training; None where no second one can be made."""
        run = self.experiment.run
        try:
            return make_env(run, episodes, self.runner.env.device)
        except Exception as error:
            # There are several already, so the fault is another one.
            if not self.alone or self.runner.env.num_envs > 1:
                raise
            self.only_one = True
            self.notes.say(
                f"no second instance of {run.env} can be made ({reason(error)}): evaluations play "
                "in the one there is, and a new episode begins after each"
            )
            return None

    def after_checkpoint(self, tree: dict[str, Any]) -> dict[str, float]:
        """The score of the evaluation after a checkpoint; one that scores best is kept as best."""
        episodes = self.experiment.run.eval_episodes
        if not episodes:
            return {}
        result = self.attempt(
            "evaluation", lambda: self.evaluated(self.runner.agent, episodes, EVAL_SEED)
        )
        if result is None:
            return {}
        # Of equals the later: an early one may owe its score to few start states.
        if result.mean >= self.keeper.best:
            self.keeper.best = result.mean
            self.keeper.save_best({**tree, "best": self.keeper.best})
        return {"eval/mean_reward": result.mean}

    def final(self, agent: Agent) -> Evaluation | None:
        """The evaluation of the last weights that is reported; None where it fails."""
        return self.attempt(
            "final evaluation", lambda: self.evaluated(agent, FINAL_EPISODES, FINAL_SEED)
        )

    def final_of_best(self) -> Evaluation | None:
        """The evaluation of the best weights that is reported; None where it fails."""
        return self.attempt("evaluation of the best weights", self._evaluate_best)

    def chosen_step(self) -> int | None:
        """The step of the weights that are best; None for a run without evaluations."""
        return self.attempt("choice of the best weights", self._choose_best)

    def _choose_best(self) -> int | None:
        """The step of the better weights of two, the proposed ones and the last, by more starts.

        The last win a tie. The winner is kept as best afterwards.
        """
        if not math.isfinite(self.keeper.best):
            return None
        last = self.runner.seen
        # The score that proposed it is the best of many, and so too good: both play anew.
        proposed = self.keeper.load_best()
        if proposed["runner"]["seen"] == last:
            return last
        # More starts than proposed it: the difference of two means is noisier than one.
        episodes = CHOICE_SHARE * self.experiment.run.eval_episodes
        score_of_proposed = self.evaluated(self._agent_of(proposed), episodes, CHOICE_SEED).mean
        score_of_last = self.evaluated(self.runner.agent, episodes, CHOICE_SEED).mean
        if score_of_last < score_of_proposed:
            return int(proposed["runner"]["seen"])
        self.keeper.take_last_as_best()
        return last

    def _evaluate_best(self) -> Evaluation:
        agent = self._agent_of(self.keeper.load_best())
        return self.evaluated(agent, FINAL_EPISODES, FINAL_SEED)

    def _agent_of(self, tree: Mapping[str, Any]) -> Agent:
        """The agent in a checkpoint of this run."""
        # Built anew: the one that trains must not change.
        agent = make_agent(self.experiment, self.runner.env)
        fit_agent(agent, tree["agent"], self.keeper.folder)
        return agent

    def picture(self) -> np.ndarray | None:
        """The spikes of a few greedy decisions, neurons down and ticks across, 0 black for a spike;
        None without any.
        """
        return self.attempt("picture of the spikes", self._picture)

    def _picture(self) -> np.ndarray | None:
        if self.only_one:
            return None
        with open_env(make_env(self.experiment.run, 1, self.runner.env.device)) as env:
            recording = record(self.runner.agent, env, EVAL_SEED, PICTURED)
        if not recording.layers:
            return None
        # Neurons of all layers side by side, ticks below each other.
        trains = [recording.train(f"spikes/{i + 1}") for i in range(recording.layers)]
        return 1.0 - np.concatenate(trains, 1).T
