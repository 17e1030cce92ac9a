"""The bench of hostile lines: its judgement by hand, its data, a few of its lines; all of them
behind the marker `hostile`.
"""

from __future__ import annotations

import json

import pytest

from bio_rl.bench import __main__ as cli
from bio_rl.bench import hostile
from bio_rl.bench._hostile_stage import Outcome
from bio_rl.bench.hostile import Line, judge, ours

TRACEBACK = """\
Traceback (most recent call last):
  File "/x/{file}", line 5, in step
    f()
KeyError: 1
"""
OURS = TRACEBACK.format(file="bio_rl/training/runner.py")
THEIRS = TRACEBACK.format(file="users_worlds.py")
SAMPLE = (
    "words: no such command",
    "run: no steps",
    "env: an unknown world",
    "worlds: NaN at a step",
    "eval: a run that is not there",
    "config: cut short",
    "checkpoints: all empty",
    "list: a singular",
    "parts: a checkpoint of a function",
)


def line(form: str = "commands", **fields: object) -> Line:
    return Line(**{"name": "x", "form": form, "run": "", "typed": "", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "outcome", "kind"),
    [
        ({}, Outcome(2, "error: --steps is 0\n"), ""),
        ({"says": "--seed"}, Outcome(2, "error: --steps is 0\n"), "unclear"),
        ({}, Outcome(2, "error: one\nand more\n"), "unclear"),
        ({}, Outcome(2, "error: \x1b]0;owned\x07\n"), "unclear"),
        ({}, Outcome(2, f"error: {'x' * 900}\n"), "unclear"),
        ({}, Outcome(2, ""), "unclear"),
        ({}, Outcome(0, ""), "accepted"),
        ({"exit": (0,)}, Outcome(2, "error: no"), "refused"),
        ({"exit": (0, 1)}, Outcome(2, "error: no"), "refused"),
        ({"exit": (130,)}, Outcome(1, ""), "status"),
        ({}, Outcome(None, "step 5"), "hang"),
        ({"exit": (1,)}, Outcome(1, OURS), "traceback"),
        ({"exit": (1,)}, Outcome(1, THEIRS), ""),
        (
            {"exit": (1,)},
            Outcome(1, f"{THEIRS}\nThe above exception was the direct cause:\n\n{OURS}"),
            "traceback",
        ),
        ({"exit": (0,)}, Outcome(0, "step 64/64 \x1b[2K\rdone\n"), ""),
    ],
)
def test_a_line_is_judged_as_its_user_would(fields: dict, outcome: Outcome, kind: str) -> None:
    assert judge(line(**fields), outcome) == kind


@pytest.mark.parametrize(
    ("raises", "raised", "kind"),
    [
        (("ValueError",), ValueError("steps is 0"), ""),
        (("ValueError",), UnicodeError("steps"), ""),
        (("ValueError",), KeyError("steps"), "traceback"),
        (("ValueError",), ValueError(""), "unclear"),
        (("ValueError",), None, "accepted"),
        (("nothing", "ValueError"), None, ""),
        ((), ValueError("no"), "refused"),
        ((), KeyError("no"), "traceback"),
        ((), None, ""),
    ],
)
def test_a_call_is_judged_by_the_kind_of_its_error(
    raises: tuple, raised: Exception | None, kind: str
) -> None:
    assert judge(line("calls", raises=raises), Outcome(0, "", raised)) == kind


def test_a_traceback_is_the_users_only_where_the_users_code_is_in_it() -> None:
    assert ours(OURS) and not ours(THEIRS)
    assert ours(THEIRS + OURS)
    assert ours("Traceback (most recent call last):\n")


def test_there_are_as_many_lines_as_promised_and_each_has_a_name_of_its_own() -> None:
    lines = hostile.read()
    forms = [one.form for one in lines]
    assert len({(one.form, one.name) for one in lines}) == len(lines)
    assert (
        forms.count("commands") >= 200
        and forms.count("processes") >= 25
        and forms.count("calls") >= 50
    )
    spoken = {one.run.split()[0] for one in lines if one.form == "commands" and one.run.split()}
    assert spoken >= {"eval", "play", "resume", "list", "plot", "doctor", "--network", "--agent"}


def test_a_field_that_a_line_does_not_have_is_named(tmp_path) -> None:
    path = tmp_path / "lines.toml"
    path.write_text(
        '[words]\nTINY = ""\n[commands.run]\n"no steps" = {run = "--steps 0", exits = 2}\n'
    )
    with pytest.raises(ValueError, match=r"commands.run, 'no steps'.*exits"):
        hostile.read(path)


def test_a_sample_of_the_lines_ends_as_it_should() -> None:
    lines = [one for one in hostile.read() if one.name in SAMPLE]
    assert len(lines) == len(SAMPLE)
    wrong = [
        (verdict.line.name, verdict.kind, verdict.said)
        for verdict in hostile.play(lines, seconds=30)
        if verdict.kind
    ]
    assert not wrong


def test_a_line_that_fails_makes_the_bench_exit_with_1(monkeypatch, capsys) -> None:
    wrong = line(name="a wish", run="list envs", typed="list envs")
    monkeypatch.setattr(hostile, "read", lambda: [wrong])
    with pytest.raises(SystemExit) as stop:
        cli.main(["hostile", "--json"])
    assert stop.value.code == 1
    results = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["results"]
    assert results["commands"]["failed"] == 1 and results["commands"]["faults"] == {
        "a wish": "accepted"
    }


@pytest.mark.hostile
def test_every_line_ends_as_it_should() -> None:
    wrong = [
        f"{v.kind}: {v.line.name}: {v.said[-200:]}"
        for v in hostile.play(hostile.read(), seconds=60)
        if v.kind
    ]
    assert not wrong, "\n".join(wrong)
