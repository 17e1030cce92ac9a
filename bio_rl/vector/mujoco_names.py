"""The words for what a robot senses and does, read from its MuJoCo model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import mujoco

from bio_rl.vector.labels import triple
from bio_rl.vector.perturb import parts

FREE = int(mujoco.mjtJoint.mjJNT_FREE)
BALL = int(mujoco.mjtJoint.mjJNT_BALL)
SLIDE = int(mujoco.mjtJoint.mjJNT_SLIDE)
JOINT = int(mujoco.mjtTrn.mjTRN_JOINT)
WRENCH = (*triple("torque"), *triple("force"))
"""The numbers of an external wrench, cfrc_ext."""
QUATERNION = ("w", "x", "y", "z")
ROOTS = {
    "root": "torso",
    "rootx": "x",
    "rootz": "z",
    "rooty": "pitch",
    "slider1": "x",
    "slider2": "y",
    "free_body_rot": "heading",
}
"""Readable words for the joints by which Gymnasium's robots move through their world."""


def positions(model: mujoco.MjModel, skip: int = 0) -> tuple[str, ...]:
    """A name for each entry of qpos but the first `skip`: "bthigh angle", "z position"."""
    names: list[str] = []
    for name, kind in _joints(model):
        # a free joint has three numbers for the place and four for the orientation
        if kind == FREE:
            names += [*triple(name), *triple(name, [f"quaternion {q}" for q in QUATERNION])]
        elif kind == BALL:
            names += triple(name, [f"quaternion {q}" for q in QUATERNION])
        else:
            names.append(f"{name} position" if kind == SLIDE else f"{name} angle")
    return tuple(names[skip:])


def velocities(model: mujoco.MjModel) -> tuple[str, ...]:
    """A name for each entry of qvel: "bthigh velocity"."""
    return tuple(f"{name} velocity" for name in freedoms(model))


def freedoms(model: mujoco.MjModel) -> tuple[str, ...]:
    """A name for each degree of freedom, by its joint: "bthigh", "torso x", "torso turn z"."""
    names: list[str] = []
    for name, kind in _joints(model):
        # three numbers for the turning, of which a quaternion needs four
        if kind == FREE:
            names += triple(name)
        if kind in (FREE, BALL):
            names += triple(f"{name} turn")
        else:
            names.append(name)
    return tuple(names)


def actuators(model: mujoco.MjModel) -> tuple[str, ...]:
    """A name for each actuator: "bthigh torque", or a force where its joint slides."""
    names = []
    for i in range(model.nu):
        name = _plain(model.actuator(i).name)
        # others pull at tendons or push at sites: these have no joint to be called after
        if model.actuator_trntype[i] == JOINT:
            joint = model.joint(model.actuator_trnid[i, 0])
            effect = "force" if int(joint.type[0]) == SLIDE else "torque"
            name = f"{name or _plain(joint.name)} {effect}"
        names.append(name or f"actuator {i}")
    return tuple(names)


def of_bodies(model: mujoco.MjModel, first: int, quantities: Sequence[str]) -> tuple[str, ...]:
    """ "torso force x", …: a name for each quantity of each body from number `first` on."""
    known = {i: name for name, i in parts.names(model, "body").items()}
    bodies = [_plain(known.get(i, f"body {i}")) for i in range(first, model.nbody)]
    return tuple(f"{body} {quantity}" for body in bodies for quantity in quantities)


def _joints(model: mujoco.MjModel) -> Iterable[tuple[str, int]]:
    """The name and the type of each joint."""
    for i in range(model.njnt):
        yield _plain(model.joint(i).name), int(model.jnt_type[i])


def _plain(name: str) -> str:
    """A part's name as a reader says it."""
    name = ROOTS.get(name, name)
    return name.removesuffix("_joint").removesuffix("_rot").replace("_", " ")
