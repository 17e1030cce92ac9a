"""The guard of a refactoring: it sees one changed bit, finds what was renamed, and reads what a run
has trained.
"""

import math

import pytest
import torch

from bio_rl.bench import _weights_cases as cases
from bio_rl.bench import _weights_trainings, weights
from bio_rl.bench import _weights_trees as trees
from bio_rl.bench._weights_cache import Cache, kernels_folder
from bio_rl.bench._weights_checkpoints import Trained, read_runs
from bio_rl.bench._weights_compare import compare, without

CASE = cases.Case(name="ppo mlp, short", flags="--steps 1", flags_before="--step 1")


def tensors() -> dict[str, torch.Tensor]:
    return {
        "actor.weight": torch.arange(6.0).view(2, 3),
        "actor.bias": torch.zeros(2),
        "norm.m2": torch.ones(2).double(),
    }


def test_the_same_bits_are_equal():
    found = compare(tensors(), tensors())
    assert found.verdict == "equal"
    assert (found.tensors, found.differ, found.renamed, found.added) == (3, [], [], [])


@pytest.mark.parametrize(("value", "other"), [(1.0, math.nextafter(1.0, 2.0)), (0.0, -0.0)])
def test_one_bit_is_a_difference_and_it_is_named(value, other):
    before = tensors() | {"x": torch.tensor([value, 3.0], dtype=torch.float64)}
    now = tensors() | {"x": torch.tensor([other, 3.0], dtype=torch.float64)}
    found = compare(before, now)
    assert found.verdict == "differs"
    assert found.differ == [f"x [2] differs by at most {abs(other - value):.3g}"]


def test_nan_is_itself():
    assert (
        compare({"x": torch.tensor([math.nan])}, {"x": torch.tensor([math.nan])}).verdict == "equal"
    )


def test_another_type_is_a_difference():
    assert (
        compare({"x": torch.zeros(2)}, {"x": torch.zeros(4, dtype=torch.float16)}).verdict
        == "differs"
    )


def test_a_renamed_tensor_is_found_and_said():
    now = tensors()
    now["policy.weight"] = now.pop("actor.weight")
    found = compare(tensors(), now)
    assert found.verdict == "equal"
    assert found.renamed == ["actor.weight [2, 3] is now policy.weight [2, 3]"]
    assert found.added == []


def test_two_tensors_with_the_same_bits_need_two_partners():
    found = compare({"a": torch.zeros(2), "b": torch.zeros(2)}, {"c": torch.zeros(2)})
    assert found.renamed == ["a [2] is now c [2]"]
    assert found.differ == ["b [2] is gone"]


def test_a_tensor_renamed_and_changed_is_shown_with_the_nearest():
    found = compare(
        {"a": torch.zeros(2)}, {"far": torch.full((2,), 9.0), "near": torch.full((2,), 0.5)}
    )
    assert found.differ == ["a [2] is gone; the nearest of its shape, near, differs by at most 0.5"]


def test_a_new_shape_of_the_same_numbers_is_said_and_other_numbers_differ():
    assert compare({"a": torch.ones(4)}, {"a": torch.ones(1, 4)}).renamed == [
        "a [4] has now the shape [1, 4]"
    ]
    assert compare({"a": torch.ones(4)}, {"a": torch.ones(5)}).differ == [
        "a [4] has now the shape [5] and other numbers"
    ]


def test_what_was_added_is_no_difference_and_nothing_at_all_is_no_equality():
    found = compare(tensors(), tensors() | {"habit": torch.zeros(7)})
    assert found.verdict == "equal"
    assert found.added == ["habit [7]"]
    assert compare({}, tensors()).verdict == "differs"


def test_ignored_tensors_are_not_compared():
    assert set(without(tensors(), ["bias$", "norm"])) == {"actor.weight"}


@pytest.mark.parametrize(
    ("before", "now", "verdict", "failed"),
    [
        (Trained(tensors(), 1), Trained(tensors(), 1), "equal", 0),
        (Trained(tensors(), 1), Trained(tensors() | {"norm.m2": torch.zeros(2)}, 1), "differs", 1),
        (Trained({}, status=2, said="no such flag"), Trained(tensors(), 1), "new", 0),
        (Trained({}, status=1, said="it fell over"), Trained(tensors(), 1), "broken", 1),
        (Trained(tensors(), 1), Trained({}, status=2, said="no such flag"), "broken", 1),
        (Trained(tensors(), 0), Trained(tensors(), 0), "untrained", 1),
    ],
)
def test_the_verdict_on_a_case(before, now, verdict, failed):
    figures = weights.judged(before, now)
    assert (figures["verdict"], figures["failed"]) == (verdict, failed)


def checkpoint(folder, step: int, weight: float) -> None:
    """A file as training writes it, with what is not compared beside what is."""
    tree = {
        "agent": {
            "modules": {
                "actor.weight": torch.full((2,), weight),
                "target.weight": torch.ones(1),
                "clock": torch.tensor(step),
            },
            "optimizer": {"state": [{"exp_avg": torch.rand(2)}]},
            "generator": torch.rand(3),
        },
        "runner": {"obs": torch.rand(4)},
        "stats": {"returns": torch.rand(5)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"tree": tree}, folder / f"step_{step:012d}.pt")


def test_the_last_checkpoint_is_read_for_what_was_trained(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    checkpoint(folder, 0, 1.0)
    checkpoint(folder, 1000, 2.0)
    checkpoint(folder, 90, 3.0)
    (folder / "step_000000001000.pt").with_name("best.pt").write_bytes(b"not read")
    (folder / "rows_000000000000_000000000100_9238d5ee.pt").write_bytes(b"not read")
    (tmp_path / "latest").symlink_to(tmp_path / "run")
    found = read_runs(tmp_path)
    assert set(found.weights) == {
        "tree.agent.modules.actor.weight",
        "tree.agent.modules.target.weight",
    }
    assert found.weights["tree.agent.modules.actor.weight"].tolist() == [2.0, 2.0]
    assert found.moved == 1


def test_seeds_side_by_side_are_told_apart(tmp_path):
    for seed in range(2):
        checkpoint(tmp_path / f"run_s{seed}" / "checkpoints", 5, float(seed))
    found = read_runs(tmp_path).weights
    assert found["0.tree.agent.modules.actor.weight"].tolist() == [0.0, 0.0]
    assert found["1.tree.agent.modules.actor.weight"].tolist() == [1.0, 1.0]


def test_a_commit_is_kept_and_other_flags_are_not_taken_for_it(tmp_path):
    cache = Cache(tmp_path, "abc")
    cache.write(CASE, Trained(tensors(), 2))
    found = Cache(tmp_path, "abc").read([CASE])[CASE.name]
    assert found.moved == 2
    assert compare(found.weights, tensors()).verdict == "equal"
    other = cases.Case(name=CASE.name, flags=CASE.flags, flags_before="--step 2")
    assert cache.read([other]) == {}
    assert Cache(tmp_path, "def").read([CASE]) == {}


def test_a_failed_training_is_not_kept_and_a_damaged_file_is_as_none(tmp_path):
    cache = Cache(tmp_path, "abc")
    cache.write(CASE, Trained({}, status=1, said="it fell over"))
    assert cache.read([CASE]) == {}
    cache.write(CASE, Trained(tensors(), 2))
    cache.path(CASE).write_bytes(b"damaged")
    assert cache.read([CASE]) == {}


def test_kernels_are_compiled_anew_after_a_change_of_any_file_of_kernels(tmp_path):
    source = tmp_path / "bio_rl" / "kernels" / "loop.py"
    source.parent.mkdir(parents=True)
    source.write_text("import numba")
    first = kernels_folder(tmp_path / "cache", tmp_path)
    first.mkdir(parents=True)
    assert kernels_folder(tmp_path / "cache", tmp_path) == first
    source.write_text("import numba  # other")
    assert kernels_folder(tmp_path / "cache", tmp_path) != first
    assert not first.exists()


def test_every_case_has_a_file_name_of_its_own_and_no_word_is_left():
    found = cases.read()
    assert len({case.slug for case in found}) == len(found)
    for case in found:
        assert "--agent" in case.flags
        assert not [word for word in case.flags.split() if word.isupper()]


def test_older_flags_are_those_of_the_case_or_of_its_words(tmp_path):
    path = tmp_path / "cases.toml"
    path.write_text(
        '[words]\nEVERY = "--a"\nPPO = "--lr 1"\n[words_before]\nPPO = "--rate 1"\n'
        '[cases]\nx = "PPO --b"\ny = {flags = "PPO", flags_before = "--old"}\n'
    )
    x, y = cases.read(path)
    assert (x.flags, x.flags_before) == ("--a --lr 1 --b", "--a --rate 1 --b")
    assert (y.flags, y.flags_before) == ("--a --lr 1", "--a --old")
    path.write_text('[words]\nEVERY = ""\n[cases]\nx = {flags = "", flags_old = ""}\n')
    with pytest.raises(ValueError, match="flags_old"):
        cases.read(path)


def test_an_unknown_case_and_an_unknown_commit_are_refused():
    with pytest.raises(ValueError, match=r"'nothing'.*ppo mlp"):
        cases.chosen(cases.read(), ["nothing"])
    with pytest.raises(ValueError, match="--commit 'no-such-commit' is no commit"):
        trees.resolved("no-such-commit")


def test_the_reason_of_a_refusal_is_found_within_a_box():
    said = "╭─ Parsing error ─╮\n│ Unrecognized options: --x │\n╰─────╯\n"
    assert trees.reason(said) == "Unrecognized options: --x"
    assert trees.reason("error: there is no x\nnext:\n") == "error: there is no x"


def test_an_older_tree_is_given_the_flags_of_today_and_then_those_of_before(tmp_path):
    now, before = (trees.Tree(name, tmp_path, [CASE], None) for name in ("now", "before"))
    assert now.spellings(CASE) == [["--steps", "1"]]
    assert before.spellings(CASE) == [["--steps", "1"], ["--step", "1"]]


@pytest.mark.parametrize(
    ("statuses", "tried", "status"),
    [([0], 1, 0), ([1], 1, 1), ([2, 0], 2, 0), ([2, 1], 2, 1), ([2, 2], 2, 2)],
)
def test_the_next_spelling_is_tried_where_a_tree_refuses_one_and_not_where_it_fails(
    monkeypatch, tmp_path, statuses, tried, status
):
    asked = []

    def forked(arguments, *_):
        asked.append(arguments)
        return statuses[len(asked) - 1]

    monkeypatch.setattr(_weights_trainings, "forked", forked)
    case = {"name": "x", "folder": str(tmp_path / "x"), "spellings": [["--new"], ["--old"]]}
    assert _weights_trainings.train(case, 1.0)["status"] == status
    assert asked == [["--new"], ["--old"]][:tried]
