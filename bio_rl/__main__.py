"""The command line: train (the default), eval, play, resume, list, plot, doctor. `train.py` and
`bio-rl` are the same.
"""

from __future__ import annotations

import signal

# Ctrl-C during the imports below ends the process at once, without a traceback.
if __name__ == "__main__":
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
from typing import Annotated, Any, NoReturn

import tyro

from bio_rl import discovery, energy, faults, networks, vector
from bio_rl.faults import DivergedError, EnvironmentCrashedError, FaultyEnvironmentError
from bio_rl.machine import ram, signals, streams, trust
from bio_rl.machine.files import printable, refuse_link
from bio_rl.training import api, checkpoint, config, resilience, statistics, users
from bio_rl.training.commands import expanded
from bio_rl.training.config import Experiment, Run
from bio_rl.training.flags import Doctor, Eval, List, Play, Plot, Resume

WHITE = " \n\t"
"""The separators of words and lines; other control characters of a file's text do not reach the
terminal as they are.
"""
LONG_WORD = 300
"""Letters from which on a word of a message is cut."""
EXAMPLES = """other commands:
  eval RUN      greedy evaluation            play RUN     film an episode, --raster FILE its spikes
  resume RUN    continue, also longer        list KIND    envs, agents, networks, neurons
  plot RUN...   learning curves over seeds   doctor       what works here, how to get the rest
`train.py COMMAND --help` says more. RUN is a run folder or `latest`."""
REFUSED = (
    ValueError,
    OSError,
    checkpoint.CheckpointError,
    FaultyEnvironmentError,
    DivergedError,
)
"""Errors that are told in a sentence, without a traceback."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command.

    Exit status: 0 when it finished, 2 for refused input or a run that diverged, with one message; 1
    for an error of a user's own world, with its traceback; 128 + the signal's number for a run that
    was stopped: 130 after Ctrl-C.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL and in_main_thread:
        # The imports are over.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with streams.tolerant() as output:
        command = _main(argv)
    # Of train and resume the work is in files.
    if output.fault is not None and command not in ("train", "resume"):
        print(f"error: standard output: {output.fault}", file=sys.stderr)
        sys.exit(1)


def _main(argv: Sequence[str] | None) -> str:
    """Run the command; returns its name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Without a command the flags are those of train.
    name = arguments[0] if arguments and not arguments[0].startswith("-") else "train"
    rest = arguments[1:] if arguments[:1] == [name] else arguments
    if name not in COMMANDS:
        refuse(f"no command called {name!r}; {discovery.suggestion(name, COMMANDS)}")
    ram.keep_freed()
    try:
        COMMANDS[name](rest)
    except EnvironmentCrashedError as error:
        crash(error)
    except REFUSED as error:
        refuse(str(error))
    except signals.Interrupted as stopped:
        sys.exit(signals.exit_status(stopped.number))
    except KeyboardInterrupt:
        sys.exit(signals.exit_status(signal.SIGINT))
    return name


def crash(error: EnvironmentCrashedError) -> NoReturn:
    """Show the traceback of a user's own world, say what is kept, and exit with status 1."""
    # Only the lines of the user's own world: ours are no help to them.
    trace = faults.users_traceback(error)
    print(f"{shown(trace)}error: {shown(error)}", file=sys.stderr)
    sys.exit(1 if trace or "Traceback" in str(error) else 2)


def shown(message: object) -> str:
    """A message as it may stand on a terminal: no control characters, and no word of thousands of
    letters.
    """
    text = printable(message, keep=WHITE)
    return re.sub(rf"\S{{{LONG_WORD},}}", lambda word: f"{word[0][:100]}…", text)


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


# ---------------------------------- train and resume


def train(arguments: Sequence[str]) -> None:
    """Train; the flags of the chosen agent and network are those of their configs, with the
    preset's values as defaults.
    """
    for module in users.modules_typed(arguments):
        trust.import_named(module)
    experiment = parsed_experiment(arguments)
    if experiment.run.seeds > 1:
        ended(api.run_seeds(experiment))
    else:
        ended([api.run_experiment(experiment)])


def parsed_experiment(arguments: Sequence[str]) -> Experiment:
    """The experiment that a command line describes; the modules that it names are imported."""
    chosen = _chosen(arguments)
    vector.find_id(chosen.env)
    base = config.experiment(chosen.env, chosen.agent, chosen.network)
    # The flags of a run are those of its parts, so the parts are chosen first.
    agent, network = base.prefixes
    parts = {agent: with_flags(base.agent), network: with_flags(base.network.config)}
    kind = dataclasses.make_dataclass(
        "Train",
        [(name, type(part), dataclasses.field(default=part)) for name, part in parts.items()],
        bases=(Run,),
        frozen=True,
        kw_only=True,
    )
    of_run = {field.name: getattr(base.run, field.name) for field in dataclasses.fields(Run)}
    flags = parse(
        kind,
        arguments,
        "",
        default=kind(**of_run, **parts),
        description=f"{Run.__doc__}\n\n{EXAMPLES}",
    )
    run = Run(**{name: getattr(flags, name) for name in of_run})
    own_agent = dataclasses.replace(base.agent, **vars(getattr(flags, agent)))
    # Every network's settings are a dataclass, which their contract cannot say.
    settings: Any = base.network.config
    own_network = dataclasses.replace(settings, **vars(getattr(flags, network)))
    blueprint = networks.Blueprint(base.run.network, own_network)
    return Experiment(run, own_agent, blueprint, base.preset)


def _chosen(arguments: Sequence[str]) -> argparse.Namespace:
    """The world, agent and network that a command line names; they decide what other flags are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag, default in (("env", Run.env), ("agent", Run.agent), ("network", None)):
        parser.add_argument(f"--{flag}", default=default)
    chosen, _ = parser.parse_known_args([a for a in arguments if a not in ("--help", "-h")])
    return chosen


def resume(arguments: Sequence[str]) -> None:
    """Continue a run."""
    flags: Resume = parse(Resume, arguments, "resume")
    trained = api.resume(
        flags.run,
        steps=flags.steps,
        episodes=flags.episodes,
        device=flags.device,
        run_dir=flags.run_dir,
        trust=flags.trust,
    )
    ended([trained])


def ended(trained: Sequence[api.Trained]) -> None:
    """Draw the learning curve into each run's folder, and exit as a run that was stopped does."""
    from bio_rl.viz import curves

    for one in trained:
        run = one.experiment.run
        folders = {run.env: {f"{run.agent} {run.network}": [one.folder]}}
        with suppress(ImportError):  # the extra `plots`
            curves.draw(folders, one.folder / "learning_curve.png")
    # Seeds are stopped together, by one signal.
    stopped = [one.stopped for one in trained if one.stopped is not None]
    if stopped:
        sys.exit(signals.exit_status(stopped[0]))


# ---------------------------------- eval


def evaluate(arguments: Sequence[str]) -> None:
    """Evaluate a run, and print its score and what a decision costs."""
    flags: Eval = parse(Eval, arguments, "eval")
    trained = _loaded(flags)
    if flags.perturb:
        evaluate_perturbed(flags, trained)
        return
    _refuse_without_perturb(flags)
    episodes = api.FINAL_EPISODES if flags.episodes is None else flags.episodes
    result = api.evaluate_run(trained, episodes, flags.seed)
    # What a spiking network saves shows only beside what it replaces.
    counts = api.operations_per_decision(trained)
    normal = _normalised(trained, result.mean)
    if flags.json:
        per_decision = {
            name: {kind: float(x) for kind, x in count._asdict().items()}
            for name, count in counts.items()
        }
        more = {"operations": per_decision, "normalised": None if normal is None else normal[0]}
        print(json.dumps({**result.as_dict(), **more}))
        return
    run = trained.experiment.run
    print(f"{run.env} after {trained.steps:,} steps: {result}")
    if normal is not None:
        print(f"normalised {normal[0]:.2f} of {normal[1]} (0 is random)")
    for name, count in counts.items():
        beside = "" if name == run.network else " of the default size, for comparison"
        print(f"per decision {energy.summary(count)}: {name}{beside}")


def _loaded(flags: Eval | Play) -> api.Trained:
    return api.load(flags.run, best=flags.best, run_dir=flags.run_dir, trust=flags.trust)


def _refuse_without_perturb(flags: Eval) -> None:
    """Raise ValueError for a flag that has no meaning where nothing is perturbed."""
    learns = flags.learn == "on" or None
    for name, value in {"at": flags.at, "steps": flags.steps, "learn on": learns}.items():
        if value is not None:
            raise ValueError(f"--{name} goes with --perturb, as in --perturb gravity=2")


def _normalised(trained: api.Trained, mean: float) -> tuple[float, str] | None:
    """The score on a scale from random (0) to the reference (1), and the reference's kind."""
    from bio_rl.viz import worlds

    run = trained.experiment.run
    return statistics.normalised(mean, worlds.reference(run.env, **run.env_kwargs))


def evaluate_perturbed(flags: Eval, trained: api.Trained) -> None:
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
    from bio_rl.viz import resilience as picture

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


# ---------------------------------- play, list, plot, doctor


def play(arguments: Sequence[str]) -> None:
    """Film an episode of a run, or draw what its neurons do."""
    from bio_rl.viz import raster, video

    flags: Play = parse(Play, arguments, "play")
    learns = flags.learn == "on"
    if flags.raster is None and learns:
        raise ValueError("--learn on goes with --raster, as in --raster brain.png")
    trained = _loaded(flags)
    if flags.raster is not None:
        place = expanded(flags.raster)
        path = raster.draw(trained, place, flags.seed, flags.decisions, learns)
        print(f"wrote {path}")
        if flags.video is None:
            return
    # The folder may be a stranger's: a link in it would write elsewhere.
    usual = trained.folder / "episode.mp4"
    refuse_link(usual)
    path, total = video.film(trained, expanded(flags.video or usual), flags.seed)
    print(f"return {total:.1f}; wrote {path}")


def show(arguments: Sequence[str]) -> None:
    """Print a list of worlds, agents or parts of brains."""
    from bio_rl.viz import tables

    kind = parse(List, arguments, "list").kind
    if kind not in tables.KINDS:
        near = discovery.suggestion(kind, tables.KINDS)
        raise ValueError(f"nothing to list called {kind!r}; {near}")
    tables.KINDS[kind]()


def plot(arguments: Sequence[str]) -> None:
    """Draw learning curves."""
    from bio_rl.viz import plot

    flags: Plot = parse(Plot, arguments, "plot")
    runs = tuple(str(expanded(run)) for run in flags.runs)
    out = None if flags.out is None else expanded(flags.out)
    path = plot.draw(runs, expanded(flags.run_dir), out, flags.key)
    print(f"wrote {path}")


def examine(arguments: Sequence[str]) -> None:
    """Say what works here."""
    from bio_rl import doctor

    flags: Doctor = parse(Doctor, arguments, "doctor")
    sys.exit(doctor.main(expanded(flags.run_dir)))


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
