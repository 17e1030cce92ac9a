"""The form of the code keeps its limits, and each measure counts right on sources made by hand.

`python tests/measures.py` prints the same figures with their worst places.
"""

import pytest

from tests import measures
from tests.measures import MEASURES, Measure, Source


@pytest.fixture(scope="module")
def tree() -> list[Source]:
    """Every file of bio_rl, envs and agents."""
    return measures.read()


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_the_tree_keeps_the_limit(measure: Measure, tree: list[Source]) -> None:
    result = measure.of(tree, "")
    assert measure.is_met(result), measure.report(result, worst=20)


def test_the_whole_tree_is_read(tree: list[Source]) -> None:
    paths = {source.path for source in tree}
    assert {"bio_rl/__main__.py", "envs/__init__.py", "agents/ppo.py"} <= paths
    assert not any(path.startswith("tests/") for path in paths)


def source(text: str, path: str = "bio_rl/made.py") -> Source:
    """A file made by hand."""
    return Source(path, text)


def test_hooks_are_hasattr_and_getattr_with_a_default() -> None:
    made = source("hasattr(a, 'b')\ngetattr(a, 'b')\ngetattr(a, 'b', None)\na.hasattr('b')\n")
    result = measures.hooks([made])
    assert result.figure == 2
    assert [finding.places for finding in result.findings] == [
        ("bio_rl/made.py:1",),
        ("bio_rl/made.py:3",),
    ]


def test_loose_modules_lie_in_bio_rl_itself() -> None:
    paths = ["bio_rl/a.py", "bio_rl/__init__.py", "bio_rl/__main__.py", "bio_rl/room/b.py"]
    result = measures.loose([source("", path) for path in [*paths, "envs/c.py"]])
    assert result.figure == 1
    assert result.findings[0].places == ("bio_rl/a.py:1",)


def test_a_circle_under_type_checking_is_found() -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bio_rl.c import C\n"
    made = [
        source("import os\nimport bio_rl.b\n", "bio_rl/a.py"),
        source(text, "bio_rl/b.py"),
        source("from bio_rl.a import A\nfrom bio_rl.d import D\n", "bio_rl/c.py"),
        source("", "bio_rl/d.py"),
    ]
    result = measures.circles(made)
    assert result.figure == 1
    assert result.findings[0].places == ("bio_rl/a.py:2", "bio_rl/b.py:3", "bio_rl/c.py:1")


def test_an_import_inside_a_function_closes_no_circle() -> None:
    made = [
        source("import bio_rl.b\n", "bio_rl/a.py"),
        source("def late():\n    import bio_rl.a\n", "bio_rl/b.py"),
    ]
    assert measures.circles(made).figure == 0


def test_two_separate_circles_count_twice() -> None:
    arrows = {"a": "b", "b": "a", "c": "d", "d": "c", "e": "a"}
    made = [source(f"import bio_rl.{b}\n", f"bio_rl/{a}.py") for a, b in arrows.items()]
    assert measures.circles(made).figure == 2


def test_depth_follows_bases_through_files_and_packages_that_pass_them_on() -> None:
    made = [
        source("class Base(nn.Module): ...\n", "bio_rl/rl/base.py"),
        source("from .base import Base\n", "bio_rl/rl/__init__.py"),
        source("import bio_rl.rl as rl\nclass Middle(rl.Base): ...\n", "agents/middle.py"),
        source(
            "from bio_rl.agents import middle\nclass Leaf(middle.Middle): ...\n", "agents/leaf.py"
        ),
    ]
    result = measures.depth_of_learners(made)
    assert result.figure == 3
    assert [finding.places for finding in result.findings] == [("agents/leaf.py:2",)]
    assert "rl.base.Base -> agents.middle.Middle -> agents.leaf.Leaf" in result.findings[0].text
    assert measures.depth_of_worlds(made).figure == 0


def test_depth_counts_no_protocol_and_no_base_of_others() -> None:
    text = """
class Shape(Protocol): ...
class State(NamedTuple): ...
class Kept(Generic[T], torch.nn.Module): ...
class World(Kept[int], Shape): ...
class Maze(World): ...
"""
    assert measures.depth_of_worlds([source(text, "envs/made.py")]).figure == 3


def test_a_class_that_has_the_name_of_its_base_is_a_level_of_its_own() -> None:
    made = [
        source("class Network: ...\n", "bio_rl/networks/plain.py"),
        source(
            "from bio_rl.networks import plain\nclass Network(plain.Network): ...\n",
            "bio_rl/networks/fine.py",
        ),
    ]
    assert measures.depth_of_learners(made).figure == 2


@pytest.mark.parametrize(
    ("top", "long"),
    [
        ('"""A file."""', 1),
        ('"""A file.\n\nLonger than 400 lines because its\nparts are one table.\n"""', 0),
        ('"""A file."""\n# Longer than 400 lines\n# because it is one table.', 0),
        ('"""Longer than 400 lines because"""', 1),
        ('import os\n"""Longer than 400 lines because it is late."""', 1),
    ],
)
def test_a_long_file_needs_a_reason_at_its_head(top: str, long: int) -> None:
    assert measures.long_files([source(f"{top}\n" + "x = 1\n" * 400)]).figure == long


def test_a_file_of_400_lines_needs_no_reason() -> None:
    assert measures.long_files([source("x = 1\n" * 400)]).figure == 0


def numbered(count: int, name: str = "x") -> str:
    """Some different lines of code."""
    return "".join(f"{name} = {i}\n" for i in range(count))


def test_ten_shared_lines_are_found_through_blanks_comments_and_docstrings() -> None:
    first = source("a = 1\n" + numbered(10), "bio_rl/a.py")
    lines = numbered(10).splitlines()
    spread = ['"""Words."""', "# why", *lines[:4], "", "# why", *lines[4:9], "x  =  9  # so"]
    second = source("\n".join(spread) + "\n", "envs/b.py")
    result = measures.shared([first, second])
    assert result.figure == 1
    assert result.findings[0].places == ("bio_rl/a.py:2", "envs/b.py:3")
    assert result.findings[0].weight == 10


def test_nine_shared_lines_and_shared_imports_are_let_through() -> None:
    nine = [source(numbered(9) + f"{name} = 9\n", f"bio_rl/{name}.py") for name in "ab"]
    assert measures.shared(nine).figure == 0
    text = "".join(f"from bio_rl import (\n    m{i},\n)\n" for i in range(10)) + numbered(9)
    assert measures.shared([source(text, f"bio_rl/{name}.py") for name in "ab"]).figure == 0


def test_a_longer_run_is_one_finding_and_three_copies_are_three_pairs() -> None:
    made = [source(numbered(25), f"bio_rl/{name}.py") for name in "abc"]
    result = measures.shared(made)
    assert [finding.weight for finding in result.findings] == [25, 25, 25]


def test_a_copy_within_one_file_is_found_and_a_repeated_line_is_none() -> None:
    twice = source(numbered(12) + "y = 0\n" + numbered(12))
    assert [finding.weight for finding in measures.shared([twice]).findings] == [12]
    assert measures.shared([source("x = 1\n" * 15)]).figure == 0


def test_nodes_a_line_are_those_of_the_body() -> None:
    # x = 1 is Assign, Name, Store, Constant; return x is Return, Name, Load: 7 nodes on 4 lines
    text = 'def f(a: int = 1) -> int:\n    """Words."""\n    x = 1\n    # why\n\n    return x\n'
    result = measures.density([source(text)])
    assert result.figure == 7 / 4


def test_nodes_a_line_is_a_median_over_functions_with_a_body() -> None:
    dense = "def a(): return 1\n"  # 2 nodes on a line
    loose = "def b():\n    return (\n        1\n    )\n"  # 2 nodes on 3 lines
    empty = 'def c():\n    """Nothing but words."""\n'
    result = measures.density([source(dense + loose + dense + empty)])
    assert result.figure == 2
    assert len(result.findings) == 3


def test_comment_lines_hold_nothing_else() -> None:
    text = "# one\nx = 1  # trailing\n\nif x:\n    # two\n    y = '# none'\n"
    result = measures.comments([source(text)])
    assert result.figure == 100 * 2 / 5


def test_nine_in_ten_functions_are_not_longer() -> None:
    lengths = [*range(2, 11), 40]
    text = "".join(f"@no\ndef f{n}():\n" + "    pass\n" * (n - 1) for n in lengths)
    result = measures.function_length([source(text)])
    assert result.figure == 40
    assert [finding.weight for finding in result.findings] == [40]
    text = "".join(f"def f{n}():\n" + "    pass\n" * (n - 1) for n in range(2, 13))
    assert measures.function_length([source(text)]).figure == 11


def test_parallel_assignments_have_a_tuple_on_both_sides() -> None:
    text = "a, b = 1, 2\na, b = f()\na = 1, 2\n(a, b) = (b, a)\n\n"
    result = measures.parallel([source(text)])
    assert result.figure == 1000 * 2 / 4


def test_fragments_are_found_in_docstrings_of_every_kind() -> None:
    text = '''"""Of the module."""
class A:
    """What it does."""
    row: int
    """Of its row."""
    def f(self):
        """Offers whatever it has."""
        return "Of no docstring"
'''
    result = measures.fragments([source(text)])
    assert result.figure == 3
    assert [finding.places[0] for finding in result.findings] == [
        "bio_rl/made.py:1",
        "bio_rl/made.py:3",
        "bio_rl/made.py:5",
    ]


def test_a_place_is_a_folder_or_a_file_and_no_beginning_of_a_name() -> None:
    made = [source("hasattr(a, 'b')\n", path) for path in ("envs/a.py", "envs/a/b.py", "envs_2.py")]
    assert measures.hooks(made, "envs").figure == 2
    assert measures.hooks(made, "envs/a.py").figure == 1
    assert measures.hooks(made, "envs/a").figure == 1


def test_a_report_names_the_worst_places_first() -> None:
    made = source("def f(): return 1\ndef g(): return 1 + 1\ndef h(): return 1 + 1 + 1\n")
    measure = next(measure for measure in MEASURES if measure.name == "nodes")
    lines = measure.report(measure.of([made], ""), worst=2).splitlines()
    assert lines[0].endswith("5, accepted <= 11: met")
    assert lines[1].strip() == "bio_rl/made.py:3: h has 8.0 nodes a line"
    assert lines[-1].strip() == "and 1 more"


def test_the_limits_are_themselves_limits() -> None:
    verdicts = {
        measure.name: measure.is_met(measures.Result(measure.limit, [])) for measure in MEASURES
    }
    assert all(verdicts.values())
    assert all(
        measure.is_met(measures.Result(measure.limit - 1, [])) is not measure.at_least
        for measure in MEASURES
    )
