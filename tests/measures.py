"""The form of the code in figures: its contracts, rooms, depth, density, length and words.

Run as a script it prints each measure with its limit, its figure today and the worst places:

    python tests/measures.py                 the whole tree
    python tests/measures.py bio_rl/neurons  one folder or file
    python tests/measures.py --by folder     one row of figures for each folder
    python tests/measures.py --worst 50      more places of each measure (10 otherwise)

Only bio_rl, envs and agents are read. Every measure is a function of the sources and a place that the
figure is taken for; circles, class depth and shared lines are always found over the whole tree.

Longer than 400 lines because all measures stand together, each a few short functions on one reading
of the sources.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
if not __package__:  # run as a script: tests is not a package then
    sys.path.insert(0, str(ROOT))

from tests.test_imports import absolute, imports  # noqa: E402  (needs the path above)

FOLDERS = ("bio_rl", "envs", "agents")
LONG_FILE = 400
REASON = re.compile(r"longer\s+than\s+400\s+lines\s+because\s+\w+", re.IGNORECASE)
SHARED_LINES = 10
FRAGMENT = re.compile(r"\s*(Of|What)\b")
FORMS = {"Protocol", "NamedTuple", "Generic", "TypedDict"}
"""Bases that say how a class is written, not what it inherits: a class of these alone is no level."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source:
    """One file: its path from the root of the tree, its text and what is read from it."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.lines = text.splitlines()
        self.tree = ast.parse(text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the syntax tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        """Every function and method, nested ones included."""
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def comments(self) -> list[int]:
        """The numbers of the lines that hold a comment and nothing else."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        starts = [token.start for token in tokens if token.type == tokenize.COMMENT]
        return [row for row, column in starts if not self.lines[row - 1][:column].strip()]

    @cached_property
    def docstrings(self) -> list[ast.Expr]:
        """Every string that stands alone: of the module, a class, a function or an attribute."""
        return [node for node in self.nodes if is_docstring(node)]

    @property
    def is_package(self) -> bool:
        """Whether the file is the __init__.py of a folder."""
        return Path(self.path).name == "__init__.py"

    @property
    def module(self) -> str:
        """The name under which the file is imported; envs and agents lie under bio_rl."""
        parts = Path(self.path).with_suffix("").parts
        if parts[0] in ("envs", "agents"):
            parts = ("bio_rl", *parts)
        return ".".join(parts[:-1] if self.is_package else parts)

    def at(self, line: int) -> str:
        """The place of a line, as editors open it."""
        return f"{self.path}:{line}"


class Finding(NamedTuple):
    places: tuple[str, ...]
    """Each as file:line."""
    weight: float
    """How far from good it is; the largest are printed first."""
    text: str
    """The fault in words."""

    def __str__(self) -> str:
        return f"{' and '.join(self.places)}: {self.text}"


class Result(NamedTuple):
    figure: float
    """The measured value."""
    findings: list[Finding]
    """The places that make the figure what it is."""


class Measure(NamedTuple):
    name: str
    """A short name, the head of its column."""
    what: str
    """The measured thing in words."""
    limit: float
    """The largest figure that is accepted, or the smallest one."""
    of: Callable[[list[Source], str], Result]
    """The function that measures the sources at a place."""
    at_least: bool = False
    """Whether the limit is the smallest accepted figure."""

    def is_met(self, result: Result) -> bool:
        """Whether the figure keeps the limit."""
        if self.at_least:
            return result.figure >= self.limit
        return result.figure <= self.limit

    def report(self, result: Result, worst: int = 10) -> str:
        """The figure, the limit and the `worst` places, a line each."""
        sign = ">=" if self.at_least else "<="
        verdict = "met" if self.is_met(result) else "NOT met"
        head = f"{self.what}: {result.figure:.4g}, accepted {sign} {self.limit:g}: {verdict}"
        ordered = sorted(result.findings, key=lambda finding: -finding.weight)
        lines = [f"    {finding}" for finding in ordered[:worst]]
        if len(ordered) > worst:
            lines.append(f"    and {len(ordered) - worst} more")
        return "\n".join([head, *lines])


def read(root: Path = ROOT) -> list[Source]:
    """Every Python file of the three folders, in the order of their paths."""
    files = sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
    named = [(path.relative_to(root).as_posix(), path) for path in files]
    return [Source(name, path.read_text(encoding="utf-8")) for name, path in named]


def is_inside(path: str, place: str) -> bool:
    """Whether a path lies at a place: in that folder, or that file itself; "" is everywhere."""
    return not place or path == place or path.startswith(f"{place}/")


def inside(sources: list[Source], place: str) -> list[Source]:
    """The sources at a place."""
    return [source for source in sources if is_inside(source.path, place)]


def touching(findings: Iterable[Finding], place: str) -> list[Finding]:
    """The findings of which at least one place lies inside."""
    return [
        finding
        for finding in findings
        if any(is_inside(where.rpartition(":")[0], place) for where in finding.places)
    ]


def is_docstring(node: ast.AST) -> bool:
    """Whether a node is a string that stands alone as a statement."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


# Contracts


def hooks(sources: list[Source], place: str = "") -> Result:
    """Calls of hasattr, and of getattr with a default: questions for what no base declares."""
    found = []
    for source in inside(sources, place):
        for node in source.nodes:
            if isinstance(node, ast.Call) and is_hook(node):
                text = ast.unparse(node)
                found.append(Finding((source.at(node.lineno),), 1, text))
    return Result(len(found), found)


def is_hook(call: ast.Call) -> bool:
    """Whether a call is hasattr(…) or getattr(…, …, default)."""
    if not isinstance(call.func, ast.Name):
        return False
    arguments = len(call.args) + len(call.keywords)
    return call.func.id == "hasattr" or (call.func.id == "getattr" and arguments >= 3)


# Rooms


def loose(sources: list[Source], place: str = "") -> Result:
    """Modules that lie in bio_rl itself and in no folder of it."""
    found = []
    for source in inside(sources, place):
        path = Path(source.path)
        if path.parent == Path("bio_rl") and path.stem not in ("__init__", "__main__"):
            text = f"{len(source.lines)} lines"
            found.append(Finding((source.at(1),), len(source.lines), text))
    return Result(len(found), found)


def circles(sources: list[Source], place: str = "") -> Result:
    """Circles of imports; those under TYPE_CHECKING count, those inside functions do not."""
    graph = import_graph(sources)
    files = {source.module: source for source in sources}
    found = []
    for group in strongly_connected(graph):
        circle = shortest_circle(graph, group)
        places = tuple(
            files[module].at(graph[module][following])
            for module, following in zip(circle, [*circle[1:], circle[0]], strict=True)
        )
        text = f"{' -> '.join([*circle, circle[0]])} (of {len(group)} modules entangled)"
        found.append(Finding(places, len(group), text))
    found = touching(found, place)
    return Result(len(found), found)


def import_graph(sources: list[Source]) -> dict[str, dict[str, int]]:
    """For each module those that it imports outside of functions, each with its line."""
    known = {source.module for source in sources}
    graph: dict[str, dict[str, int]] = {}
    for source in sources:
        targets = graph.setdefault(source.module, {})
        for line, target, lazy in imports(source.module, source.text, source.is_package):
            if target in known and not lazy:
                targets.setdefault(target, line)
    return graph


def strongly_connected(graph: dict[str, dict[str, int]]) -> list[set[str]]:
    """The groups of modules that all reach each other; a module that imports itself is one."""
    reach = {module: reachable(graph, module) for module in graph}
    groups: list[set[str]] = []
    for module in graph:
        if module in reach[module] and not any(module in group for group in groups):
            groups.append({other for other in reach[module] if module in reach[other]})
    return groups


def reachable(graph: dict[str, dict[str, int]], start: str) -> set[str]:
    """The modules that `start` imports, directly or through others."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(graph[module])
    return found


def shortest_circle(graph: dict[str, dict[str, int]], group: set[str]) -> list[str]:
    """The shortest circle through the modules of a group, each once."""
    best: list[str] = []
    for start in sorted(group):
        circle = way_back(graph, start)
        if not best or len(circle) < len(best):
            best = circle
    return best


def way_back(graph: dict[str, dict[str, int]], start: str) -> list[str]:
    """The shortest way from a module to itself, breadth first."""
    ways = [[start]]
    met: set[str] = set()
    for way in ways:
        for module in graph[way[-1]]:
            if module == start:
                return way
            if module not in met:
                met.add(module)
                ways.append([*way, module])
    raise ValueError(f"{start} is on no circle")


# Depth


class Classes:
    """Every class of the tree by its full name, with the names that each module knows."""

    def __init__(self, sources: list[Source]) -> None:
        self.nodes: dict[str, tuple[Source, ast.ClassDef]] = {}
        self.aliases: dict[str, dict[str, str]] = {}
        for source in sources:
            self.aliases[source.module] = aliases(source)
            for node in source.nodes:
                if isinstance(node, ast.ClassDef):
                    self.nodes[f"{source.module}.{node.name}"] = (source, node)

    def resolve(self, module: str, name: str) -> str:
        """The full name of what `name` means in a module, through the modules that pass it on."""
        head, _, rest = name.partition(".")
        full = f"{module}.{name}"
        if full in self.nodes:
            return full
        meant = self.aliases.get(module, {}).get(head)
        if meant is None:
            return name
        full = f"{meant}.{rest}" if rest else meant
        owner, _, last = full.rpartition(".")
        if full in self.nodes or owner not in self.aliases or (owner, last) == (module, name):
            return full
        return self.resolve(owner, last)

    def bases(self, full: str) -> list[str]:
        """The full names of the bases of a class; of Base[T], that of Base."""
        source, node = self.nodes[full]
        plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
        return [self.resolve(source.module, ast.unparse(base)) for base in plain]

    def chain(self, full: str) -> list[str]:
        """The longest chain of classes of this project, from the root to the class itself."""
        if full not in self.nodes:
            return []
        bases = self.bases(full)
        above = max((self.chain(base) for base in bases), key=len, default=[])
        is_form = any(base.rpartition(".")[2] in FORMS - {"Generic"} for base in bases)
        return above if is_form else [*above, full]


def aliases(source: Source) -> dict[str, str]:
    """What each imported name of a module means, in full."""
    found = {}
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        if isinstance(node, ast.ImportFrom):
            base = absolute(source.module, node, source.is_package)
            for alias in node.names:
                found[alias.asname or alias.name] = f"{base}.{alias.name}"
    return found


def depth(sources: list[Source], place: str, folders: tuple[str, ...], limit: int) -> Result:
    """The most classes of this project in one chain of bases, of the classes in some folders."""
    classes = Classes(sources)
    found = []
    deepest = 0
    for full, (source, node) in classes.nodes.items():
        if any(is_inside(source.path, folder) for folder in folders):
            if not is_inside(source.path, place):
                continue
            chain = classes.chain(full)
            deepest = max(deepest, len(chain))
            if len(chain) > limit:
                names = " -> ".join(name.removeprefix("bio_rl.") for name in chain)
                found.append(Finding((source.at(node.lineno),), len(chain), names))
    return Result(deepest, found)


def depth_of_learners(sources: list[Source], place: str = "") -> Result:
    """The depth of classes in agents and networks: a base and one."""
    return depth(sources, place, ("agents", "bio_rl/networks"), 2)


def depth_of_worlds(sources: list[Source], place: str = "") -> Result:
    """The depth of classes in envs: a base and two."""
    return depth(sources, place, ("envs",), 3)


# Length


def long_files(sources: list[Source], place: str = "") -> Result:
    """Files of more than 400 lines whose head gives no reason for it."""
    found = []
    for source in inside(sources, place):
        length = len(source.lines)
        if length > LONG_FILE and not REASON.search(head(source)):
            found.append(Finding((source.at(1),), length, f"{length} lines and no reason"))
    return Result(len(found), found)


def head(source: Source) -> str:
    """The docstring and the comments before the first statement of a module, without # signs."""
    statements = [node for node in source.tree.body if not is_docstring(node)]
    end = statements[0].lineno - 1 if statements else len(source.lines)
    return "\n".join(line.lstrip("# ") for line in source.lines[:end])


def function_length(sources: list[Source], place: str = "") -> Result:
    """The length in lines that nine in ten functions do not exceed."""
    found = []
    for source in inside(sources, place):
        for node in source.functions:
            length = lines_of(node)
            text = f"{node.name} has {length} lines"
            found.append(Finding((source.at(node.lineno),), length, text))
    lengths = sorted(finding.weight for finding in found)
    figure = lengths[int(0.9 * len(lengths))] if lengths else 0
    return Result(figure, [finding for finding in found if finding.weight > 25])


def lines_of(node: Function) -> int:
    """The lines from `def` to the end, decorators aside."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


# Copies


def shared(sources: list[Source], place: str = "") -> Result:
    """Pairs of places that share ten or more consecutive lines of code."""
    code = {source.path: code_lines(source) for source in sources}
    found = []
    for first, second, length in shared_runs(code):
        if is_inside(first[0], place) or is_inside(second[0], place):
            places = tuple(spot(code, path, start, length) for path, start in (first, second))
            found.append(Finding(places, length, f"{length} lines of code are the same"))
    return Result(len(found), found)


def spot(code: dict[str, list[tuple[int, str]]], path: str, start: int, length: int) -> str:
    """The place of a run of code lines, by the first of them."""
    return f"{path}:{code[path][start][0]}"


def code_lines(source: Source) -> list[tuple[int, str]]:
    """The lines of code with their numbers: no blanks, comments, docstrings or imports.

    White space is made one blank, and a comment behind code is cut off.
    """
    texts = list(source.lines)
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            texts[row - 1] = texts[row - 1][:column]
    for node in source.nodes:
        if isinstance(node, ast.Import | ast.ImportFrom) or is_docstring(node):
            for row in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                texts[row - 1] = ""
    normal = [(row, " ".join(text.split())) for row, text in enumerate(texts, start=1)]
    return [(row, text) for row, text in normal if text]


Spot = tuple[str, int]
"""A path and the index of a line of code in it."""


def shared_runs(code: dict[str, list[tuple[int, str]]]) -> Iterator[tuple[Spot, Spot, int]]:
    """Each maximal run of equal lines at two spots, with its length; a run never overlaps itself."""
    texts = {path: [text for _, text in lines] for path, lines in code.items()}
    windows: dict[tuple[str, ...], list[Spot]] = defaultdict(list)
    for path, lines in texts.items():
        for start in range(len(lines) - SHARED_LINES + 1):
            windows[tuple(lines[start : start + SHARED_LINES])].append((path, start))
    for spots in windows.values():
        for first, second in combinations(spots, 2):
            if is_start(texts, first, second):
                length = run_length(texts, first, second)
                if length >= SHARED_LINES:
                    yield first, second, length


def is_start(texts: dict[str, list[str]], first: Spot, second: Spot) -> bool:
    """Whether the lines before two spots differ, so that no longer run contains this one."""
    before = [texts[path][start - 1] if start else None for path, start in (first, second)]
    return None in before or before[0] != before[1]


def run_length(texts: dict[str, list[str]], first: Spot, second: Spot) -> int:
    """The number of equal lines from two spots on."""
    ours = texts[first[0]][first[1] :]
    theirs = texts[second[0]][second[1] :]
    if first[0] == second[0]:
        ours = ours[: second[1] - first[1]]
    length = 0
    for mine, other in zip(ours, theirs, strict=False):
        if mine != other:
            break
        length += 1
    return length


# Density


def density(sources: list[Source], place: str = "") -> Result:
    """The median over functions of the syntax nodes on a line of their body.

    The body is what follows the signature and the docstring: all its nodes as ast.walk yields them,
    over the lines from its first statement to its last, blank ones and comments included. A function
    with nothing but a docstring is left out. By this definition the tree had 16.4 at d9e6b56, and
    optax 0.2.8 and norse 1.1.0 have 8.0, gymnax 1.0.1 has 7.7 and rlax 0.1.9 has 10.3.
    """
    found = []
    for source in inside(sources, place):
        for node in source.functions:
            body = [child for child in node.body if not is_docstring(child)]
            if body:
                value = nodes_a_line(body)
                text = f"{node.name} has {value:.1f} nodes a line"
                found.append(Finding((source.at(node.lineno),), value, text))
    figure = median(finding.weight for finding in found) if found else 0.0
    return Result(figure, found)


def nodes_a_line(body: list[ast.stmt]) -> float:
    """The nodes of some statements over the lines that they span."""
    nodes = sum(1 for statement in body for _ in ast.walk(statement))
    last = body[-1]
    return nodes / ((last.end_lineno or last.lineno) - body[0].lineno + 1)


def parallel(sources: list[Source], place: str = "") -> Result:
    """Assignments of a tuple to a tuple, `a, b = x, y`, in 1,000 lines that are not blank."""
    found = []
    for source in inside(sources, place):
        for node in source.nodes:
            if isinstance(node, ast.Assign) and is_parallel(node):
                text = ast.unparse(node)
                found.append(Finding((source.at(node.lineno),), len(text), text))
    lines = filled_lines(inside(sources, place))
    return Result(1000 * len(found) / lines if lines else 0.0, found)


def is_parallel(node: ast.Assign) -> bool:
    """Whether both sides of an assignment are written out as tuples."""
    return isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple)


def filled_lines(sources: list[Source]) -> int:
    """The lines of some files that are not blank."""
    return sum(1 for source in sources for line in source.lines if line.strip())


# Words


def comments(sources: list[Source], place: str = "") -> Result:
    """The lines with nothing but a comment, in per cent of the lines that are not blank."""
    found = []
    total = 0
    for source in inside(sources, place):
        total += len(source.comments)
        lines = filled_lines([source])
        missing = 0.03 * lines - len(source.comments)
        if missing > 0:
            text = f"{len(source.comments)} comment lines in {lines}"
            found.append(Finding((source.at(1),), missing, text))
    lines = filled_lines(inside(sources, place))
    return Result(100 * total / lines if lines else 100.0, found)


def fragments(sources: list[Source], place: str = "") -> Result:
    """Docstrings that begin with "Of" or "What", those of attributes included."""
    found = []
    for source in inside(sources, place):
        for node in source.docstrings:
            text = node.value.value
            if FRAGMENT.match(text):
                line = text.strip().splitlines()[0]
                found.append(Finding((source.at(node.lineno),), len(line), line))
    return Result(len(found), found)


MEASURES = (
    Measure("hooks", "hasattr and three-argument getattr", 6, hooks),
    Measure("loose", "loose modules in bio_rl/", 12, loose),
    Measure("circles", "circles of imports", 0, circles),
    Measure("learners", "class depth in agents and networks", 2, depth_of_learners),
    Measure("worlds", "class depth in envs", 3, depth_of_worlds),
    Measure("long", "files over 400 lines without a reason at their head", 0, long_files),
    Measure("shared", "pairs of places that share ten or more lines of code", 0, shared),
    Measure("nodes", "median of syntax nodes on a line of a function's body", 11, density),
    Measure("comments", "comment lines in per cent", 3, comments, at_least=True),
    Measure("p90", "length in lines of nine in ten functions", 25, function_length),
    Measure("parallel", "parallel assignments in 1,000 lines", 5, parallel),
    Measure("fragments", 'docstrings that begin with "Of" or "What"', 0, fragments),
)


def folders(sources: list[Source]) -> list[str]:
    """Every folder that holds a file."""
    return sorted({str(Path(source.path).parent) for source in sources})


def table(sources: list[Source]) -> str:
    """A row of figures for each folder with all that lies in it, and one for the whole tree."""
    width = max(len(name) for name in folders(sources))
    rows = [f"{'':{width}} {'lines':>9}" + "".join(f" {m.name:>9}" for m in MEASURES)]
    for place in ("", *folders(sources)):
        cells = [f"{m.of(sources, place).figure:9.4g}" for m in MEASURES]
        lines = sum(len(source.lines) for source in inside(sources, place))
        rows.append(f"{place or 'all':{width}} {lines:9}" + "".join(f" {cell}" for cell in cells))
    return "\n".join(rows)


def main() -> None:
    """Prints the figures that the command line asks for."""
    parser = argparse.ArgumentParser(description="The form of the code in figures.")
    parser.add_argument("place", nargs="?", default="", help="a folder or file from the root")
    parser.add_argument("--by", choices=["folder"], help="print one row of figures for each folder")
    parser.add_argument("--worst", type=int, default=10, help="how many places to name")
    parser.add_argument(
        "--only", choices=[m.name for m in MEASURES], help="print one measure alone"
    )
    chosen = parser.parse_args()
    sources = read()
    place = chosen.place.rstrip("/")
    if not inside(sources, place):
        parser.error(f"no Python file at {place!r}; known: {', '.join(FOLDERS)} and what they hold")
    if chosen.by:
        print(table(sources))
        return
    for measure in MEASURES:
        if chosen.only in (None, measure.name):
            print(measure.report(measure.of(sources, place), chosen.worst))


if __name__ == "__main__":
    main()
