"""Mutated run folders: whatever config.json, a checkpoint or a log holds, reading ends in one
printable line.
"""

from __future__ import annotations

import copy
import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bio_rl.training import api, checkpoint, config, runfolder
from bio_rl.training.checkpoint import CheckpointError
from bio_rl.training.metrics import read_rows
from bio_rl.viz import curves, plot

pytestmark = pytest.mark.thorough

SMALL = {
    "critic_hidden": (8,),
    "start": 20,
    "ratio": 0.1,
    "batch": 8,
    "update_every": 4,
    "replay": 200,
}
AGENTS = {
    "ppo": {"update_every": 16, "minibatch": 8, "epochs": 1},
    "sac": SMALL,
    "dqn": {
        "start": 20,
        "ratio": 0.1,
        "batch": 8,
        "update_every": 4,
        "replay": 200,
    },
    "three_factor": {},
    "eprop": {},
    "hebbian": {},
}
WORLDS = {"sac": "bio_rl/HalfCheetah-v5"}
MUTATIONS = 60
"""Of each agent's config.json, and as many of its checkpoint's tree."""


def deep(n: int = 3000) -> str:
    return "[" * n + "]" * n


NUMBERS = (0, -1, 1, 2**62, 2**70, 10**400, 1.5, -0.5, 1e308, float("nan"), float("inf"))
TEXTS = ("", "x", "\x1b[31m\n\u202e", "a" * 10_000)
TREES = ([], [1], [-1], ["x"], [[[]]], {}, {"x": 1}, {"state": 3})
JUNK: tuple[Any, ...] = (None, True, *NUMBERS, *TEXTS, *TREES)
TENSORS: tuple[Callable[[], Any], ...] = (
    lambda: torch.zeros(()),
    lambda: torch.zeros(3, 5),
    lambda: torch.zeros(0),
    lambda: torch.tensor(-5),
    lambda: torch.zeros(2, dtype=torch.complex64),
    lambda: torch.ones(7, dtype=torch.bool),
    lambda: torch.tensor([2**62]),
    lambda: torch.zeros(1).expand(1000, 1000),
    lambda: torch.tensor(float("nan")),
    lambda: torch.zeros(4, dtype=torch.float16),
)


def places(tree: Any, at: tuple = ()) -> Iterator[tuple]:
    """The key paths of all parts of a tree."""
    if at:
        yield at
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list | tuple)
        else ()
    )
    for key, part in items:
        yield from places(part, (*at, key))


def changed(tree: Any, at: tuple, change: Callable[[Any, Any], None]) -> Any:
    """A copy of a tree whose container at `at`, without its last key, was changed; tuples become
    lists on the way.
    """
    tree = copy.deepcopy(tree)
    owner = tree
    above = None
    for i, key in enumerate(at[:-1]):
        if isinstance(owner[key], tuple):
            owner[key] = list(owner[key])
        above, owner = owner, owner[key]
        assert above is not owner, i
    change(owner, at[-1])
    return tree


def put(value: Any) -> Callable[[Any, Any], None]:
    def change(owner: Any, key: Any) -> None:
        owner[key] = value

    return change


def remove(owner: Any, key: Any) -> None:
    del owner[key]


def rename(owner: Any, key: Any) -> None:
    if isinstance(owner, dict):
        owner[f"{key}\x1b[2J"] = owner.pop(key)
    else:
        owner.append(owner[key])


@pytest.fixture(scope="module", params=list(AGENTS))
def run(request, tmp_path_factory) -> Path:
    """A short run of each agent, in a world whose episodes are saved."""
    name = request.param
    settings = {
        name: AGENTS[name],
        "steps": 96,
        "num_envs": 2,
        "checkpoints": 1,
        "eval_episodes": 0,
    }
    folder = tmp_path_factory.mktemp(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api.Session, "_report", lambda self, trained: trained)
        env = WORLDS.get(name, "bio_rl/BanditReversal-v0")
        return api.train(env, agent=name, run_dir=folder, **settings).folder


@pytest.fixture
def quick(monkeypatch) -> None:
    """A resume that takes up the run and makes one update, instead of all that are left."""

    def learn(self: api.Session) -> None:
        self.runner.step()

    monkeypatch.setattr(api.Session, "learn", learn)


def ends_well(folder: Path, what: str) -> int:
    """How often load, resume and plot refuse a folder; raises AssertionError for all but one
    printable line.
    """
    refused = 0
    for read in (api.load, lambda f: api.resume(f, steps=10_000), plot.kind):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(folder)
        except (ValueError, CheckpointError) as error:
            refused += 1
            text = str(error)
            assert text.isprintable(), (what, text)
            assert len(text) < 2000, (what, text)
            assert "config.json" in text or "checkpoints" in text, (what, text)
        except BaseException as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    return refused


def test_a_mutated_config_is_read_or_refused_in_one_line(run, monkeypatch):
    monkeypatch.setattr(
        api.Session, "learn", lambda self: None
    )  # 2**62 epochs are many, but no fault of the file
    rng = random.Random(0)
    path = run / "config.json"
    whole = path.read_text()
    try:
        saved = json.loads(whole)
        ends_well(run, "nothing was changed")
        every = [at for at in places(saved) if at[0] in ("run", "agent", "network", "preset")]
        refused = 0
        for _ in range(MUTATIONS):
            at, value = rng.choice(every), rng.choice(JUNK)
            if at[-1] in ("num_envs", "hidden", "update_every", "run_dir") and value in (
                2**62,
                2**70,
            ):
                continue
            change = rng.choice((put(value), put(value), put(value), remove, rename))
            path.write_text(json.dumps(changed(saved, at, change)))
            refused += ends_well(run, f"{at} {change.__qualname__} {value!r}"[:300])
        assert refused > MUTATIONS // 2
    finally:
        path.write_text(whole)


def written(
    env: str = "CartPole-v1",
    agent: str = "ppo",
    network: str = "mlp",
    *,
    more: str = "",
    agent_settings: str = "",
    network_settings: str = "",
) -> str:
    """The text of a config.json; `more` and the settings are inserted as they stand."""
    run = f'"env": "{env}", "agent": "{agent}", "network": "{network}"{more}'
    return f'{{"run": {{{run}}}, "agent": {{{agent_settings}}}, "network": {{{network_settings}}}}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        "null",
        '{"run": 1}',
        '{"run": {}}',
        '{"run": {"env": 3}}',
        "{" + '"a":{' * 3000,
        deep(),
        '{"run": NaN}',
        '{"run": 1e999}',
        '{"run": {"steps": ' + "9" * 5000 + "}}",
        '{"run": {}, "run": {}}',
        "\x00\xff",
        "\ufeff{}",
        written(agent="no\\u001b[31m"),
        written(env="\\u001b]0;x", more=', "run_dir": "x"'),
        written(network="../mlp", more=', "run_dir": "x"'),
        written(more=', "seeds": 3'),
        written(agent_settings='"gamma": true'),
        written(agent_settings='"gamma": [0.9]'),
        written(network_settings='"hidden": [[8]]'),
    ],
)
def test_a_config_that_no_run_has_written_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    for read in (config.read, api.load, plot.kind):
        with pytest.raises(ValueError, match=r"config\.json") as error:
            read(tmp_path)
        assert str(error.value).isprintable() and len(str(error.value)) < 1000


def test_a_pipe_in_the_place_of_a_config_is_not_waited_for(tmp_path):
    os = pytest.importorskip("os")
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match="no such file"):
        config.read(tmp_path)


def test_a_mutated_checkpoint_is_read_or_refused_in_one_line(run, quick):
    rng = random.Random(1)
    path = max((run / "checkpoints").glob("step_*.pt"))
    whole = path.read_bytes()
    try:
        tree = checkpoint.load(path)
        ends_well(run, "nothing was changed")
        every = list(places(tree))
        refused = 0
        for _ in range(MUTATIONS):
            at = rng.choice(every)
            value = rng.choice(TENSORS)() if rng.random() < 0.6 else rng.choice(JUNK)
            change = rng.choice((put(value), put(value), put(value), remove, rename))
            checkpoint.save(path, changed(tree, at, change))
            refused += ends_well(run, f"{at} {change.__qualname__} {value!r}"[:300])
        assert refused > MUTATIONS // 2
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("agent", ["sac", "dqn"])
def test_mutated_rows_of_a_replay_are_read_or_refused_in_one_line(run, quick, agent):
    if runfolder.read_config(run)["run"]["agent"] != agent:
        pytest.skip("another agent's run")
    rng, refused = random.Random(2), 0
    older = {
        path: path.read_bytes() for path in sorted((run / "checkpoints").glob("step_*.pt"))[:-1]
    }
    for path in older:  # else a resume goes back to one of them
        path.unlink()
    for path in sorted((run / "checkpoints" / "replay").iterdir()):
        whole = path.read_bytes()
        tree = checkpoint.load(path)
        every = list(places(tree))
        for _ in range(MUTATIONS // 2):
            at = rng.choice(every)
            value = rng.choice(TENSORS)() if rng.random() < 0.6 else rng.choice(JUNK)
            change = rng.choice((put(value), put(value), remove, rename))
            checkpoint.save(path, changed(tree, at, change))
            refused += ends_well(run, f"{path.name} {at} {change.__qualname__} {value!r}"[:300])
        path.write_bytes(whole)
    for path, content in older.items():
        path.write_bytes(content)
    assert refused > MUTATIONS // 8


ROWS = [
    "",
    "{",
    "[]",
    "1",
    '{"step": "x"}',
    '{"step": 1e999}',
    '{"step": [1]}',
    '{"step": null}',
    '{"step": true}',
    '{"step": -1}',
    '{"step": 5, "rollout/ep_rew_mean": "x"}',
    '{"step": 5, "rollout/ep_rew_mean": [1]}',
    '{"step": 5, "rollout/x": NaN}',
    '{"step": 5, "rollout/ep_rew_mean": ' + "9" * 5000 + "}",
    '{"step": ' + "9" * 400 + "}",
    '{"a":' * 3000,
    deep(),
    '{"step": 5, "rollout/ep_rew_mean": ' + deep(500) + "}",
    '{"step": 5, "step": 6}',
    "\x00\xff",
    '{"step": 7, "\\u001b[31m": 1.0}',
]


def test_odd_rows_of_a_log_are_left_out_and_the_rest_is_read(tmp_path):
    good = '{"step": 1, "time": 0.5, "rollout/ep_rew_mean": 2.0, "x": null}'
    (tmp_path / "metrics.jsonl").write_text("\n".join([*ROWS, good]))
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [7, 1]
    steps, values = curves.read(tmp_path)
    assert steps.tolist() == [1.0] and values.tolist() == [2.0]
    with pytest.raises(ValueError, match="did you mean") as error:
        plot.logged([tmp_path], "rollout/ep_rew_men")
    assert str(error.value).isprintable()
