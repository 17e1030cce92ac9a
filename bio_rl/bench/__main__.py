"""`python -m bio_rl.bench NAME [flags]`: measure something, and print a table.

With `--json` the last line is one object. A bench is a file here: a frozen `Settings(Shared)`, and
`run(settings) -> {case: {figure: value}}`. Where this machine has nothing for it to measure it says
so and returns {}: no table then, and `--out` keeps what it had. A case whose figure `failed` is not
zero makes the exit status 1.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence

import tyro

from bio_rl import bench, discovery
from bio_rl.bench import _report
from bio_rl.machine import ram
from bio_rl.sweeps import result_file


def main(argv: Sequence[str] | None = None) -> None:
    """Run one bench. Exits with status 2 for refused input, 1 where the bench itself failed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        usage()
        sys.exit(0 if arguments else 2)
    name, *flags = arguments
    try:
        module = discovery.load(bench, name)
        prog = f"python -m bio_rl.bench {name}"
        settings = tyro.cli(
            module.Settings, args=flags, prog=prog, config=(tyro.conf.FlagCreatePairsOff,)
        )
        if settings.out is not None:
            result_file.warn_of_changed_code(settings.out)
        _report.note_load()
        ram.keep_freed()  # for everyone who is measured
        results = module.run(settings)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except _report.BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    if results:
        _report.show(f"{name} on {result_file.device()}", results)
    values = result_file.report(name, settings.measured(), results)
    if settings.out is not None and results:
        result_file.save(settings.out, values)
        print(f"wrote {settings.out}")
    if settings.json:
        print(_report.as_json(values))
    # bench hostile counts lines that fail, and others may
    if any(figures.get("failed") for figures in results.values()):
        sys.exit(1)


def usage() -> None:
    """Say what there is to measure."""
    print("usage: python -m bio_rl.bench NAME [--json] [--out FILE] [flags]; NAME --help says more")
    print()
    for name, module in discovery.names(bench).items():
        text = importlib.import_module(module).__doc__
        print(f"  {name:12} {discovery.summary(text)}")


if __name__ == "__main__":
    # a bench that is stopped stops the trainings it started
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
