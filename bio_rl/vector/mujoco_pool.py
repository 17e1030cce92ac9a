"""A `Batch` that steps as Gymnasium does, contact forces included: Python threads, each with an
MjData of its own.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import mujoco
import numpy as np
from mujoco.batch import Batch
from numpy.typing import ArrayLike

from bio_rl.vector.mujoco_model import ENVS_PER_THREAD

STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
Call = Callable[[mujoco.MjModel, mujoco.MjData], None]
GetModel = Callable[[int, mujoco.MjModel], mujoco.MjModel]


class ContactBatch(Batch):
    """A Batch whose steps end with mj_rnePostConstraint, as those of Gymnasium's MujocoEnv:
    cfrc_ext is exact.

    Batch itself computes cfrc_ext for models with force sensors only, and under RK4 at the first of
    its four stages. Here each thread takes the next simulation, loads its state row into the
    thread's MjData, runs MuJoCo (which releases the GIL) and saves the row. State rows, model
    fields per simulation, warning counters and named views are Batch's own. Derived fields are
    those of the last step or forward; reset alone leaves them as they are.
    """

    def __init__(self, model: mujoco.MjModel, nsim: int, nthread: int) -> None:
        super().__init__(model, nsim, 1)
        self._derived: dict[str, np.ndarray] = {}
        self._models_differ = False
        self._workers = [_Worker(self, self._derived) for _ in range(nthread)]

        # The calling thread works too, so the pool has one thread less.
        self._threads = ThreadPoolExecutor(nthread - 1) if nthread > 1 else None

    @property
    def nthread(self) -> int:
        """The number of threads that step the simulations."""
        return len(self._workers)

    def bind(self, name: str) -> np.ndarray:
        """The live array [nsim, ...] of an MjData field; one that is not part of the state is
        read-only.
        """
        field = super().bind(name)
        if field.flags.writeable:
            return field
        if name not in self._derived:
            self._derived[name] = np.zeros(field.shape, field.dtype)
        view = self._derived[name].view()
        view.flags.writeable = False
        return view

    def expand(self, name: str) -> np.ndarray:
        """The array [nsim, ...] of an MjModel field, which is now each simulation's own."""
        self._models_differ = True
        return super().expand(name)

    def set_models(self, models: mujoco.MjModel | list[mujoco.MjModel] | None) -> None:
        """Give each simulation a model of its own."""
        self._models_differ = True
        super().set_models(models)

    def step(self, ids: ArrayLike | None = None, nstep: int = 1) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run mj_step nstep times, then mj_rnePostConstraint, in the simulations of ids: integers
        or bool [nsim].
        """
        self._run(ids, partial(_step, nstep=nstep))

    def forward(self, ids: ArrayLike | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run mj_forward in the simulations of ids; contact forces are 0 then, as after
        mj_resetData.
        """
        self._run(ids, _forward)

    def _run(self, ids: ArrayLike | None, call: Call) -> None:
        """Run call in each simulation of ids, on as many threads as they are worth; which one runs
        which makes no difference.
        """
        everyone = np.arange(self.nsim)
        rows = everyone if ids is None else everyone[np.asarray(ids)]
        # Each thread takes the next row from it, so that a slow one holds up no other.
        shared = iter(rows.tolist())
        get_model = self.get_model if self._models_differ else None
        first, *others = self._workers
        helpers = others[: max(0, len(rows) // ENVS_PER_THREAD - 1)]
        jobs = []
        if self._threads is not None:
            jobs = [self._threads.submit(helper.run, shared, call, get_model) for helper in helpers]
        try:
            first.run(shared, call, get_model)
        finally:
            for job in jobs:
                job.result()


class _Worker:
    """A model and data for one thread."""

    def __init__(self, batch: ContactBatch, derived: dict[str, np.ndarray]) -> None:
        self.model = batch.get_model(0)
        self.data = mujoco.MjData(self.model)
        self.counts = self.data.warning.number  # a live view
        self.state = batch.state
        self.warnings = batch.warning[:, :, 1]
        self.derived = derived

    def run(self, rows: Iterator[int], call: Call, get_model: GetModel | None) -> None:
        """Run call in the simulations that rows yields, until it is empty."""
        model = self.model
        data = self.data
        for i in rows:
            if get_model is not None:
                get_model(i, model)
            self.counts[:] = self.warnings[i]
            mujoco.mj_setState(model, data, self.state[i], STATE)
            call(model, data)
            mujoco.mj_getState(model, data, self.state[i], STATE)
            self.warnings[i] = self.counts
            for name, field in self.derived.items():
                field[i] = getattr(data, name)


def _step(model: mujoco.MjModel, data: mujoco.MjData, nstep: int) -> None:
    mujoco.mj_step(model, data, nstep)
    mujoco.mj_rnePostConstraint(model, data)


def _forward(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    # mj_forward computes these only if a sensor needs them, and would leave old ones there.
    data.cacc[:] = 0.0
    data.cfrc_int[:] = 0.0
    data.cfrc_ext[:] = 0.0
    mujoco.mj_forward(model, data)
