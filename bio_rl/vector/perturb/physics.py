"""Perturbations of a MuJoCo model's own fields, for every simulation of a batch by itself."""

import copy
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from bio_rl.discovery import suggestion
from bio_rl.vector.perturb.effect import Effect, Fields, columns, pick
from bio_rl.vector.perturb.layer import Layer
from bio_rl.vector.perturb.limbs import INPUTS, Limbs
from bio_rl.vector.perturb.text import Perturbation

AIR = {
    "opt.density": 1.2,
    "opt.viscosity": 1.8e-5,
}  # kg/m³ and Pa s at 20 °C, what a wind needs where there is no medium
AXES = {"x": 0, "y": 1, "z": 2}
STIFF = (
    2.0  # substeps in which a lock closes: the shortest time constant that MuJoCo takes (refsafe)
)
# rad or m, within which both limits of a lock push at once: a motor then cannot rattle between them
MARGIN = 0.1
HOLD = (0.99, 0.9999, 1e-3, 0.5, 2.0)  # solimp of a lock: nearly rigid at once


class Scale(Effect):
    """A factor of one field of the model, or of some of its rows."""

    field = ""
    kind = ""
    """What a target names: body, geom, actuator; empty for a field of the whole model."""

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        self.writes = (self.field,)
        if not self.kind:
            self.no_target()
        found = pick(self.target, names(world.model, self.kind), self.kind) if self.kind else []
        self.ids = np.array(found, np.int64)

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        for name in self.writes:
            array = fields[name]
            index = columns(rows, self.ids) if self.kind else rows
            shape = (len(rows),) + (1,) * (array.ndim - 1)
            array[index] *= self.amount[rows].reshape(shape)


class Gravity(Scale):
    """gravity=s: s times the model's gravity; 0 is weightless, negative falls upwards."""

    field = "opt.gravity"

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        if not _feels_gravity(world.model):
            raise ValueError("gravity moves none of the joints of this model")


class Mass(Scale):
    """mass[:BODY]=s: mass and inertia of a body, or of all, times s."""

    bounds = (1e-3, 1e3)
    kind = "body"

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        self.writes = ("body_mass", "body_inertia")
        if not (world.model.body_mass * world.model.body_weldid)[self.ids].any():
            raise ValueError(f"body {self.target!r} cannot move, or has no mass")


class Friction(Scale):
    """friction[:GEOM]=s: all friction coefficients of a geom, or of all, times s. A contact takes
    the larger of its two.
    """

    bounds = (0.0, 1e3)
    field = "geom_friction"
    kind = "geom"

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        partners = _touching(world.model, self.ids)
        if not partners:
            raise ValueError("nothing that it names is ever in a contact with friction")
        theirs = world.model.geom_friction[:, 0].copy()
        changed = theirs.copy()
        changed[self.ids] *= self.range.low if self.range.low != 1 else self.range.high
        if (
            all(max(theirs[a], theirs[b]) == max(changed[a], changed[b]) for a, b in partners)
            and self.target
        ):
            raise ValueError(
                f"it changes nothing: a contact takes the larger friction of its two geoms, and those that {self.target!r} "
                "touches have the larger one; without a target it acts on all"
            )


class Gear(Scale):
    """gear[:ACTUATOR]=s: transmission of an actuator, or of all, times s: weaker below 1, dead at
    0, reversed below 0.
    """

    field = "actuator_gear"
    kind = "actuator"


class GearDrift(Gear):
    """gear_drift[:ACTUATOR]=r: the gear changes by the share r at each step, gear (1 + r)^t since
    it began.
    """

    neutral = 0.0
    bounds = (-0.5, 0.5)

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        self.factor = np.ones(world.num_envs)

    def begin(self, rows: np.ndarray) -> None:
        self.factor[rows] = 1.0

    def changed(self, rows: np.ndarray, before: np.ndarray) -> None:
        self.factor[rows[self.amount[rows] == 0.0]] = 1.0

    def move(self, rows: np.ndarray) -> None:
        rows = rows[self.amount[rows] != 0.0]
        if len(rows):
            self.factor[rows] *= 1.0 + self.amount[rows]
            self.world._layer.rewrite(rows)

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        fields["actuator_gear"][columns(rows, self.ids)] *= self.factor[rows, None, None]

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"factor": self.factor}


class Wind(Effect):
    """wind[:AXIS]=v: wind of v m/s along x (or y, z); where the model has no medium it is filled
    with air.
    """

    neutral = 0.0

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        self.axis = pick(self.target or "x", AXES, "axis")
        self.filled = not (world.model.opt.density or world.model.opt.viscosity)
        self.writes = ("opt.wind", *(AIR if self.filled else ()))

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        for axis in self.axis:
            fields["opt.wind"][rows, axis] += self.amount[rows]
        for name in AIR if self.filled else ():
            on = rows[self.amount[rows] != 0.0]
            fields[name].reshape(len(fields[name]), -1)[on] = AIR[name]


class Lock(Effect):
    """lock:JOINT[=1]: the joint holds the angle, or position, at which it is when the lock begins
    (1 locked, 0 free).

    The limits of the joint close around that angle, so that it holds under every integrator.
    """

    neutral = 0.0
    default = 1.0
    bounds = (0.0, 1.0)
    whole = True
    gradual = False
    order = 2  # after a limb's length, which brings its own limits

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        model, joints = world.model, names(world.model, "joint")
        if not self.target:
            raise ValueError(
                f"lock needs a joint, as in lock:{next(reversed(joints))}; {suggestion('', joints)}"
            )
        self.ids = np.array(pick(self.target, joints, "joint"))
        hinge_or_slide = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
        for i in self.ids:
            if int(model.jnt_type[i]) not in hinge_or_slide:
                raise ValueError(
                    f"joint {model.joint(i).name!r} is free or a ball; only hinges and slides can be locked"
                )
        self.writes = ("jnt_limited", "jnt_range", "jnt_margin", "jnt_solref", "jnt_solimp")
        self.held = np.zeros((world.num_envs, len(self.ids)))  # rad or m
        self.solref = np.array([STIFF * model.opt.timestep, 1.0])

    def changed(self, rows: np.ndarray, before: np.ndarray) -> None:
        new = rows[(self.amount[rows] == 1.0)]
        self.held[new] = self.world.qpos[columns(new, self.world.model.jnt_qposadr[self.ids])]

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        rows = rows[self.amount[rows] == 1.0]
        at = columns(rows, self.ids)
        fields["jnt_limited"][at] = 1
        fields["jnt_range"][at] = self.held[rows][..., None]
        fields["jnt_margin"][at] = MARGIN
        fields["jnt_solref"][at] = self.solref
        fields["jnt_solimp"][at] = HOLD

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"held": self.held}


class Length(Effect):
    """length:BODY=s: a limb s times as long: its geoms, and where the next limb is attached; mass
    and inertia follow.
    """

    bounds = (0.05, 3.0)
    gradual = False
    order = 0

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        bodies = names(world.model, "body")
        if not self.target:
            raise ValueError(
                f"length needs a body, as in length:{next(reversed(bodies))}=0.5; {suggestion('', bodies)}"
            )
        self.limbs = Limbs(world.xml_file, world.model)
        self.bodies = tuple(pick(self.target, bodies, "body"))
        self.limbs.scaled(self.bodies, self.range.low)
        self.writes = INPUTS

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        for i in rows[self.amount[rows] != 1.0].tolist():
            for name, (index, values) in self.limbs.scaled(
                self.bodies, float(self.amount[i])
            ).items():
                fields[name][i][index] = values


class Push(Effect):
    """push[:BODY[.AXIS]]=J: a blow of J N·s on a body, along x (or y, z), over one step of control."""

    neutral = 0.0
    event = True

    def __init__(self, world: Any, asked: Perturbation) -> None:
        super().__init__(world, asked)
        body, _, axis = self.target.partition(".")
        (self.axis,) = pick(axis or "x", AXES, "axis")
        bodies = names(world.model, "body")
        free = [i for i in bodies.values() if world.model.body_weldid[i]]
        self.bodies = np.array(pick(body, bodies, "body") if body else free[:1])
        if not set(self.bodies) <= set(free):
            raise ValueError(f"body {body!r} cannot move: no joint lies between it and the world")
        self.force = world.batch.bind("xfrc_applied")

    def release(self, rows: np.ndarray) -> None:
        self.force[columns(rows, self.bodies)] = 0.0

    def move(self, rows: np.ndarray) -> None:
        self.force[*columns(rows, self.bodies), self.axis] += (
            self.amount[rows, None] / self.world.dt
        )


def attach(layer: Layer, batch: Batch) -> None:
    """Give a layer the per-simulation fields of a batch, which are expanded for it."""
    model = batch.model
    fields = {name: batch.expand(name) for name in layer.writes}
    nominal = {name: np.array(_nominal(model, name), array.dtype) for name, array in fields.items()}
    # set_const would only set actuator_acc0 from the gear, which the dynamics of a motor does not
    # read
    derived = any(
        name in mujoco.MjModel._setconst_inputs and name != "actuator_gear" for name in fields
    )
    layer.attach(fields, nominal, batch.set_const if derived else None)


def _nominal(model: mujoco.MjModel, name: str) -> np.ndarray:
    return getattr(model.opt, name[4:]) if name.startswith("opt.") else getattr(model, name)


def names(model: mujoco.MjModel, kind: str) -> dict[str, int]:
    """{name: id} of the model's bodies (without the world), geoms, joints or actuators.

    Where an actuator has no name it goes by its joint's, a body by its first geom's; what has no
    name at all is left out.
    """
    count = {"body": model.nbody, "geom": model.ngeom, "joint": model.njnt, "actuator": model.nu}[
        kind
    ]
    found: dict[str, int] = {}
    for i in range(kind == "body", count):
        name = getattr(model, kind)(i).name
        if not name and kind == "actuator":
            name = model.joint(model.actuator_trnid[i, 0]).name
        if not name and kind == "body" and model.body_geomnum[i]:
            name = model.geom(model.body_geomadr[i]).name
        if name:
            found[name] = i
    return found


def _feels_gravity(model: mujoco.MjModel) -> bool:
    """Whether gravity pulls at a joint in one of a few random poses."""
    data, rng, lifted = mujoco.MjData(model), np.random.default_rng(0), copy.copy(model)
    lifted.opt.gravity[:] = 0.0
    for _ in range(3):
        mujoco.mj_resetData(model, data)
        mujoco.mj_integratePos(model, data.qpos, rng.standard_normal(model.nv), 1.0)
        forces = []
        for m in (model, lifted):
            mujoco.mj_forward(m, data)
            forces.append(data.qfrc_bias.copy())
        if np.abs(forces[0] - forces[1]).max() > 1e-9:
            return True
    return False


def _touching(model: mujoco.MjModel, ids: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of geoms, one of them in ids, that can meet in a contact with friction."""
    pairs = []
    for a in ids.tolist():
        for b in range(model.ngeom):
            meets = (
                model.geom_contype[a] & model.geom_conaffinity[b]
                or model.geom_contype[b] & model.geom_conaffinity[a]
            )
            apart = model.geom_bodyid[a] != model.geom_bodyid[b]
            if meets and apart and max(model.geom_condim[a], model.geom_condim[b]) > 1:
                pairs.append((a, b))
    return pairs


KINDS: dict[str, type[Effect]] = {
    "gravity": Gravity,
    "mass": Mass,
    "friction": Friction,
    "gear": Gear,
    "gear_drift": GearDrift,
    "wind": Wind,
    "lock": Lock,
    "length": Length,
    "push": Push,
}
