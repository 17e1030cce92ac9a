"""Who may import whom, read from the source of every file: the library knows no environment and no
agent.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# The order of bio_rl/: a folder or a loose file imports from lines above its own, or from its own
# folder.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("checks", "discovery", "faults", "modes", "state"),
    ("parts",),
    ("contracts", "machine", "seeding", "surrogates"),
    ("codes", "neurons"),
    ("modulators", "plasticity"),
    ("kernels",),  # the fused form of a neuron or a rule takes that one's constants and state
    ("connections", "energy"),
    ("groups", "networks"),
    ("vector",),
    ("rl",),
    ("training",),
    ("sweeps",),
    ("viz",),
    ("run",),
    ("bench", "testing"),
    ("doctor",),
    ("cli",),
    ("__main__",),
)
LEVEL = {unit: level for level, line in enumerate(LAYERS) for unit in line}

FOR_ENVS = {"contracts", "discovery", "seeding", "state", "vector"}
FOR_AGENTS = {unit for unit, level in LEVEL.items() if level < LEVEL["training"]}

# The few places of the library that may name environments or agents, and how: "lazy" is inside a
# function.
BRIDGES = {
    # registers the ids, and names its functions for type checkers
    "bio_rl": {"envs": "any", "run": "any"},
    "bio_rl.training.config": {"agents": "lazy"},  # finds an agent by its name
    "bio_rl.viz.presetbook": {"agents": "any"},  # lists their presets
    "bio_rl.viz.psychophysics": {"envs": "any"},  # tables of one world's choices
    "bio_rl.viz.tables": {"agents": "any"},  # lists them
    "bio_rl.viz.worlds": {"envs": "any"},  # lists them
}


class Import(NamedTuple):
    line: int
    target: str
    """The module, in full."""
    lazy: bool
    """Inside a function."""


def modules() -> dict[str, Path]:
    """Every module of the checkout by the name under which it is imported."""
    files = [
        p for folder in ("bio_rl", "envs", "agents", "tests") for p in (ROOT / folder).rglob("*.py")
    ]
    named = {}
    for path in (*files, ROOT / "train.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = ("bio_rl", *parts) if parts[0] in ("envs", "agents") else parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


MODULES = modules()


def imports(module: str, source: str, package: bool = False) -> Iterator[Import]:
    """What `source` imports, `from a import b` as a.b where that is a module; names given to
    import_module included.
    """

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Import():
                    yield from (Import(child.lineno, alias.name, lazy) for alias in child.names)
                case ast.ImportFrom():
                    base = absolute(module, child, package)
                    for alias in child.names:
                        full = f"{base}.{alias.name}"
                        yield Import(child.lineno, full if full in MODULES else base, lazy)
                case ast.Call(
                    func=ast.Name(id=name) | ast.Attribute(attr=name),
                    args=[ast.Constant(value=str(target)), *_],
                ):
                    if name in ("import_module", "__import__"):
                        yield Import(child.lineno, target, lazy)
            yield from visit(
                child,
                lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda),
            )

    return visit(ast.parse(source), False)


def absolute(module: str, node: ast.ImportFrom, package: bool) -> str:
    """The module after `from`, in full."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - package
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def unit(module: str) -> str:
    """ "neurons" of bio_rl.neurons.lif, "" of bio_rl itself."""
    return module.partition(".")[2].partition(".")[0]


def faults(module: str, source: str, package: bool = False) -> list[str]:
    """One sentence for each import of `source` in a wrong direction."""
    found = []
    for line, target, lazy in imports(module, source, package):
        reason = fault(module, target, lazy)
        if reason:
            found.append(f"{module}, line {line}: imports {target}, but {reason}")
    return found


def fault(module: str, target: str, lazy: bool) -> str:
    """Why `module` may not import `target`; empty where it may."""
    if target.partition(".")[0] in ("envs", "agents"):
        return f"it is spelled bio_rl.{target}"
    if module.partition(".")[0] != "bio_rl" or target.partition(".")[0] != "bio_rl":
        return ""
    mine, theirs = unit(module), unit(target)
    if theirs == "" or mine == theirs:
        return ""
    if mine == "envs":
        return (
            "" if theirs in FOR_ENVS else f"an environment uses only {', '.join(sorted(FOR_ENVS))}"
        )
    if mine == "agents":
        return (
            "" if theirs in FOR_AGENTS else "an agent knows neither environments nor what runs it"
        )
    if theirs in ("envs", "agents"):
        how = "any" if mine == "bench" else BRIDGES.get(module, {}).get(theirs)
        return (
            ""
            if how == "any" or (how == "lazy" and lazy)
            else "the library knows no environment and no agent"
        )
    if mine == "":
        bridge = BRIDGES.get(module, {}).get(theirs) == "any"
        return "" if lazy or bridge else "`import bio_rl` must stay light"
    if unknown := [name for name in (mine, theirs) if name not in LEVEL]:
        return f"{unknown[0]} has no place in LAYERS (tests/test_imports.py)"
    return "" if LEVEL[theirs] < LEVEL[mine] else f"{theirs} does not stand above {mine} in LAYERS"


def test_every_import_points_the_right_way() -> None:
    found = [
        sentence
        for module, path in MODULES.items()
        for sentence in faults(module, path.read_text(encoding="utf-8"), path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


def test_every_module_of_the_library_has_its_place() -> None:
    units = {unit(module) for module in MODULES if module.startswith("bio_rl.")}
    assert units - {"envs", "agents"} - set(LEVEL) == set()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bio_rl.training.runner", "from bio_rl import agents"),
        ("bio_rl.training.runner", "import bio_rl.agents.ppo"),
        ("bio_rl.training.runner", "from bio_rl.envs.robotics import hopper"),
        ("bio_rl.training.runner", "from .. import envs"),
        (
            "bio_rl.training.runner",
            "import importlib\nimportlib.import_module('bio_rl.agents.ppo')",
        ),
        ("bio_rl.networks.mlp", "from ..agents import ppo"),
        ("bio_rl.training.config", "from bio_rl import agents"),
        ("bio_rl.training.config", "def f():\n    from bio_rl import envs"),
        ("bio_rl.contracts", "from bio_rl.neurons import Core"),
        ("bio_rl.neurons.lif", "def f():\n    from bio_rl.kernels.unroll import unroll"),
        ("bio_rl.newcomer", "from bio_rl.contracts import Percept"),
        ("bio_rl", "from bio_rl.training.api import train"),
        ("bio_rl.envs.robotics.hopper", "from bio_rl.agents import ppo"),
        ("bio_rl.envs.robotics.hopper", "from bio_rl.training.runner import Runner"),
        ("bio_rl.agents.ppo", "from bio_rl import envs"),
        ("bio_rl.agents.ppo", "from bio_rl.training.api import train"),
        ("tests.training.test_runner", "from agents import ppo"),
        ("train", "import envs.robotics"),
    ],
)
def test_a_wrong_direction_is_found(module: str, source: str) -> None:
    assert len(faults(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bio_rl.training.config", "def f():\n    from bio_rl import agents"),
        ("bio_rl.bench.ppo", "from bio_rl.agents import ppo"),
        ("bio_rl.networks.mlp", "from ._init import orthogonal\nfrom ..contracts import Percept"),
        ("bio_rl.training.runfolder", "from bio_rl import __version__"),
        (
            "bio_rl.envs.robotics.hopper",
            "import mujoco\nfrom bio_rl.vector.mujoco import BatchVectorEnv",
        ),
        ("bio_rl.agents.ppo", "from bio_rl.rl.returns import gae"),
        (
            "tests.training.test_runner",
            "from bio_rl.agents import ppo\nfrom bio_rl.envs import discover",
        ),
    ],
)
def test_a_right_direction_is_let_through(module: str, source: str) -> None:
    assert not faults(module, source)
