"""kill -9 at random moments: what is left must be readable and at most one checkpoint interval behind.

`python -m tests.kills --kills 20 --out docs/results/kills.json` runs the survey whose figures are committed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bio_rl import checkpoint, runfolder
from bio_rl.checkpoint import Checkpoints

INTERVAL = 1024
"""Environment steps between checkpoints."""
FLAGS = (
    "--env Hopper-v5 --network spiking --spiking.hidden 32 --num-envs 4 --ppo.rollout 64 --ppo.minibatch 64 --ppo.epochs 2 "
    "--eval-episodes 0 --steps 200000 --checkpoints 195"
).split()


def survey(folder: Path, kills: int, seed: int = 0) -> list[dict[str, Any]]:
    """One row per kill: the last step seen in the log, the step of the checkpoint that is left, and the steps lost.

    The first process starts a run; each later one resumes what the kill before it has left. Raises AssertionError when a
    checkpoint is unreadable or more than one interval is lost.
    """
    rng, rows, run = random.Random(seed), [], None
    for k in range(kills):
        arguments = ["resume", str(run)] if run else [*FLAGS, "--run-dir", str(folder)]
        process = subprocess.Popen([sys.executable, "-m", "bio_rl", *arguments], stdout=subprocess.DEVNULL)
        start = _seen(run) if run else 0
        while run is None or _seen(run) <= start or not list((run / "checkpoints").glob("step_*.pt")):
            assert process.poll() is None, "the training ended before it could be killed"
            time.sleep(0.005)
            latest = folder / "latest"
            run = latest.resolve() if latest.exists() else None
        time.sleep(rng.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        reached = _seen(run)
        for path in (run / "checkpoints").glob("*.pt"):
            checkpoint.load(path)  # every file that has a checkpoint's name is whole
        last = Checkpoints(run / "checkpoints").last()
        assert last is not None
        left = int(re.sub(r"\D", "", last.stem))
        rows.append({"kill": k, "reached": reached, "left": left, "lost": max(0, reached - left)})
        assert rows[-1]["lost"] <= INTERVAL + 4 * 64, rows[-1]  # an interval, and the rollout at hand
    return rows


def _seen(run: Path | None) -> int:
    """The last step in the run's log."""
    path = run / "metrics.jsonl" if run else None
    if path is None or not path.is_file():
        return 0
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines() if line.endswith("}")]
    return steps[-1] if steps else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = survey(Path(place), given.kills)
    record = {"bench": "kills", "commit": runfolder.commit(), "versions": runfolder.versions(), "interval": INTERVAL}
    record["results"] = {"kills": len(found), "most_steps_lost": max(r["lost"] for r in found), "rows": found}
    print(json.dumps(record))
    if given.out:
        runfolder.write_json(given.out, record)
