"""`bio-rl eval RUN`: greedy returns, what a decision costs, and what a broken world costs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bio_rl import energy
from bio_rl.cli import _energy as _costs
from bio_rl.cli._parse import Chosen, parse
from bio_rl.machine.files import refuse_link
from bio_rl.training import api, resilience, statistics
from bio_rl.viz import resilience as picture
from bio_rl.viz import worlds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags(Chosen):
    """Evaluate a run greedily over fixed start states."""

    episodes: int | None = None
    """Number of episodes that are played, one from each start state; by default 20. With --perturb
    the number of lives: by default 20, or 10 with --learn on.
    """
    seed: int = api.FINAL_SEED
    """Seed from which all start states are drawn: the same seed gives the same ones."""
    sample: bool = False
    """Play the same start states once more with actions that are drawn as in training, and print
    those returns beside the greedy ones: the best policy of some tasks is a random one.
    """
    json: bool = False
    """Print one JSON object: episodes, mean, std, median, min, max, returns, lengths, operations (a
    decision's, by network), normalised (0 random, 1 the expert's or ideal mean; null where no
    reference is known), sampled (the same figures with --sample, else null); with --perturb the
    fields of `bio_rl.training.resilience.Resilience`.
    """
    energy: bool = False
    """Print what a decision costs, in closed loop: operations, updates of neurons, memory,
    learning, and joules under published tables (docs/energy.md).
    """
    beside: str | None = None
    """With --energy: the run of an mlp in the same world (a folder or its name), whose return and
    cost stand beside, with 32 bits, with 8, and with as many as the ticks of a decision can say.
    """
    perturb: tuple[str, ...] = ()
    """Break the world half way through each episode and report drop and recovery: gear:bthigh=-1,
    gravity=2, … (see docs/perturbations.md).
    """
    at: int | None = None
    """Step of the perturbation, if not half way; with --learn on after 5 episodes' limits."""
    steps: int | None = None
    """Length of a perturbed life, if not one episode. With --learn on it lasts until 40 episodes'
    limits after the perturbation: in CartPole with its motor inverted the slowest of 10 brains
    needed 20 of them.
    """
    learn: Literal["on", "off"] = "off"
    """With --perturb: whether brains go on learning. Each life is then a copy of the agent, alone
    in its environment, one life after the other. off: the agent is frozen, and all lives run at
    once.
    """


def main(arguments: Sequence[str]) -> None:
    """Evaluate a run, and print its score and what a decision costs."""
    flags: Flags = parse(Flags, arguments, "eval")
    trained = flags.load()
    if flags.energy or flags.beside:
        for name, value in {"perturb": flags.perturb, "sample": flags.sample}.items():
            if value:
                raise ValueError(f"--energy does not go with --{name}: it counts greedy decisions")
    if flags.perturb:
        if flags.sample:
            raise ValueError("--sample does not go with --perturb, whose brains act greedily")
        evaluate_perturbed(flags, trained)
        return
    _refuse_without_perturb(flags)
    if flags.energy or flags.beside:
        _energy(flags, trained)
        return
    episodes = api.FINAL_EPISODES if flags.episodes is None else flags.episodes
    result = api.evaluate_run(trained, episodes, flags.seed)
    sampled = None
    if flags.sample:
        sampled = api.evaluate_run(trained, episodes, flags.seed, sample=True)
    show = _print_json if flags.json else _print
    show(trained, result, sampled)


def _energy(flags: Flags, trained: api.Trained) -> None:
    """Print the table of costs, or one JSON object of them."""
    beside = None
    if flags.beside:
        beside = api.load(flags.beside, run_dir=flags.run_dir, trust=flags.trust)
    episodes = api.FINAL_EPISODES if flags.episodes is None else flags.episodes
    found = _costs.measure(trained, beside, episodes, flags.seed)
    if flags.json:
        print(json.dumps(_costs.as_dict(found)))
        return
    run = trained.experiment.run
    print(f"{run.env} after {trained.steps:,} steps, {episodes} episodes")
    print("\n".join(_costs.lines(found, trained)))


def _print(trained: api.Trained, result: api.Evaluation, sampled: api.Evaluation | None) -> None:
    """Print the score and what a decision costs, a sentence each."""
    run = trained.experiment.run
    print(f"{run.env} after {trained.steps:,} steps: {result}")
    if sampled is not None:
        print(f"with actions drawn as in training: {sampled}")
    normal = _normalised(trained, result.mean)
    if normal is not None:
        print(f"normalised {normal[0]:.2f} of {normal[1]} (0 is random)")
    # A count says something only beside that of another network for the same task.
    for name, count in api.operations_per_decision(trained).items():
        beside = "" if name == run.network else " of the default size, for comparison"
        print(f"per decision {energy.summary(count)}: {name}{beside}")


def _print_json(
    trained: api.Trained, result: api.Evaluation, sampled: api.Evaluation | None
) -> None:
    """Print the same as one JSON object."""
    normal = _normalised(trained, result.mean)
    more = {
        "operations": {
            name: {**count._asdict(), "total": count.total}
            for name, count in api.operations_per_decision(trained).items()
        },
        "normalised": None if normal is None else normal[0],
        "sampled": None if sampled is None else sampled.as_dict(),
    }
    print(json.dumps({**result.as_dict(), **more}))


def _refuse_without_perturb(flags: Flags) -> None:
    """Raise ValueError for a flag that has no meaning where nothing is perturbed."""
    learns = flags.learn == "on" or None
    for name, value in {"at": flags.at, "steps": flags.steps, "learn on": learns}.items():
        if value is not None:
            raise ValueError(f"--{name} goes with --perturb, as in --perturb gravity=2")


def _normalised(trained: api.Trained, mean: float) -> tuple[float, str] | None:
    """The score on a scale from random (0) to the reference (1), and the reference's kind."""
    run = trained.experiment.run
    return statistics.normalised(mean, worlds.reference(run.env, **run.env_kwargs))


def evaluate_perturbed(flags: Flags, trained: api.Trained) -> None:
    """Report what the perturbation costs, and draw it into the run folder."""
    result = resilience.evaluate_run(
        trained,
        flags.perturb,
        learn=flags.learn == "on",
        episodes=flags.episodes,
        seed=flags.seed,
        at=flags.at,
        steps=flags.steps,
        best=flags.best,
    )
    run = trained.experiment.run
    if flags.json:
        print(json.dumps(result.as_dict()))
    else:
        print(f"{run.env} after {trained.steps:,} steps; {result}")
    path = trained.folder / "resilience.png"
    refuse_link(path)
    how = "learning" if result.learn else "frozen"
    try:
        _draw_life(result, f"{run.env} · {' '.join(flags.perturb)} · {how}", path)
    except ImportError:
        print(
            "no picture: it needs the extra `plots`, pip install 'bio-rl[plots]'", file=sys.stderr
        )
        return
    print(f"wrote {path}", file=sys.stderr if flags.json else sys.stdout)


def _draw_life(result: resilience.Resilience, title: str, path: Path) -> None:
    """Draw a perturbed life to `path`. Raises ImportError without the extra `plots`."""
    back = None if result.recovery is None else result.at + result.recovery
    picture.draw(
        result.curve,
        result.curve_se,
        result.at,
        result.before,
        result.asymptote,
        back,
        title,
        path,
    )
