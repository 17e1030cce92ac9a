"""The command line: train (the default), eval, play, resume, list, plot, doctor. `train.py` and
`bio-rl` are the same.
"""

from __future__ import annotations

import signal

if (
    __name__ == "__main__"
):  # Ctrl-C during the imports below ends the process at once, without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import dataclasses
import json
import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro

from bio_rl import discovery, energy, faults, networks, vector
from bio_rl.faults import DivergedError, EnvironmentCrashedError, FaultyEnvironmentError
from bio_rl.machine import ram, signals, streams, trust  # fmt: skip
from bio_rl.machine.files import printable, refuse_link
from bio_rl.training import api, checkpoint, config, resilience, statistics
from bio_rl.training.commands import expanded
from bio_rl.training.config import Run

WHITE = " \n\t"
"""What separates words and lines; other control characters of a file's text do not reach the
terminal as they are.
"""
EXAMPLES = """other commands:
  eval RUN      greedy evaluation            play RUN     film an episode, --raster FILE its spikes
  resume RUN    continue, also longer        list KIND    envs, agents, networks, neurons
  plot RUN...   learning curves over seeds   doctor       what works here, how to get the rest
`train.py COMMAND --help` says more. RUN is a run folder or `latest`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Which run, and where runs are."""

    run: tyro.conf.Positional[str] = "latest"
    """A run folder, its name, or latest."""
    run_dir: Path = Run.run_dir
    """Parent of the run folders."""
    trust: tuple[str, ...] = ()
    """Modules that may be imported, and so run, for a world of somebody's own: my_module of --env
    my_module:Id-v0.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval(Place):
    """Evaluate a run greedily over fixed start states."""

    episodes: int | None = None
    """How many episodes are played, one from each start state; by default 20. With --perturb the
    number of lives: by default 20, or 10 with --learn on.
    """
    seed: int = api.FINAL_SEED
    """Seed from which all start states are drawn: the same seed gives the same ones."""
    best: bool = False
    """The weights that evaluated best in training, instead of the last."""
    json: bool = False
    """Print one JSON object: episodes, mean, std, median, min, max, returns, lengths, operations (a
    decision's, by network), normalised (0 random, 1 the expert's or ideal mean; null where no
    reference is known); with --perturb the fields of `bio_rl.training.resilience.Resilience`.
    """
    perturb: tuple[str, ...] = ()
    """Break the world half way through each episode and report drop and recovery: gear:bthigh=-1,
    gravity=2, … (see docs/perturbations.md).
    """
    at: int | None = None
    """Step of the perturbation, if not half way; with --learn on after 5 episodes' limits."""
    steps: int | None = None
    """Length of a perturbed life, if not one episode; with --learn on until 40 episodes' limits
    after the perturbation: in CartPole with its motor inverted the slowest of 10 brains needed 20
    of them.
    """
    learn: Literal["on", "off"] = "off"
    """With --perturb: whether brains go on learning. Each life is then a copy of the agent, alone
    in its environment, one life after the other. off: the agent is frozen, and all lives run at
    once.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Play(Place):
    """Film a greedy episode of a run, or draw what its neurons do."""

    video: Path | None = None
    """The film to write, .mp4 or .gif; by default episode.mp4 in the run folder."""
    raster: Path | None = None
    """The picture to write instead, .png, .svg or .pdf: input, spikes, membranes, action and reward
    on one time axis.
    """
    decisions: int | None = None
    """Length of the raster: by default 50, 60 of a brain that learns."""
    learn: Literal["on", "off"] = "off"
    """With --raster: whether the agent, a copy of it, goes on learning: dopamine, value,
    eligibility and weight change around the end of an episode.
    """
    seed: int = api.FINAL_SEED
    """Seed from which the start state is drawn."""
    best: bool = False
    """The weights that evaluated best in training, instead of the last."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resume(Place):
    """Continue a run from its last checkpoint, exactly where it stopped."""

    steps: int | None = None
    """Environment steps in all, if it is to become longer than it was planned."""
    episodes: int | None = None
    """Episodes in all, if they are to bound it."""
    device: str | None = None
    """auto, cpu or cuda, if the run goes on elsewhere than where it began."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """List what there is."""

    kind: tyro.conf.Positional[str]
    """envs, agents, networks or neurons."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
    """Draw learning curves: runs that differ in their seed alone are one curve, environments are
    panels.
    """

    runs: tyro.conf.Positional[tuple[str, ...]] = ("latest",)
    """Run folders, their names, latest, or folders that hold runs."""
    out: Path | None = None
    """The picture to write, .png, .svg or .pdf; by default learning_curves.png in the folder that
    holds the runs.
    """
    key: str = "rollout/ep_rew_mean"
    """The logged quantity, as TensorBoard names it."""
    run_dir: Path = Run.run_dir
    """Parent of the run folders."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what is installed, what works here and how to get the rest; exits 1 where training cannot
    work.
    """

    run_dir: Path = Run.run_dir
    """Parent of the run folders: is it writable?"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command.

    Exit status: 0 when it finished, 2 for refused input or a run that diverged, with one message; 1
    for an error of a user's own world, with its traceback; 128 + the signal's number for a run that
    was stopped: 130 after Ctrl-C.
    """
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        and threading.current_thread() is threading.main_thread()
    ):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the imports are over
    with streams.tolerant() as output:
        command = _main(argv)
    if output.fault is not None and command not in ("train", "resume"):  # whose work is in files
        print(f"error: standard output: {output.fault}", file=sys.stderr)
        sys.exit(1)


def _main(argv: Sequence[str] | None) -> str:
    """Run the command; returns its name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments and not arguments[0].startswith("-") else "train"
    rest = arguments[1:] if arguments[:1] == [name] else arguments
    if name not in COMMANDS:
        refuse(f"no command called {name!r}; {discovery.suggestion(name, COMMANDS)}")
    ram.keep_freed()
    try:
        COMMANDS[name](rest)
    except EnvironmentCrashedError as error:
        crash(error)
    except (
        ValueError,
        OSError,
        checkpoint.CheckpointError,
        FaultyEnvironmentError,
        DivergedError,
    ) as error:
        refuse(str(error))
    except signals.Interrupted as stopped:
        sys.exit(signals.exit_status(stopped.number))
    except KeyboardInterrupt:
        sys.exit(signals.exit_status(signal.SIGINT))
    return name


def crash(error: EnvironmentCrashedError) -> NoReturn:
    """Show the traceback of a user's own world, say what is kept, and exit with status 1."""
    trace = faults.users_traceback(error)
    print(f"{shown(trace)}error: {shown(error)}", file=sys.stderr)
    sys.exit(1 if trace or "Traceback" in str(error) else 2)


def shown(message: object) -> str:
    """A message as it may stand on a terminal: no control characters, and no word of thousands of
    letters.
    """
    return re.sub(r"\S{300,}", lambda word: f"{word[0][:100]}…", printable(message, keep=WHITE))


def ended(trained: api.Trained) -> None:
    """Draw the learning curve into the run's folder, and exit as a run that was stopped does."""
    from bio_rl.viz import curves

    run = trained.experiment.run
    with suppress(ImportError):  # the extra `plots`
        curves.draw(
            {run.env: {f"{run.agent} {run.network}": [trained.folder]}},
            trained.folder / "learning_curve.png",
        )
    if trained.stopped is not None:
        sys.exit(signals.exit_status(trained.stopped))


def refuse(message: str) -> NoReturn:
    """Exit with status 2."""
    print(f"error: {shown(message)}", file=sys.stderr)
    sys.exit(2)


def parse(kind: Any, arguments: Sequence[str], command: str, **settings: Any) -> Any:
    """`arguments` as an instance of the dataclass `kind`."""
    prog = f"train.py {command}".strip()
    return tyro.cli(
        kind, args=list(arguments), prog=prog, config=(tyro.conf.FlagCreatePairsOff,), **settings
    )


def with_flags(config: Any) -> Any:
    """A configuration whose fields with a `flag` in their metadata have that flag, without the name
    of the configuration's owner before it.
    """
    kind = type(config)
    short = [
        (f.name, Annotated[f.type, tyro.conf.arg(name=f.metadata["flag"], prefix_name=False)], f)
        for f in dataclasses.fields(kind)
        if "flag" in f.metadata
    ]
    if not short:
        return config
    # named and placed as the original, in whose source the help text of a flag is found
    place = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    flagged = dataclasses.make_dataclass(
        kind.__name__, short, bases=(kind,), namespace=place, frozen=True, kw_only=True
    )
    return flagged(**{f.name: vars(config)[f.name] for f in dataclasses.fields(kind)})


def train(arguments: Sequence[str]) -> None:
    """The flags of the chosen agent and network are those of their configs, with the preset's
    values as defaults.
    """
    named = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag, default in (("env", Run.env), ("agent", Run.agent), ("network", None)):
        named.add_argument(f"--{flag}", default=default)
    chosen, _ = named.parse_known_args([a for a in arguments if a not in ("--help", "-h")])
    if module := trust.module_of(chosen.env):
        trust.import_named(module)
    vector.find_id(chosen.env)
    base = config.experiment(chosen.env, chosen.agent, chosen.network)
    chosen.network = base.run.network
    network_config = with_flags(base.network.config)
    kind = dataclasses.make_dataclass(
        "Train",
        [
            (chosen.agent, type(base.agent), dataclasses.field(default=base.agent)),
            (
                chosen.network,
                type(network_config),
                dataclasses.field(default=network_config),
            ),
        ],
        bases=(Run,),
        frozen=True,
        kw_only=True,
    )
    run_values = {f.name: getattr(base.run, f.name) for f in dataclasses.fields(Run)}
    own = {chosen.agent: base.agent, chosen.network: network_config}
    given = parse(
        kind,
        arguments,
        "",
        default=kind(**run_values, **own),
        description=f"{Run.__doc__}\n\n{EXAMPLES}",
    )
    run = Run(**{name: getattr(given, name) for name in run_values})
    values = vars(getattr(given, chosen.network))
    network = networks.Blueprint(chosen.network, dataclasses.replace(base.network.config, **values))
    ended(
        api.run_experiment(
            config.Experiment(run, getattr(given, chosen.agent), network, base.preset)
        )
    )


def evaluate(arguments: Sequence[str]) -> None:
    from bio_rl.viz import worlds

    given: Eval = parse(Eval, arguments, "eval")
    trained = api.load(given.run, best=given.best, run_dir=given.run_dir, trust=given.trust)
    if given.perturb:
        evaluate_perturbed(given, trained)
        return
    for name, value in {
        "at": given.at,
        "steps": given.steps,
        "learn on": given.learn == "on" or None,
    }.items():
        if value is not None:
            raise ValueError(f"--{name} goes with --perturb, as in --perturb gravity=2")
    episodes = api.FINAL_EPISODES if given.episodes is None else given.episodes
    result = api.evaluate_run(trained, episodes, given.seed)
    counts = api.operations_per_decision(trained)
    run = trained.experiment.run
    normal = statistics.normalised(result.mean, worlds.reference(run.env, **run.env_kwargs))
    if given.json:
        figures = {
            name: {k: float(x) for k, x in c._asdict().items()} for name, c in counts.items()
        }
        print(
            json.dumps(
                {**result.as_dict(), "operations": figures, "normalised": normal and normal[0]}
            )
        )
        return
    print(f"{trained.experiment.run.env} after {trained.steps:,} steps: {result}")
    if normal is not None:
        print(f"normalised {normal[0]:.2f} of {normal[1]} (0 is random)")
    for name, count in counts.items():
        beside = (
            " of the default size, for comparison" if name != trained.experiment.run.network else ""
        )
        print(f"per decision {energy.summary(count)}: {name}{beside}")


def evaluate_perturbed(given: Eval, trained: api.Trained) -> None:
    """Report what the perturbation costs, and draw it into the run folder."""
    settings = {
        "episodes": given.episodes,
        "seed": given.seed,
        "at": given.at,
        "steps": given.steps,
        "best": given.best,
    }
    result = resilience.evaluate_run(trained, given.perturb, learn=given.learn == "on", **settings)
    if given.json:
        print(json.dumps(result.as_dict()))
    else:
        print(f"{trained.experiment.run.env} after {trained.steps:,} steps; {result}")
    path = trained.folder / "resilience.png"
    refuse_link(path)
    try:
        from bio_rl.viz import resilience as picture

        back = None if result.recovery is None else result.at + result.recovery
        title = f"{trained.experiment.run.env} · {' '.join(given.perturb)} · {'learning' if result.learn else 'frozen'}"
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
        print(f"wrote {path}", file=sys.stderr if given.json else sys.stdout)
    except ImportError:
        print(
            "no picture: it needs the extra `plots`, pip install 'bio-rl[plots]'", file=sys.stderr
        )


def play(arguments: Sequence[str]) -> None:
    from bio_rl.viz import raster, video

    given: Play = parse(Play, arguments, "play")
    if given.raster is None and given.learn == "on":
        raise ValueError("--learn on goes with --raster, as in --raster brain.png")
    trained = api.load(given.run, best=given.best, run_dir=given.run_dir, trust=given.trust)
    if given.raster is not None:
        print(
            f"wrote {raster.draw(trained, expanded(given.raster), given.seed, given.decisions, given.learn == 'on')}"
        )
        if given.video is None:
            return
    refuse_link(trained.folder / "episode.mp4")
    path, total = video.film(
        trained, expanded(given.video or trained.folder / "episode.mp4"), given.seed
    )
    print(f"return {total:.1f}; wrote {path}")


def resume(arguments: Sequence[str]) -> None:
    given: Resume = parse(Resume, arguments, "resume")
    where = {"device": given.device, "run_dir": given.run_dir, "trust": given.trust}
    ended(api.resume(given.run, steps=given.steps, episodes=given.episodes, **where))


def show(arguments: Sequence[str]) -> None:
    from bio_rl.viz import tables

    given: List = parse(List, arguments, "list")
    if given.kind not in tables.KINDS:
        raise ValueError(
            f"nothing to list called {given.kind!r}; {discovery.suggestion(given.kind, tables.KINDS)}"
        )
    tables.KINDS[given.kind]()


def plot(arguments: Sequence[str]) -> None:
    from bio_rl.viz import plot

    given: Plot = parse(Plot, arguments, "plot")
    runs = tuple(str(expanded(run)) for run in given.runs)
    out = None if given.out is None else expanded(given.out)
    print(f"wrote {plot.draw(runs, expanded(given.run_dir), out, given.key)}")


def examine(arguments: Sequence[str]) -> None:
    from bio_rl import doctor

    given: Doctor = parse(Doctor, arguments, "doctor")
    sys.exit(doctor.main(expanded(given.run_dir)))


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "eval": evaluate,
    "play": play,
    "resume": resume,
    "list": show,
    "plot": plot,
    "doctor": examine,
}

if __name__ == "__main__":
    main()
