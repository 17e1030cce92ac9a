"""Limbs of another length: the model's description edited and compiled anew, as the values of the
fields that change.
"""

from functools import lru_cache
from typing import Any

import mujoco
import numpy as np

from bio_rl.vector.mujoco_model import quiet_compiler

INPUTS = (
    "body_pos",
    "body_ipos",
    "body_iquat",
    "body_mass",
    "body_inertia",
    "geom_pos",
    "geom_size",
    "jnt_pos",
    "site_pos",
)
"""What a limb's length decides; what follows from these (bounding boxes, inverse weights) is
set_const's.
"""
LONG = (int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_CYLINDER))
ROUND = int(mujoco.mjtGeom.mjGEOM_SPHERE)


class Limbs:
    """Field values of one model with some of its limbs scaled."""

    def __init__(self, path: str, model: mujoco.MjModel) -> None:
        """path: the MJCF that model was compiled from."""
        self.model = model
        with quiet_compiler():
            self._spec = mujoco.MjSpec.from_file(path)
            self._spec.compiler.settotalmass = (
                -1.0
            )  # else a shorter limb would make every other body heavier
            plain = self._spec.compile()
        mass = np.where(plain.body_mass > 0, plain.body_mass, 1.0)
        self._density = np.where(
            plain.body_mass > 0, model.body_mass / mass, 1.0
        )  # what settotalmass had done
        self.scaled = lru_cache(256)(self._scaled)

    def _scaled(self, bodies: tuple[int, ...], factor: float) -> dict[str, tuple[Any, np.ndarray]]:
        """{field: (index, values)} of the elements that differ from the model's when these bodies
        are `factor` as long.
        """
        spec = self._spec.copy()
        for body in bodies:
            self._stretch(spec, body, factor)
        with quiet_compiler():
            other = spec.compile()
        other.body_mass[:] *= self._density
        other.body_inertia[:] *= self._density[:, None]
        found = {}
        for name in INPUTS:
            new, old = getattr(other, name), getattr(self.model, name)
            index = np.nonzero(
                np.abs(new - old) > 1e-9 * (1.0 + np.abs(old))
            )  # beyond the rounding of another compilation
            found[name] = (index, new[index].copy())
        return found

    def _stretch(self, spec: mujoco.MjSpec, body: int, factor: float) -> None:
        """Scale a body about its joint: geoms, sites, further joints, and the joints at which its
        children hang.
        """
        model, anchor = self.model, self._anchor(body)

        def moved(p: np.ndarray) -> np.ndarray:
            return anchor + factor * (p - anchor)

        limb = spec.bodies[body]
        for geom in limb.geoms:
            _stretch_geom(geom, anchor, factor)
        for part in (*limb.sites, *limb.joints):
            part.pos = moved(np.array(part.pos))
        for child in np.flatnonzero(model.body_parentid == body).tolist():
            if child == body:
                continue
            hinge = np.empty(3)
            mujoco.mju_rotVecQuat(hinge, self._anchor(child), model.body_quat[child])
            spec.bodies[child].pos = moved(model.body_pos[child] + hinge) - hinge

    def _anchor(self, body: int) -> np.ndarray:
        """Where a body's first joint holds it, in its own frame [3]; the origin where it has none."""
        model = self.model
        return (
            model.jnt_pos[model.body_jntadr[body]].copy()
            if model.body_jntnum[body]
            else np.zeros(3)
        )


def _stretch_geom(geom: Any, anchor: np.ndarray, factor: float) -> None:
    ends = np.array(geom.fromto)
    if np.isfinite(ends).all():
        geom.fromto = (anchor + factor * (ends.reshape(2, 3) - anchor)).reshape(-1)
        return
    geom.pos = anchor + factor * (np.array(geom.pos) - anchor)
    size, kind = np.array(geom.size), int(geom.type)
    if kind in LONG:
        size[1] *= factor
    elif kind != ROUND:
        raise ValueError(
            f"geom {geom.name!r} is no capsule, cylinder or sphere: its length cannot be scaled"
        )
    geom.size = size
