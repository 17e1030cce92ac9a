"""The costs of a perturbation for a trained agent, and how much of it comes back: level before,
drop, recovery, asymptote.

A brain that goes on learning lives alone: a copy of the trained agent in an environment of its own,
with noise of its own. So lives are independent, and their standard errors are what they seem.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from bio_rl import vector
from bio_rl.contracts import Agent
from bio_rl.training import api
from bio_rl.training.commands import trusting
from bio_rl.training.fitting import GENERATORS
from bio_rl.training.runner import Life, begin, collect, decide
from bio_rl.vector import TensorVectorEnv

RECOVERED = 0.9
"""Share of the drop that has to be regained."""
WINDOW = 0.05
"""Length of the moving average, as a share of a life of one episode; at most 50 steps. Longer
lives: one episode's limit.
"""
LIFE = 1000
"""Steps, where an environment has no time limit."""
BEFORE = 5
"""Episode limits that a learning brain lives before the perturbation."""
AFTER = 40
"""Episode limits that it lives after the perturbation.

Measured on CartPole with its motor inverted (three_factor, reset_on_surprise 1, lr_final 0.5): each
of 10 brains earned 90 % again over a whole limit after 3 to 20 of them, and their mean after 26.
"""
LEARNING_LIVES = 10
"""Lives of brains that learn, which are lived one after the other."""


@dataclass(frozen=True)
class Resilience:
    """Rewards per step of lives that are perturbed at one step. Spreads are standard errors over
    the lives.
    """

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
    """Steps from the perturbation until the smoothed mean, after its lowest, has regained 90 % of
    the drop; 0 without a drop, None for never.
    """
    asymptote: float
    """Mean of the last quarter of the time afterwards."""
    asymptote_se: float
    curve: list[float]
    """[steps] the smoothed mean over lives."""
    curve_se: list[float]
    lives_back: int = 0
    """Number of lives whose smoothed curve has regained 90 % of its drop by itself, those without a
    drop among them.
    """
    one_fall: bool = False
    """Whether a life was one episode and some ended by a fall: nothing can come back before the
    episode's limit then.
    """
    command: str = ""
    """The command line that gave these figures."""
    trained: str = ""
    """Settings of the training that differ from the defaults, the preset's too."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        share = f" ({self.drop / abs(self.before):.0%})" if self.before else ""
        brains = "a brain each, learning goes on" if self.learn else "frozen"
        lines = [
            f"reward per step, {self.lives} lives of {self.steps:,} steps, "
            f"{' '.join(self.perturb)} at step {self.at:,}, {brains}:",
            f"  before    {self.before:.3f} ± {self.before_se:.3f}",
            f"  drop      {self.drop:.3f}{share}, to {self.lowest:.3f}",
            f"  recovery  {self._back()}",
            f"  asymptote {self.asymptote:.3f} ± {self.asymptote_se:.3f}",
        ]
        if self.command:
            lines += [f"  command   {self.command}", f"  run       {self.trained}"]
        return "\n".join(lines)

    def _back(self) -> str:
        """When the drop was regained, in words."""
        if self.drop <= 0:
            return "there was no drop"
        lives = f"; {self.lives_back} of {self.lives} lives by themselves"
        if self.recovery is not None:
            return f"90 % of the drop after {self.recovery:,} steps{lives}"
        never = f"90 % of the drop never, within {self.steps - self.at:,} steps{lives}"
        if self.one_fall:
            never += (
                "\n            (a life was one episode, and who falls earns nothing until "
                "its limit: --steps gives more)"
            )
        return never


def summarise(
    scores: np.ndarray, at: int, perturb: Sequence[str], learn: bool, slot: int | None = None
) -> Resilience:
    """The figures of scores [lives, steps], rewards per step, perturbed at step `at`. slot: an
    episode's greatest length.
    """
    lives, steps = scores.shape
    window = _window(steps, at, slot)
    smooth = np.stack([_trailing_mean(life, window) for life in scores])
    mean = smooth.mean(0)
    spread = smooth.std(0) / np.sqrt(max(1, lives - 1))
    before = scores[:, at // 2 : at].mean(1)
    # What is left at the end, when learning anew has had its time.
    last_quarter = steps - max(1, (steps - at) // 4)
    end = scores[:, last_quarter:].mean(1)
    lowest, drop, recovery = _fall_and_rise(mean, float(before.mean()), at, window)
    levels = zip(smooth, before, strict=True)
    alone = [_fall_and_rise(life, float(level), at, window) for life, level in levels]
    return Resilience(
        perturb=tuple(perturb),
        learn=learn,
        at=at,
        steps=steps,
        lives=lives,
        before=float(before.mean()),
        before_se=_standard_error(before),
        lowest=lowest,
        drop=drop,
        recovery=recovery,
        asymptote=float(end.mean()),
        asymptote_se=_standard_error(end),
        curve=mean.tolist(),
        curve_se=spread.tolist(),
        lives_back=sum(back is not None for _, _, back in alone),
    )


def _window(steps: int, at: int, slot: int | None) -> int:
    """Steps of the moving average over a life of `steps`, perturbed at step `at`."""
    # Within a slot scores fall to 0 where a row falls; over a whole one they tell.
    if slot is not None and slot < steps:
        return min(slot, steps - at)
    return max(1, min(50, int(WINDOW * steps), steps - at))


def _fall_and_rise(
    smooth: np.ndarray, before: float, at: int, window: int
) -> tuple[float, float, int | None]:
    """(Least value, drop below `before`, steps from `at` until 90 % of it is regained) of a
    smoothed curve [steps].
    """
    # From here on the average holds no step from before.
    settled = smooth[at + window - 1 :]
    lowest = int(settled.argmin())
    least = float(settled[lowest])
    drop = before - least
    if drop <= 0:
        return least, drop, 0
    regained = np.flatnonzero(settled[lowest:] >= settled[lowest] + RECOVERED * drop)
    recovery = lowest + int(regained[0]) + window if len(regained) else None
    return least, drop, recovery


def _trailing_mean(x: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` values, of fewer at the start, [T]."""
    # A difference of two running sums is the sum of the window.
    total = np.cumsum(np.concatenate(([0.0], x)))
    t = np.arange(1, len(x) + 1)
    first = np.maximum(0, t - window)
    return (total[t] - total[first]) / (t - first)


def _standard_error(x: np.ndarray) -> float:
    if len(x) < 2:
        return 0.0
    return float(x.std(ddof=1) / np.sqrt(len(x)))


def evaluate_run(
    trained: api.Trained,
    perturb: Sequence[str],
    *,
    episodes: int | None = None,
    seed: int = api.FINAL_SEED,
    at: int | None = None,
    steps: int | None = None,
    learn: bool = False,
    best: bool = False,
) -> Resilience:
    """Lives of a run's agent, from fixed start states, with a perturbation at step `at` (default:
    see `life_of`).

    perturb: texts without a schedule, which the step gives them; or with their own. episodes:
    lives, by default 20, 10 where they learn. steps: length of a life. learn: each life is a copy
    of the agent, alone in its environment, that goes on learning as `resume` to a longer horizon
    does; else the agent is frozen and greedy. best: for the headline, that these are the weights of
    `best.pt`.
    """
    run = trained.experiment.run
    limit = gym.spec(vector.find_id(run.env)).max_episode_steps
    at, steps = life_of(limit, at, steps, learn)
    usual = LEARNING_LIVES if learn else api.FINAL_EPISODES
    lives = usual if episodes is None else episodes
    if lives < 1:
        raise ValueError(f"--episodes is {lives}, expected at least 1")
    if not 1 <= at < steps:
        raise ValueError(
            f"--at is {at}, expected a step from 1 to {steps - 1}, within the life of {steps} steps"
        )
    # A text with a schedule of its own keeps it.
    timed = [text if "@" in text else f"{text}@life:{at}" for text in perturb]
    slot = limit or steps
    with api.single_thread():
        live = _learning_lives if learn else _frozen_lives
        rewards, fell = live(trained, (*run.perturb, *timed), lives, seed, steps)
    # A brain with a replay has as many bodies as it was trained in: its life is their mean.
    bodies = len(rewards) // lives
    scores = score(rewards, fell, slot).reshape(lives, bodies, steps).mean(1)
    flags = {"episodes": lives, "at": at, "steps": steps, "seed": seed}
    return replace(
        summarise(scores, at, perturb, learn, limit),
        one_fall=bool(fell.any()) and steps <= slot,
        command=_command(trained, perturb, learn, best, flags),
        trained=_settings(trained),
    )


def life_of(limit: int | None, at: int | None, steps: int | None, learn: bool) -> tuple[int, int]:
    """(Step of the perturbation, length of a life) where one of them or both are not given.

    limit: of an episode. A frozen agent lives one episode and is perturbed half way. A brain that
    learns lives BEFORE episodes' limits before and AFTER of them after, since learning anew takes
    many episodes, short ones at first.
    """
    episode = limit or LIFE
    if learn and steps is None:
        at = BEFORE * episode if at is None else at
        return at, at + AFTER * episode
    steps = episode if steps is None else steps
    at = steps // 2 if at is None else at
    return at, steps


def _command(
    trained: api.Trained,
    perturb: Sequence[str],
    learn: bool,
    best: bool,
    flags: Mapping[str, int],
) -> str:
    """The command line that gives these figures, every number in it."""
    words = ["python", "train.py", "eval", str(trained.folder), "--perturb", *perturb]
    words += ["--learn", "on" if learn else "off"]
    for name, value in flags.items():
        words += [f"--{name}", str(value)]
    words += ["--best"] if best else []
    words += trusting(trained.experiment.modules())
    return shlex.join(words)


def _settings(trained: api.Trained) -> str:
    """The flags of the training that differ from the defaults, those that its preset set too."""
    words = []
    for name, value in trained.experiment.changed().items():
        # A flag with several values takes them as words of their own.
        values = value if isinstance(value, tuple | list) else [value]
        words += [f"--{name}", *(str(x) for x in values)]
    return shlex.join(words)


def score(rewards: np.ndarray, fell: np.ndarray, slot: int) -> np.ndarray:
    """Rewards per step that count, [lives, steps].

    A life is cut into slots of one episode's greatest length. Who falls (the episode terminates)
    earns nothing for the rest of its slot, though a new episode begins at once: else a task that
    pays for every step survived would show no loss.
    """
    down = np.zeros(rewards.shape, bool)
    for t in range(1, rewards.shape[1]):
        # Who is down stays so until the next slot begins.
        begins = t % slot == 0
        down[:, t] = (down[:, t - 1] | fell[:, t - 1]) & (not begins)
    return np.where(down, 0.0, rewards)


def _frozen_lives(
    trained: api.Trained, perturb: Sequence[str], lives: int, seed: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and terminations [lives, steps] of the agent as it is, all lives at once."""
    run = trained.experiment.run
    with closing(api.make_env(run, lives, trained.agent.device, perturb=perturb)) as env:
        return _live(trained.agent, env, seed, steps, learn=False)


def _learning_lives(
    trained: api.Trained, perturb: Sequence[str], lives: int, seed: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and terminations [lives · bodies, steps], one life after the other; life i is that of
    seed + i, alone or not.
    """
    run = trained.experiment.run
    device = trained.agent.device
    rewards = []
    fell = []
    for i in range(lives):
        with closing(api.make_env(run, bodies_of(trained), device, perturb=perturb)) as env:
            # Every life starts from the same weights: what one has learned, no other knows.
            brain = own_brain(trained, env, steps, seed + i)
            earned, ended = _live(brain, env, seed + i, steps, learn=True)
        rewards.append(earned)
        fell.append(ended)
        said = f"life {i + 1} of {lives}: {earned.mean():.3f} a step"
        print(said, file=sys.stderr, flush=True)
    return np.concatenate(rewards), np.concatenate(fell)


def bodies_of(trained: api.Trained) -> int:
    """Environments that a brain lives in: one; with a replay, whose rows are environments, those
    that it was trained in.

    The life's reward is the mean over them.
    """
    return 1 if trained.agent.replay is None else trained.experiment.run.num_envs


def own_brain(trained: api.Trained, env: TensorVectorEnv, steps: int, seed: int) -> Agent:
    """A copy of the trained agent that will learn in `env` for `steps` steps and draws its noise
    from `seed`.

    Copies share nothing: without a seed of its own each would explore by the very same draws.
    """
    agent = trained.learner(env, steps)
    state = agent.state_dict()
    fresh = torch.Generator(agent.device).manual_seed(seed).get_state()
    for name in GENERATORS & state.keys():
        # One generator [bytes], or those of several seeds [G, bytes].
        state[name] = fresh.expand_as(state[name]).clone()
    agent.load_state_dict(state)
    return agent


def _live(
    agent: Agent, env: TensorVectorEnv, seed: int, steps: int, learn: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and terminations [lives, steps]."""
    life = begin(agent, env, seed)
    rewards: list[np.ndarray] = []
    fell: list[np.ndarray] = []
    while len(rewards) < steps:
        if learn:
            transition, life = _learned(agent, env, life)
        else:
            transition, life = decide(agent, env, life, explore=False)
        # [T, lives] of a rollout, [lives] of a single decision: a row a step of either.
        rewards += [*np.atleast_2d(transition.reward.cpu().numpy())]
        fell += [*np.atleast_2d(transition.terminated.cpu().numpy())]
    return np.stack(rewards[:steps], 1).astype(np.float64), np.stack(fell[:steps], 1)


def _learned(agent: Agent, env: TensorVectorEnv, life: Life) -> tuple[Any, Life]:
    """A rollout and its update: the transitions [T, lives] and the life after."""
    # The very loop of a training, without its log.
    rollout, life = collect(agent, env, life)
    state, _ = agent.update(rollout, life.state)
    return rollout.steps, life._replace(state=state)
