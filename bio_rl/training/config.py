"""Settings of a run, of its agent and of its network. Tuned presets are data beside each agent."""

from __future__ import annotations

import dataclasses
import difflib
import math
import reprlib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bio_rl import discovery, networks
from bio_rl.discovery import suggestion
from bio_rl.machine import trust
from bio_rl.machine.files import one_line, printable
from bio_rl.networks import Blueprint
from bio_rl.rl.clock import Horizon
from bio_rl.training import presets, runfolder, schema, settings, users
from bio_rl.training.commands import expanded

DEVICES = ("auto", "cpu", "cuda")
MOST = {
    "num_envs": 1_000_000,
    "seeds": 10_000,
    "eval_episodes": 100_000,
    "seed": 2**63 - 1,
    "steps": 2**62,
    "episodes": 2**62,
}
"""The largest values of settings: beyond them it is certainly a slip, and would take all memory
before it fails.
"""
POSITIVE = ("steps", "seeds", "num_envs", "checkpoints")
NOT_NEGATIVE = ("seed", "episodes", "eval_episodes")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Train an agent. With no flags: a small spiking network on CartPole-v1."""

    env: str = "CartPole-v1"
    """Environment id: HalfCheetah-v5, CartPole-v1, …, or my_module:Id-v0 for your own."""
    agent: str = "ppo"
    """Learning algorithm (see: train.py list agents), or my_module:Agent for your own."""
    network: str = "spiking"
    """Kind of network (see: train.py list networks), or my_module:Network for your own."""
    steps: int = 1_000_000
    """Environment steps to train for."""
    episodes: int = 0
    """Episodes to train for, all environments of a seed together, where they are over before the
    steps; 0 for no such bound.
    """
    perturb: tuple[str, ...] = ()
    """Changes of the world, in training and in evaluations: gravity=0.5, gear=0.5..1.5, …
    (docs/perturbations.md).
    """
    env_arg: tuple[str, ...] = ()
    """Arguments of the environment's constructor: continuous=true, map_name=8x8, … Values are JSON,
    Python, or text.
    """
    seed: int = 0
    """Seed of the weights, the environments and every random draw."""
    seeds: int = 1
    """How many seeds are trained side by side in one program: seed, seed + 1, …, each with a run
    folder of its own, as if it were trained alone.
    """
    device: str = "auto"
    """auto, cpu or cuda. auto is the CPU: small networks in CPU environments train faster there."""
    num_envs: int = 16
    """Environments side by side."""
    workers: bool = False
    """One process per environment, for slow environments that have no vectorised form."""
    run_dir: Path = Path("runs")
    """Parent of the run folder."""
    checkpoints: int = 10
    """Checkpoints over the run, evenly spaced; the last three and the best are kept."""
    save_minutes: float = 10.0
    """Minutes after which a checkpoint is made in any case, beside the evenly spaced ones; 0 for
    none by the clock.
    """
    eval_episodes: int = 10
    """Greedy episodes at each checkpoint, which choose the best; 0 for none but the final
    evaluation.
    """

    @property
    def horizon(self) -> Horizon:
        """When it ends."""
        return Horizon(self.steps, self.episodes)

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """The arguments of the environment's constructor by name."""
        return settings.parse_env_args(self.env_arg)

    def __post_init__(self) -> None:
        # Frozen for everybody else.
        object.__setattr__(self, "run_dir", expanded(self.run_dir))
        _ = self.env_kwargs  # refuses what is no name=value
        if not 0 <= self.save_minutes < math.inf:
            raise ValueError(f"--save-minutes is {self.save_minutes}, expected 0 or more")
        for name in POSITIVE:
            self._refuse(getattr(self, name) < 1, name, "a positive number")
        for name in NOT_NEGATIVE:
            self._refuse(getattr(self, name) < 0, name, "0 or more")
        for name, most in MOST.items():
            self._refuse(getattr(self, name) > most, name, f"at most {most:,}")
        if self.device not in DEVICES:
            raise ValueError(f"--device is {self.device!r}; known: {', '.join(DEVICES)}")

    def _refuse(self, wrong: bool, name: str, expected: str) -> None:
        if wrong:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is {getattr(self, name)}, expected {expected}")


@dataclass(frozen=True)
class Experiment:
    """A run with everything resolved."""

    run: Run
    agent: Any
    """The agent's `Config`."""
    network: Blueprint
    """The network's kind and its `Config`."""
    preset: tuple[str, ...] = ()
    """Names of the presets that were applied, least specific first."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for config.json."""
        # Every network's settings are a dataclass, which their contract cannot say.
        of_network: Any = self.network.config
        return {
            "run": {**dataclasses.asdict(self.run), "run_dir": str(self.run.run_dir)},
            "agent": dataclasses.asdict(self.agent),
            "network": dataclasses.asdict(of_network),
            "preset": list(self.preset),
        }

    @property
    def prefixes(self) -> tuple[str, str]:
        """The words with which the flags of the agent and of the network begin."""
        return prefixes(self.run.agent, self.run.network)

    def modules(self) -> list[str]:
        """The modules of the user's own that the run needs: those of its world, agent, network and
        of the parts that their settings name.
        """
        # A module may register any name: my_module:Id-v0 is no identifier.
        of_env = trust.module_of(self.run.env)
        modules = [of_env] if of_env else []
        modules += users.modules_of([self.run.agent, self.run.network])
        modules += users.modules_of_settings(self.agent)
        modules += users.modules_of_settings(self.network.config)
        return list(dict.fromkeys(modules))

    def settings(self) -> dict[str, Any]:
        """Every setting under the name of its flag: `num-envs`, `ppo.gamma`, `spiking.ticks`, …"""
        agent, network = self.prefixes
        # agent and network themselves are no settings: they say whose settings follow.
        parts = {"": self.run, f"{agent}.": self.agent, f"{network}.": self.network.config}
        return {
            f"{owner}{name.replace('_', '-')}": value
            for owner, part in parts.items()
            for name, value in dataclasses.asdict(part).items()
            if owner or name not in ("agent", "network")
        }

    def changed(self) -> dict[str, Any]:
        """The settings that differ from the defaults: those that the preset and the flags set."""
        # Presets count as changes too: the defaults are those of the bare classes.
        run = Run(agent=self.run.agent, network=self.run.network)
        plain = Experiment(run, agents_module(run.agent).Config(), Blueprint.default(run.network))
        base = plain.settings()
        return {name: value for name, value in self.settings().items() if base[name] != value}

    @staticmethod
    def from_dict(saved: Mapping[str, Any]) -> Experiment:
        """The inverse of `as_dict`; a setting that is not in it has its default.

        Raises ValueError, one line with the field, for a missing part, a field that this version
        does not know, and a value of another type.
        """
        if not isinstance(saved, Mapping):
            raise ValueError(
                f"an experiment is {reprlib.repr(saved)}, "
                "expected a mapping with run, agent and network"
            )
        # A file may come from a stranger, so every part is looked at before it is used.
        of_run, of_agent, of_network = (_section(saved, x) for x in ("run", "agent", "network"))
        for name in ("env", "agent", "network"):
            if type(of_run.get(name)) is not str:
                raise ValueError(f"run.{name} is {reprlib.repr(of_run.get(name))}, expected a text")
        run = fill(Run(), of_run, "run")
        module = agents_module(run.agent)
        _check_served(run.agent, module, run.network)
        agent_prefix, network_prefix = prefixes(run.agent, run.network)
        agent = fill(module.Config(), of_agent, agent_prefix)
        blueprint = Blueprint.default(run.network)
        network = Blueprint(run.network, fill(blueprint.config, of_network, network_prefix))
        preset = saved.get("preset", ())
        schema.check(preset, tuple[str, ...], "preset")
        return Experiment(run, agent, network, tuple(preset))


def prefixes(agent: str, network: str) -> tuple[str, str]:
    """The words with which the flags of an agent and of its network begin."""
    return users.prefixes(agent, network, [field.name for field in dataclasses.fields(Run)])


def _section(saved: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One of the parts of a saved experiment. Raises ValueError where it is missing or none."""
    section = saved.get(name)
    if not isinstance(section, Mapping) or not all(type(key) is str for key in section):
        found = "missing" if section is None else reprlib.repr(section)
        raise ValueError(f"{name!r} is {found}, expected an object with the settings of the {name}")
    return section


def read(folder: Path) -> Experiment:
    """The experiment in the config.json of a run folder. Raises ValueError that begins with the
    file.
    """
    path = folder / runfolder.CONFIG
    saved = runfolder.read_config(folder)
    try:
        users.check_allowed(saved)
        found = Experiment.from_dict(saved)
        if found.run.seeds != 1:
            raise ValueError(
                f"run.seeds is {found.run.seeds}, "
                "expected 1: every seed has a run folder of its own"
            )
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {one_line(error)}") from error
    return found


def served(agent: ModuleType) -> tuple[str, ...]:
    """The networks that an agent can teach, its default first: its `Agent.teaches`, or all."""
    every = (Run.network, *(name for name in network_names() if name != Run.network))
    return agent.Agent.teaches or every


def _check_served(agent: str, module: ModuleType, network: str) -> None:
    """Raise ValueError for a network that an agent does not teach.

    Whether it can teach a network of the user's own is for the agent to say when it is made.
    """
    known = served(module)
    if network not in known and ":" not in network:
        raise ValueError(
            f"{agent} cannot teach the network {network!r}; {suggestion(network, known)}"
        )


def replace_run(experiment: Experiment, **values: Any) -> Experiment:
    """The same experiment with other run settings."""
    return dataclasses.replace(experiment, run=dataclasses.replace(experiment.run, **values))


def changed_run(experiment: Experiment, **values: Any) -> Experiment:
    """The same experiment with other run settings, as somebody asks for them. Raises ValueError for
    what is no setting.
    """
    return dataclasses.replace(experiment, run=fill(experiment.run, values, "run"))


def agents_module(name: str) -> ModuleType:
    """The module of the agent called `name`, a file's or `my_module:Agent`. Raises ValueError with
    the nearest name.
    """
    from bio_rl import agents

    return discovery.load(agents, name)


def fill(config: Any, values: Mapping[str, Any], owner: str) -> Any:
    """A copy of the dataclass `config` with these values.

    Raises ValueError for a field that it does not have, and for a value of another type than its
    field.
    """
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{owner} is {reprlib.repr(values)}, expected settings by name, as in {{'gamma': 0.98}}"
        )
    fields = {field.name for field in dataclasses.fields(config)}
    # The names of types in annotations are texts until they are looked up.
    hints = typing.get_type_hints(type(config))
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{owner} has no setting called {name!r}{guess}")
    fitted = {}
    for name, value in values.items():
        at = f"--{name.replace('_', '-')}" if owner == "run" else f"{owner}.{name}"
        # First brought to the kind of the field (64.0 to 64), then checked.
        fitted[name] = settings.fitted(hints[name], value, at)
        schema.check(fitted[name], hints[name], at)
    return dataclasses.replace(config, **fitted)


def experiment(
    env: str = Run.env,
    agent: str = Run.agent,
    network: str | None = None,
    *,
    agent_settings: Mapping[str, Any] | None = None,
    network_settings: Mapping[str, Any] | None = None,
    preset: str | Path | None = None,
    **run_settings: Any,
) -> Experiment:
    """Defaults, then the presets for this environment, then the settings given here. Raises
    ValueError for unknown names.

    network: None for the first that the agent serves. preset: a file of presets of the user's own,
    which stand over those that the agent has.
    """
    module = agents_module(agent)
    network = network or served(module)[0]
    blueprint = Blueprint.default(network)
    _check_served(agent, module, network)
    agent_prefix, network_prefix = prefixes(agent, network)
    run = Run(env=env, agent=agent, network=network)
    agent_config = module.Config()
    network_config = blueprint.config
    found = presets.fitting(presets.of_agent(module), env, network)
    if preset is not None:
        found |= presets.of_file(preset, agent, env, network)
    for name, own in found.items():
        run = fill(run, own.get("run", {}), f"preset {name}")
        agent_config = fill(agent_config, own.get("agent", {}), f"preset {name}")
        network_config = fill(network_config, own.get("network", {}), f"preset {name}")
    run = fill(run, run_settings, "run")
    # What is asked for here comes last, over every preset.
    agent_config = fill(agent_config, agent_settings or {}, agent_prefix)
    network_config = fill(network_config, network_settings or {}, network_prefix)
    return Experiment(run, agent_config, Blueprint(network, network_config), tuple(found))


def network_names() -> list[str]:
    """Every network that `--network` accepts."""
    return list(discovery.names(networks))
