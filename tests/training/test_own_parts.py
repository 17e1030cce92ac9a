"""Agents, networks, neurons and rules of a user's own: named on the command line, flags and all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import bio_rl
from bio_rl import discovery, networks, plasticity
from bio_rl.__main__ import main
from bio_rl.machine import trust
from bio_rl.training import config, runfolder, users
from tests.training import own_parts

SMALL = "--steps 128 --num-envs 2 --eval-episodes 0 --checkpoints 1 --run-dir runs"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the user's files, of which no process has heard yet."""
    own_parts.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch)
    return tmp_path


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a new process knows of the user's modules: nothing."""
    monkeypatch.setattr(discovery, "_allowed", set())
    for name in own_parts.FILES:
        monkeypatch.delitem(sys.modules, name, raising=False)


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def config_file() -> Path:
    """The configuration of the newest run."""
    return runfolder.resolve("latest", Path("runs")) / "config.json"


def saved() -> dict:
    return json.loads(config_file().read_text())


CASES = {
    "agent": ("--agent own_agent:Agent --network mlp --own-agent.lr 0.5", ("own_agent",)),
    "network": (
        "--network own_network:Stretched --own-network.stretch 0.5 --own-network.hidden 4",
        ("own_network",),
    ),
    "neuron": ("--neuron own_neuron:Loud --spiking.hidden 4", ("own_neuron",)),
    **own_parts.RUNS,
}


@pytest.mark.parametrize("name", CASES)
def test_a_part_of_ones_own_trains_resumes_and_evaluates(
    name: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, modules = CASES[name]
    main([*flags.split(), *SMALL.split()])
    trusting = f"--trust {' '.join(modules)}"
    assert f"--steps 256 {trusting}" in capsys.readouterr().out
    for command in ("eval", "resume", "play"):
        forget(monkeypatch)
        assert f"add: {trusting}" in refused(capsys, command, "--run-dir", "runs")
        assert not set(modules) & set(sys.modules)
    forget(monkeypatch)
    main(["eval", "--run-dir", "runs", "--episodes", "1", *trusting.split()])
    main(["resume", "--run-dir", "runs", "--steps", "256", *trusting.split()])
    assert bio_rl.load("latest", run_dir="runs").steps == 256


def test_config_json_keeps_the_names_and_the_settings() -> None:
    flags, _ = CASES["agent and network"]
    main([*flags.split(), "--own-network.stretch", "3", *SMALL.split()])
    assert saved()["run"]["agent"] == "own_agent:Agent" and saved()["agent"]["lr"] == 0.5
    assert saved()["run"]["network"] == "own_network:Stretched"
    assert saved()["network"]["stretch"] == 3.0
    trained = bio_rl.load("latest", run_dir="runs")
    assert trained.experiment.settings()["own_agent.lr"] == 0.5
    assert trained.experiment.changed()["own_network.stretch"] == 3.0


def test_the_neuron_of_ones_own_is_what_runs() -> None:
    trust.import_named("own_neuron")
    spiking = networks.Blueprint.default("spiking").config
    loud = config.fill(spiking, {"neuron": "own_neuron:Loud"}, "spiking")
    network = networks.Blueprint("spiking", loud).build(3, 2)
    kinds = {type(layer.constants()).__name__ for layer in network.layers}
    assert kinds == {"Loud"}


def test_python_names_parts_as_the_command_line_does(tmp_path: Path) -> None:
    trained = bio_rl.train(
        agent="own_agent:Agent",
        network="spiking",
        spiking={"neuron": "own_neuron:Loud", "hidden": (4,)},
        own_agent={"lr": 2.0},
        steps=64,
        num_envs=2,
        eval_episodes=0,
        run_dir=tmp_path / "runs",
    )
    assert trained.experiment.agent.lr == 2.0
    assert trained.experiment.modules() == ["own_agent", "own_neuron"]


def test_a_rule_of_ones_own_is_found_by_its_name() -> None:
    with pytest.raises(ValueError, match="add: --trust own_rule"):
        plasticity.make("own_rule:Half")
    trust.import_named("own_rule")
    rule = plasticity.make("own_rule:Half", {"lr": 0.5})
    assert type(rule) is sys.modules["own_rule"].Half and rule.lr == 0.5
    chained = plasticity.make("own_rule:Half+scaling")
    assert type(chained).__name__ == "Chain"


def test_the_rule_of_ones_own_is_what_changes_the_weights(tmp_path: Path) -> None:
    def weights(rule: str) -> list[torch.Tensor]:
        trained = bio_rl.train(
            agent="three_factor",
            network="spiking",
            three_factor={"rule": rule},
            spiking={"hidden": (4,)},
            steps=64,
            num_envs=2,
            eval_episodes=0,
            run_dir=tmp_path / "runs",
        )
        return list(trained.agent.trained_tensors())

    half, whole = weights("own_rule:Half"), weights("three_factor")
    assert any(not torch.equal(a, b) for a, b in zip(half, whole, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--agent own_agent:Agnt", "own_agent has no agent called 'Agnt'; did you mean 'Agent'?"),
        (
            "--agent own_agent:Config",
            "own_agent:Config is no agent: it has no method act; known: Agent",
        ),
        ("--network own_network:Streched", "did you mean 'Stretched'?"),
        ("--agent own_neuron:Loud", "own_neuron:Loud is no agent: it has no method act"),
        ("--neuron own_neuron:Lud", "own_neuron has no neuron called 'Lud'"),
        ("--agent own_agnt:Agent", "cannot import 'own_agnt': there is no such module"),
        ("--agent own_agent", "no agent called 'own_agent'"),
        ("--agent own_agent:Agent --own-agent.lrr 1", "--own-agent.lr"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(
    arguments: str, message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    out = capsys.readouterr()
    assert stop.value.code == 2 and message in " ".join((out.err + out.out).split())


def test_an_agent_without_settings_is_refused(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "bare_agent.py").write_text(
        "from bio_rl.contracts import Agent as Base\nclass Agent(Base):\n  pass\n"
    )
    assert "bare_agent has no Config" in refused(capsys, "--agent", "bare_agent:Agent")


@pytest.mark.parametrize("stranger", ["subprocess:Popen", "os:system", "own_neuron:Loud"])
@pytest.mark.parametrize(
    ("part", "setting"), [("run", "agent"), ("run", "network"), ("network", "neuron")]
)
def test_a_file_of_somebody_else_makes_nothing_run(
    part: str, setting: str, stranger: str, capsys: pytest.CaptureFixture
) -> None:
    main(["--spiking.hidden", "4", *SMALL.split()])
    written = saved()
    written[part][setting] = stranger
    config_file().write_text(json.dumps(written))
    module = stranger.partition(":")[0]
    for command in ("eval", "resume"):
        assert f"add: --trust {module}" in refused(capsys, command, "--run-dir", "runs")
    assert "own_neuron" not in sys.modules


def test_flags_of_two_parts_of_one_module_have_two_prefixes() -> None:
    assert users.prefixes("mine:A", "mine:B", []) == ("mine", "mine_network")
    assert users.prefixes("a.b.mine:A", "other:B", []) == ("mine", "other")
    assert users.prefixes("steps:A", "env:B", ["steps", "env"]) == ("steps_agent", "env_network")
    assert users.prefixes("ppo", "mlp", ["steps"]) == ("ppo", "mlp")


def test_modules_are_found_in_what_was_typed_and_in_settings() -> None:
    typed = "--env a:Id-v0 --agent=b.c:Agent --neuron d:N --x.rule e:R+scaling --env-arg f:g h:i"
    assert users.modules_typed(typed.split()) == ["a", "b.c", "d", "e"]
    assert users.modules_of(["lif", "gear:bthigh=-1", ("tau=1", "m:N"), None, 3]) == ["m"]


def test_a_module_is_left_as_it_is(folder: Path) -> None:
    trust.import_named("own_network")
    module = discovery.load(networks, "own_network:Stretched")
    own = sys.modules["own_network"]
    assert module.Network is module.Stretched is own.Stretched and module.Config is own.Config
    assert "Network" not in vars(own)


def test_a_command_without_flags_names_no_module():
    assert users.modules_typed([]) == []
    assert users.modules_typed(["--agent", "mine:Agent"]) == ["mine"]
