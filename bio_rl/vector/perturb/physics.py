"""Perturbations of a MuJoCo model's own fields, for every simulation of a batch by itself."""

from typing import ClassVar, Protocol

import mujoco
import numpy as np
from mujoco.batch import Batch

from bio_rl.discovery import suggestion
from bio_rl.vector.perturb.effect import Effect, Fields, columns, pick
from bio_rl.vector.perturb.layer import Layer
from bio_rl.vector.perturb.limbs import INPUTS, Limbs
from bio_rl.vector.perturb.parts import feels_gravity, names, touching
from bio_rl.vector.perturb.text import Perturbation
from bio_rl.vector.perturb.world import World

# What a wind needs where there is no medium: air at 20 °C, in kg/m³ and Pa s.
AIR = {"opt.density": 1.2, "opt.viscosity": 1.8e-5}
AXES = {"x": 0, "y": 1, "z": 2}
# Substeps in which a lock closes: the shortest time constant that MuJoCo takes (refsafe).
STIFF = 2.0
# rad or m, within which both limits of a lock push at once: a motor then cannot rattle between them
MARGIN = 0.1
HOLD = (0.99, 0.9999, 1e-3, 0.5, 2.0)  # solimp of a lock: nearly rigid at once
LOCKABLE = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))


class Robot(World, Protocol):
    """A world of N simulations of one model, such as a `BatchVectorEnv`."""

    model: mujoco.MjModel
    xml_file: str
    batch: Batch
    qpos: np.ndarray
    """Positions of the joints, [N, nq], live."""
    dt: float
    """Seconds of a step of control."""


class Scale(Effect):
    """A factor of one field of the model, or of some of its rows."""

    field: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    """The kind of thing that a target names: body, geom, actuator; empty for a field of the whole
    model.
    """

    def __init__(self, robot: Robot, spec: Perturbation) -> None:
        super().__init__(robot, spec)
        self.writes = (self.field,)
        if self.kind:
            ids = pick(self.target, names(robot.model, self.kind), self.kind)
        else:
            self.no_target()
            ids = []
        self.ids = np.array(ids, np.int64)

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        """Scale the fields."""
        for name in self.writes:
            array = fields[name]
            index = columns(rows, self.ids) if self.kind else rows
            # [n, 1, ...], so that each row is scaled by its own amount.
            shape = (len(rows),) + (1,) * (array.ndim - 1)
            array[index] *= self.amount[rows].reshape(shape)


class Gravity(Scale):
    """gravity=s: s times the model's gravity; 0 is weightless, negative falls upwards."""

    field = "opt.gravity"

    def __init__(self, robot: Robot, spec: Perturbation) -> None:
        super().__init__(robot, spec)
        if not feels_gravity(robot.model):
            raise ValueError("gravity moves none of the joints of this model")


class Mass(Scale):
    """mass[:BODY]=s: mass and inertia of a body, or of all, times s."""

    bounds = (1e-3, 1e3)
    kind = "body"

    def __init__(self, robot: Robot, spec: Perturbation) -> None:
        super().__init__(robot, spec)
        self.writes = ("body_mass", "body_inertia")
        # A body that is welded to the world has the weldid 0.
        movable = robot.model.body_mass * robot.model.body_weldid
        if not movable[self.ids].any():
            raise ValueError(f"body {self.target!r} cannot move, or has no mass")


class Friction(Scale):
    """friction[:GEOM]=s: all friction coefficients of a geom, or of all, times s. A contact takes
    the larger of its two.
    """

    bounds = (0.0, 1e3)
    field = "geom_friction"
    kind = "geom"

    def __init__(self, robot: Robot, spec: Perturbation) -> None:
        super().__init__(robot, spec)
        partners = touching(robot.model, self.ids)
        if not partners:
            raise ValueError("nothing that it names is ever in a contact with friction")
        if self.target and not self._changes_a_contact(robot.model, partners):
            raise ValueError(
                "it changes nothing: a contact takes the larger friction of its two geoms, and "
                f"those that {self.target!r} touches have the larger one; without a target it "
                "acts on all"
            )

    def _changes_a_contact(self, model: mujoco.MjModel, partners: list[tuple[int, int]]) -> bool:
        """Whether any contact has another friction under one of the values."""
        nominal = model.geom_friction[:, 0].copy()
        changed = nominal.copy()
        factor = self.range.low if self.range.low != 1 else self.range.high
        changed[self.ids] *= factor
        first, second = np.array(partners).T
        before = np.maximum(nominal[first], nominal[second])
        after = np.maximum(changed[first], changed[second])
        return bool((before != after).any())


class Gear(Scale):
    """gear[:ACTUATOR]=s: transmission of an actuator, or of all, times s: weaker below 1, dead at
    0, reversed below 0.
    """

    field = "actuator_gear"
    kind = "actuator"


class GearDrift(Scale):
    """gear_drift[:ACTUATOR]=r: the gear changes by the share r at each step, gear (1 + r)^t since
    it began.
    """

    neutral = 0.0
    bounds = (-0.5, 0.5)
    field = "actuator_gear"
    kind = "actuator"

    def __init__(self, robot: Robot, spec: Perturbation) -> None:
        super().__init__(robot, spec)
        self.factor = np.ones(robot.num_envs)

    def begin(self, rows: np.ndarray) -> None:
        """Begin with the model's own gear."""
        self.factor[rows] = 1.0

    def changed(self, rows: np.ndarray, before: np.ndarray) -> None:
        """Return to the model's own gear where the drift is over."""
        ended = self.amount[rows] == 0.0
        self.factor[rows[ended]] = 1.0

    def move(self, rows: np.ndarray) -> np.ndarray | None:
        """Let the gear drift by a step; it has to be written anew in every row that drifts."""
        drifting = rows[self.amount[rows] != 0.0]
        if not len(drifting):
            return None
        self.factor[drifting] *= 1.0 + self.amount[drifting]
        return drifting

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        """Scale the gear by what has come together."""
        gear = fields["actuator_gear"]  # [N, actuators, 6]
        gear[columns(rows, self.ids)] *= self.factor[rows, None, None]

    def state(self) -> dict[str, np.ndarray]:
        """As in Effect, and the factor."""
        return super().state() | {"factor": self.factor}


class Wind(Effect):
    """wind[:AXIS]=v: wind of v m/s along x (or y, z); where the model has no medium it is filled
    with air.
    """

    neutral = 0.0

    def __init__(self, robot: Robot, spec: Perturbation) -> None:
        super().__init__(robot, spec)
        self.axes = pick(self.target or "x", AXES, "axis")
        has_medium = robot.model.opt.density or robot.model.opt.viscosity
        self.medium = {} if has_medium else AIR
        self.writes = ("opt.wind", *self.medium)

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        """Add the wind, and the air that carries it."""
        for axis in self.axes:
            fields["opt.wind"][rows, axis] += self.amount[rows]
        on = rows[self.amount[rows] != 0.0]
        for name, value in self.medium.items():
            # The field may be [N] or [N, 1].
            array = fields[name]
            array.reshape(len(array), -1)[on] = value


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

    def __init__(self, robot: Robot, spec: Perturbation) -> None:
        super().__init__(robot, spec)
        model = robot.model
        joints = names(model, "joint")
        if not self.target:
            last = next(reversed(joints))
            raise ValueError(f"lock needs a joint, as in lock:{last}; {suggestion('', joints)}")
        self.ids = np.array(pick(self.target, joints, "joint"))
        for i in self.ids:
            if int(model.jnt_type[i]) not in LOCKABLE:
                raise ValueError(
                    f"joint {model.joint(i).name!r} is free or a ball; only hinges and slides can "
                    "be locked"
                )
        self.writes = ("jnt_limited", "jnt_range", "jnt_margin", "jnt_solref", "jnt_solimp")
        self.qpos = robot.qpos
        self.addresses = model.jnt_qposadr[self.ids]
        self.held = np.zeros((robot.num_envs, len(self.ids)))
        """Angles or positions that locked joints hold, [N, joints] in rad or m."""
        self.solref = np.array([STIFF * model.opt.timestep, 1.0])

    def changed(self, rows: np.ndarray, before: np.ndarray) -> None:
        """Note the angles at which new locks hold."""
        begins = self.amount[rows] == 1.0
        new = rows[begins]
        self.held[new] = self.qpos[columns(new, self.addresses)]

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        """Close the limits of the locked joints."""
        rows = rows[self.amount[rows] == 1.0]
        index = columns(rows, self.ids)
        fields["jnt_limited"][index] = 1
        fields["jnt_range"][index] = self.held[rows][..., None]
        fields["jnt_margin"][index] = MARGIN
        fields["jnt_solref"][index] = self.solref
        fields["jnt_solimp"][index] = HOLD

    def state(self) -> dict[str, np.ndarray]:
        """As in Effect, and the angles."""
        return super().state() | {"held": self.held}


class Length(Effect):
    """length:BODY=s: a limb s times as long: its geoms, and where the next limb is attached; mass
    and inertia follow.
    """

    bounds = (0.05, 3.0)
    gradual = False
    order = 0

    def __init__(self, robot: Robot, spec: Perturbation) -> None:
        super().__init__(robot, spec)
        bodies = names(robot.model, "body")
        if not self.target:
            last = next(reversed(bodies))
            raise ValueError(
                f"length needs a body, as in length:{last}=0.5; {suggestion('', bodies)}"
            )
        self.limbs = Limbs(robot.xml_file, robot.model)
        self.bodies = tuple(pick(self.target, bodies, "body"))
        # A limb that cannot be scaled is refused here rather than at its first episode.
        self.limbs.scaled(self.bodies, self.range.low)
        self.writes = INPUTS

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        """Put in the values of the longer or shorter limbs."""
        changed = rows[self.amount[rows] != 1.0]
        for i in changed.tolist():
            amount = float(self.amount[i])
            scaled = self.limbs.scaled(self.bodies, amount)
            for name, (index, values) in scaled.items():
                fields[name][i][index] = values


class Push(Effect):
    """push[:BODY[.AXIS]]=J: a blow of J N·s on a body along x (or y, z), over a step of control."""

    neutral = 0.0
    event = True

    def __init__(self, robot: Robot, spec: Perturbation) -> None:
        super().__init__(robot, spec)
        body, _, axis = self.target.partition(".")
        (self.axis,) = pick(axis or "x", AXES, "axis")
        bodies = names(robot.model, "body")
        free = [i for i in bodies.values() if robot.model.body_weldid[i]]
        self.bodies = np.array(pick(body, bodies, "body") if body else free[:1])
        if not set(self.bodies) <= set(free):
            raise ValueError(f"body {body!r} cannot move: no joint lies between it and the world")
        self.force = robot.batch.bind("xfrc_applied")
        self.duration = robot.dt

    def release(self, rows: np.ndarray) -> None:
        """End the blow of the last step."""
        self.force[columns(rows, self.bodies)] = 0.0

    def move(self, rows: np.ndarray) -> np.ndarray | None:
        """Apply the force that gives the blow over one step of control."""
        index = columns(rows, self.bodies)
        self.force[*index, self.axis] += self.amount[rows, None] / self.duration
        return None


def attach(layer: Layer, batch: Batch) -> None:
    """Give a layer the per-simulation fields of a batch, which are expanded for it."""
    model = batch.model
    fields = {name: batch.expand(name) for name in layer.writes}
    nominal = {name: np.array(_nominal(model, name), x.dtype) for name, x in fields.items()}

    # From the gear set_const would only compute actuator_acc0, which the dynamics of a motor does
    # not read.
    inputs = set(mujoco.MjModel._setconst_inputs) - {"actuator_gear"}
    needs_set_const = not inputs.isdisjoint(fields)
    layer.attach(fields, nominal, batch.set_const if needs_set_const else None)


def _nominal(model: mujoco.MjModel, name: str) -> np.ndarray:
    """The model's own value of a field; `opt.` begins the name of an option."""
    if name.startswith("opt."):
        return getattr(model.opt, name.removeprefix("opt."))
    return getattr(model, name)


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
