"""The front door from Python: train, resume or load a run, and do with it what the commands do.

run = bio_rl.train("CartPole-v1", network="spiking", steps=60_000)
action, memory = run.predict(obs)         # then run.predict(obs, memory) to the episode's end
run.evaluate(100)                         # greedy returns
run.play("film.gif")                      # a film
run.raster("brain.png")                   # spikes, membranes, actions and rewards
run.curve("curve.png")                    # how it learned
run.record(50).save("life.npz")           # all of it as arrays; also .csv and .nwb
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from bio_rl.training import api, config
from bio_rl.training.build import FINAL_EPISODES, FINAL_SEED, Trained
from bio_rl.training.commands import expanded
from bio_rl.training.evaluation import Evaluation
from bio_rl.training.predict import Memory, predict
from bio_rl.training.progress import Callback
from bio_rl.training.progress import Progress as Progress
from bio_rl.training.progress import StopTraining as StopTraining
from bio_rl.training.recording import Recording
from bio_rl.training.recording.run import record_run
from bio_rl.training.voice import Voice
from bio_rl.vector.factory import find_id
from bio_rl.viz import card, curves, plot, raster, video
from bio_rl.viz.card import Shown


class Run(Trained):
    """A trained run: its `agent`, `folder`, `steps`, `experiment` and final `evaluation`, and what
    one does with them. Pictures need the extra `plots`, films `video`.
    """

    @classmethod
    def of(cls, trained: Trained) -> Run:
        """The same run with these methods."""
        return cls(**{field.name: getattr(trained, field.name) for field in fields(trained)})

    def __repr__(self) -> str:
        facts = card.facts(self)
        which = " · ".join([facts["world"], facts["agent"], facts["network"]])
        done = f"{facts['steps']} steps, greedy return {facts['greedy return']}"
        return f"<Run {which} · {done}, in {facts['folder']}>"

    def _repr_html_(self) -> str:
        """A card for notebooks."""
        return card.card(self)

    def predict(
        self,
        obs: Any,
        memory: Memory | None = None,
        *,
        reward: float | np.ndarray = 0.0,
        explore: bool = False,
    ) -> tuple[Any, Memory]:
        """(action, memory): the action for an observation as the world gives it, or actions for B
        of them; see `training.predict`.

        memory: what the decision before returned; None begins an episode.
        """
        return predict(self.agent, obs, memory, reward=reward, explore=explore)

    def evaluate(
        self, episodes: int = FINAL_EPISODES, seed: int = FINAL_SEED, sample: bool = False
    ) -> Evaluation:
        """Greedy returns from `episodes` start states that `seed` fixes.

        sample: actions are drawn as in training instead, which some tasks need.
        """
        return api.evaluate_run(self, episodes, seed, sample)

    def play(
        self, path: str | Path | None = None, seed: int = FINAL_SEED, spikes: bool = False
    ) -> Shown:
        """Film one greedy episode to `path`, .mp4 or .gif; by default episode.mp4 in its folder.
        A notebook shows the film.

        spikes: the first eight seconds, with the network's spikes beside the world.
        """
        place = self.folder / "episode.mp4" if path is None else expanded(path)
        return Shown(video.film(self, place, seed, spikes)[0])

    def raster(
        self,
        path: str | Path | None = None,
        seed: int = FINAL_SEED,
        decisions: int | None = None,
        learn: bool = False,
    ) -> Shown:
        """Draw what its neurons do in an episode, to .png, .svg or .pdf; by default raster.png in
        its folder. learn: in a copy that goes on learning, with dopamine and weights.
        """
        place = self.folder / "raster.png" if path is None else expanded(path)
        return Shown(raster.draw(self, place, seed, decisions, learn))

    def curve(self, path: str | Path | None = None, key: str = curves.RETURN) -> Shown:
        """Draw how a logged quantity went in training; by default the returns, to
        learning_curves.png in its folder.
        """
        place = self.folder / "learning_curves.png" if path is None else expanded(path)
        return Shown(plot.draw([str(self.folder)], self.folder.parent, place, key))

    def record(
        self,
        decisions: int | None = None,
        *,
        episodes: int | None = None,
        seed: int = FINAL_SEED,
        learn: bool = False,
    ) -> Recording:
        """Record what it does as arrays, which `Recording.save` writes to a file: so many
        decisions, so many episodes, or by default the first episode.

        learn: a copy that explores and goes on learning, with dopamine and weights; else it is
        greedy.
        """
        return record_run(self, decisions, episodes, seed, learn)


def train(
    env: str = config.Run.env,
    *,
    agent: str = config.Run.agent,
    network: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    quiet: bool = False,
    callback: Callback | None = None,
    **settings: Any,
) -> Run:
    """Train as `train.py` does: bio_rl.train("HalfCheetah-v5", steps=100_000, ppo={"gamma": 0.98}).

    env, agent, network: names, or `my_module:Name` for your own, whose module is imported.
    env_kwargs: arguments of the environment's constructor. quiet: print nothing. callback: called
    with a `bio_rl.Progress` at each row of the log, evaluations among them; where it returns True
    or raises `bio_rl.StopTraining` the run stops as by Ctrl-C, saved. settings: fields of
    `training.config.Run`; the agent's and the network's own, as dicts under the words with which
    their flags begin; `preset`, a file of presets of your own.
    """
    choice = {"agent": agent, "network": network, "env_kwargs": env_kwargs}
    # Begun from Python, a run says how one goes on with it in Python.
    voice = Voice(quiet, python=True)
    return Run.of(api.train(env, callback=callback, voice=voice, **choice, **settings))


def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    device: str | None = None,
    run_dir: str | Path = config.Run.run_dir,
    trust: tuple[str, ...] = (),
    quiet: bool = False,
    callback: Callback | None = None,
) -> Run:
    """Continue a run from its last checkpoint, to `steps` or `episodes` in all if given.

    quiet, callback: see `train`; the others see `training.api.resume`.
    """
    bounds = {"steps": steps, "episodes": episodes, "device": device}
    how = {"callback": callback, "voice": Voice(quiet, python=True)}
    return Run.of(api.resume(run, run_dir=run_dir, trust=trust, **bounds, **how))


def load(
    run: str | Path = "latest",
    *,
    best: bool = False,
    run_dir: str | Path = config.Run.run_dir,
    trust: tuple[str, ...] = (),
) -> Run:
    """A run from its folder, on the CPU: with its last weights, or with `best` those that evaluated
    best. See `training.api.load`.
    """
    return Run.of(api.load(run, best=best, run_dir=run_dir, trust=trust))


def make(env: str, **settings: Any) -> gym.Env:
    """One environment, as `gymnasium.make` makes it; `bio_rl/` may be left out."""
    return gym.make(find_id(env), **settings)


def make_vec(env: str, num_envs: int = 1, **settings: Any) -> gym.vector.VectorEnv:
    """`num_envs` environments side by side, as `gymnasium.make_vec` makes them; `bio_rl/` may be
    left out.
    """
    return gym.make_vec(find_id(env), num_envs, **settings)


def evaluate(
    run: Trained | str | Path = "latest",
    episodes: int = FINAL_EPISODES,
    seed: int = FINAL_SEED,
    sample: bool = False,
    **where: Any,
) -> Evaluation:
    """Greedy returns of a run, or of the run in a folder, from `episodes` start states that `seed`
    fixes; with `sample` its actions are drawn as in training. where: arguments of `load`.
    """
    return api.evaluate_run(run, episodes, seed, sample, **where)
