"""`bio-rl doctor`: what works here, and how to get the rest."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from bio_rl import doctor
from bio_rl.cli._parse import parse
from bio_rl.training.commands import expanded
from bio_rl.training.config import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Say what is installed, what works here and how to get the rest; exits 1 where training
    cannot work.
    """

    run_dir: Path = Run.run_dir
    """Parent of the run folders: is it writable?"""


def main(arguments: Sequence[str]) -> None:
    """Say what works here."""
    flags: Flags = parse(Flags, arguments, "doctor")
    sys.exit(doctor.main(expanded(flags.run_dir)))
