"""What a perturbation costs a trained agent, and how much of it comes back: level before, drop, recovery, asymptote."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from bio_rl import training, vector
from bio_rl.runner import Life, begin, collect, decide
from bio_rl.types import Agent
from bio_rl.vector import Vector

RECOVERED = 0.9
"""Share of the drop that has to be regained."""
WINDOW = 0.05
"""Length of the moving average, as a share of a life of one episode; at most 50 steps. Longer lives: one episode's limit."""
LIFE = 1000
"""Steps, where an environment has no time limit."""


@dataclass(frozen=True)
class Resilience:
    """Rewards per step of lives that are perturbed at one step. Spreads are standard errors over the lives."""

    perturb: tuple[str, ...]
    learn: bool
    """Whether the agent went on learning."""
    at: int
    """Step of the perturbation."""
    steps: int
    """Length of a life."""
    lives: int
    before: float
    """Mean of the second half of the time before."""
    before_se: float
    lowest: float
    """Least value of the smoothed mean afterwards."""
    drop: float
    """before - lowest."""
    recovery: int | None
    """Steps from the perturbation until the smoothed mean, after its lowest, has regained 90 % of the drop; 0 without a drop,
    None for never."""
    asymptote: float
    """Mean of the last quarter of the time afterwards."""
    asymptote_se: float
    curve: list[float]
    """[steps] the smoothed mean over lives."""
    curve_se: list[float]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        back = "90 % of the drop " + ("never" if self.recovery is None else f"after {self.recovery:,} steps")
        back = back if self.drop > 0 else "there was no drop"
        share = f" ({self.drop / abs(self.before):.0%})" if self.before else ""
        return (
            f"reward per step, {self.lives} lives of {self.steps:,} steps, {' '.join(self.perturb)} at step {self.at:,}, "
            f"{'learning goes on' if self.learn else 'frozen'}:\n"
            f"  before    {self.before:.3f} ± {self.before_se:.3f}\n"
            f"  drop      {self.drop:.3f}{share}, to {self.lowest:.3f}\n"
            f"  recovery  {back}\n"
            f"  asymptote {self.asymptote:.3f} ± {self.asymptote_se:.3f}"
        )


def summarise(scores: np.ndarray, at: int, perturb: Sequence[str], learn: bool, slot: int | None = None) -> Resilience:
    """The figures of scores [lives, steps], rewards per step, perturbed at step `at`. slot: an episode's greatest length."""
    lives, steps = scores.shape
    window = max(1, min(50, int(WINDOW * steps), steps - at))
    if slot is not None and slot < steps:  # within a slot scores fall to 0 where a row falls; over a whole one they tell
        window = min(slot, steps - at)
    smooth = np.stack([_trailing_mean(life, window) for life in scores])
    mean, spread = smooth.mean(0), smooth.std(0) / np.sqrt(max(1, lives - 1))
    before = scores[:, at // 2 : at].mean(1)
    end = scores[:, steps - max(1, (steps - at) // 4) :].mean(1)
    settled = mean[at + window - 1 :]  # from here on the average holds no step from before
    lowest = int(settled.argmin())
    drop = float(before.mean() - settled[lowest])
    regained = np.flatnonzero(settled[lowest:] >= settled[lowest] + RECOVERED * drop)
    recovery = lowest + int(regained[0]) + window if len(regained) else None
    return Resilience(
        perturb=tuple(perturb),
        learn=learn,
        at=at,
        steps=steps,
        lives=lives,
        before=float(before.mean()),
        before_se=_standard_error(before),
        lowest=float(settled[lowest]),
        drop=drop,
        recovery=recovery if drop > 0 else 0,
        asymptote=float(end.mean()),
        asymptote_se=_standard_error(end),
        curve=mean.tolist(),
        curve_se=spread.tolist(),
    )


def _trailing_mean(x: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` values, of fewer at the start, [T]."""
    total = np.cumsum(np.concatenate(([0.0], x)))
    t = np.arange(1, len(x) + 1)
    first = np.maximum(0, t - window)
    return (total[t] - total[first]) / (t - first)


def _standard_error(x: np.ndarray) -> float:
    return float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else 0.0


def evaluate_run(
    trained: training.Trained,
    perturb: Sequence[str],
    *,
    episodes: int = training.FINAL_EPISODES,
    seed: int = training.FINAL_SEED,
    at: int | None = None,
    steps: int | None = None,
    learn: bool = False,
) -> Resilience:
    """Lives of a run's agent, from fixed start states, with a perturbation at step `at` (default: half way).

    perturb: texts without a schedule, which the step gives them; or with their own. steps: length of a life, by default one
    episode. learn: the agent goes on learning, as `resume` to a longer horizon does, in a copy; else it is frozen and greedy.
    """
    run = trained.experiment.run
    limit = gym.spec(vector.find_id(run.env)).max_episode_steps
    steps = steps or limit or LIFE
    at = steps // 2 if at is None else at
    if episodes < 1:
        raise ValueError(f"--episodes is {episodes}, expected at least 1")
    if not 1 <= at < steps:
        raise ValueError(f"--at is {at}, expected a step from 1 to {steps - 1}, within the life of {steps} steps")
    timed = [text if "@" in text else f"{text}@life:{at}" for text in perturb]
    env = training.make_env(run, episodes, trained.agent.device, perturb=(*run.perturb, *timed))
    with closing(env), training.single_thread():
        agent = trained.learner(env, steps * episodes) if learn else trained.agent
        rewards, fell = _live(agent, env, seed, steps, learn)
    return summarise(score(rewards, fell, limit or steps), at, perturb, learn, limit)


def score(rewards: np.ndarray, fell: np.ndarray, slot: int) -> np.ndarray:
    """Rewards per step that count, [lives, steps].

    A life is cut into slots of one episode's greatest length. Who falls (the episode terminates) earns nothing for the rest of
    its slot, though a new episode begins at once: else a task that pays for every step survived would show no loss.
    """
    down = np.zeros(rewards.shape, bool)
    for t in range(1, rewards.shape[1]):
        down[:, t] = (down[:, t - 1] | fell[:, t - 1]) & (t % slot != 0)
    return np.where(down, 0.0, rewards)


def _live(agent: Agent, env: Vector, seed: int, steps: int, learn: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and terminations [lives, steps]."""
    life = begin(agent, env, seed)
    rewards: list[np.ndarray] = []
    fell: list[np.ndarray] = []
    while len(rewards) < steps:
        seen, life = _learned(agent, env, life) if learn else decide(agent, env, life, explore=False)
        rewards += [*np.atleast_2d(seen.reward.cpu().numpy())]
        fell += [*np.atleast_2d(seen.terminated.cpu().numpy())]
    return np.stack(rewards[:steps], 1).astype(np.float64), np.stack(fell[:steps], 1)


def _learned(agent: Agent, env: Vector, life: Life) -> tuple[Any, Life]:
    """A rollout and its update: the transitions [T, lives] and the life after."""
    rollout, life = collect(agent, env, life)
    state, _ = agent.update(rollout, life.state)
    return rollout.steps, life._replace(state=state)
