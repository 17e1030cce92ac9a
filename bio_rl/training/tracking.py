"""A run's metrics in a tracking service beside its own log: `--track wandb` or `--track mlflow`.

    with Tracker("mlflow") as tracker:
        tracker.finish(bio_rl.train("CartPole-v1", callback=tracker))

A service is told of every row of the log, x being environment steps, and of the settings. Where it
keeps them is for its own settings to say (`WANDB_MODE=offline`, `MLFLOW_TRACKING_URI`), and so are
keys, which nothing here reads or writes. A run that is resumed goes on as the same run there. A
service that fails costs its own rows, and never the training.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from bio_rl.discovery import suggestion
from bio_rl.training import config
from bio_rl.training.build import Trained
from bio_rl.training.progress import Progress

PROJECT = "bio_rl"
"""The project, or experiment, under which the services list runs."""


class Service(ABC):
    """A service that has begun a run."""

    @abstractmethod
    def log(self, metrics: Mapping[str, float], steps: int) -> None:
        """Keep finite numbers at a step."""

    @abstractmethod
    def close(self) -> None:
        """End the run there."""


class WandB(Service):
    """Weights & Biases."""

    def __init__(self, name: str, folder: str, settings: Mapping[str, Any]) -> None:
        """Begin or go on with the run called `name`. Raises ImportError."""
        import wandb

        # The panel draws on the terminal itself, and the code is nobody else's to keep.
        quiet = wandb.Settings(console="off", save_code=False, silent=True)
        self.run = wandb.init(
            project=PROJECT,
            name=name,
            id=name,
            resume="allow",
            dir=folder,
            config=dict(settings),
            settings=quiet,
        )

    def log(self, metrics: Mapping[str, float], steps: int) -> None:
        """Keep finite numbers at a step."""
        self.run.log(dict(metrics), step=steps)

    def close(self) -> None:
        """End the run there."""
        self.run.finish()


class MLflow(Service):
    """MLflow, by its client: nothing of the process is changed."""

    def __init__(self, name: str, folder: str, settings: Mapping[str, Any]) -> None:
        """Begin or go on with the run called `name`. Raises ImportError."""
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient()
        found = self.client.get_experiment_by_name(PROJECT)
        place = self.client.create_experiment(PROJECT) if found is None else found.experiment_id
        same = self.client.search_runs([place], f"attributes.run_name = '{name}'", max_results=1)
        if same:
            self.id = same[0].info.run_id
            return
        self.id = self.client.create_run(place, run_name=name, tags={"folder": folder}).info.run_id
        params = [Param(name, str(value)) for name, value in settings.items()]
        self.client.log_batch(self.id, params=params)

    def log(self, metrics: Mapping[str, float], steps: int) -> None:
        """Keep finite numbers at a step."""
        for name, value in metrics.items():
            self.client.log_metric(self.id, name, value, step=steps)

    def close(self) -> None:
        """End the run there."""
        self.client.set_terminated(self.id)


Begin = Callable[[str, str, Mapping[str, Any]], Service]
"""Begins a run, or goes on with it, from its name, its folder and its settings."""
SERVICES: dict[str, Begin] = {"wandb": WandB, "mlflow": MLflow}


class Tracker:
    """The callback of a run that passes its log on to a service; a context manager, which ends the
    run there.
    """

    def __init__(self, name: str) -> None:
        """name: wandb or mlflow. Raises ValueError for another one, and where its extra is
        missing.
        """
        if name not in SERVICES:
            raise ValueError(f"--track is {name!r}; {suggestion(name, SERVICES)}")
        _check_installed(name)
        self.name = name
        self._service: Service | None = None
        self._failed = False

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._service is not None:
            self._guarded(self._service.close)

    def __call__(self, progress: Progress) -> None:
        """Pass on a row of the log."""
        # The folder is made when the training begins: before its first row there is no name.
        if self._service is None and not self._failed:
            self._guarded(self._begin, progress)
        if self._service is not None:
            self._guarded(self._service.log, _finite(progress.metrics), progress.steps)

    def finish(self, trained: Trained) -> None:
        """Pass on the final evaluation, where there is one."""
        if self._service is not None and trained.evaluation is not None:
            final = {"eval/final_mean_reward": trained.evaluation.mean}
            self._guarded(self._service.log, final, trained.steps)

    def _begin(self, progress: Progress) -> None:
        folder = progress.folder
        experiment = config.read(folder)
        values: dict[str, Any] = {"agent": experiment.run.agent, "network": experiment.run.network}
        for name, value in experiment.settings().items():
            values[name] = _plain(value)
        self._service = SERVICES[self.name](folder.name, str(folder), values)

    def _guarded(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call, and turn a service that fails into one warning."""
        try:
            call(*arguments)
        # A server that is down, a full disk, a wrong key: whatever the service raises.
        except Exception as error:
            if not self._failed:
                text = f"{self.name} failed ({error}); the training goes on without it"
                warnings.warn(text, RuntimeWarning, stacklevel=3)
            self._failed = True
            self._service = None


def _check_installed(name: str) -> None:
    """Raise ValueError that names the extra where a service's package is missing."""
    try:
        __import__(name)
    except ImportError as error:
        raise ValueError(
            f"--track {name} needs the extra `{name}`: pip install 'bio-rl[{name}]'"
        ) from error


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The numbers that a service can keep: those of no mean yet are none."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _plain(value: Any) -> Any:
    """A setting as a service keeps it: a number, a truth or a text."""
    return value if isinstance(value, bool | int | float) else str(value)
