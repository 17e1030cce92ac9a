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
"""Fields that a limb's length decides; what follows from these (bounding boxes, inverse weights) is
set_const's.
"""
LONG = (int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_CYLINDER))
ROUND = int(mujoco.mjtGeom.mjGEOM_SPHERE)
ROUNDING = 1e-9  # of a value: what another compilation may change without a cause
REMEMBERED = 256  # lengths whose field values are kept

Elements = tuple[tuple[np.ndarray, ...], np.ndarray]
"""An index of a field and the values there."""


class Limbs:
    """Field values of one model with some of its limbs scaled."""

    def __init__(self, path: str, model: mujoco.MjModel) -> None:
        """path: the MJCF that model was compiled from."""
        self.model = model
        with quiet_compiler():
            self._spec = mujoco.MjSpec.from_file(path)
            # Else a shorter limb would make every other body heavier.
            self._spec.compiler.settotalmass = -1.0
            plain = self._spec.compile()
        massive = plain.body_mass > 0
        mass = np.where(massive, plain.body_mass, 1.0)
        # The factor that settotalmass had put on each body.
        self._density = np.where(massive, model.body_mass / mass, 1.0)
        self.scaled = lru_cache(REMEMBERED)(self._scaled)

    def _scaled(self, bodies: tuple[int, ...], factor: float) -> dict[str, Elements]:
        """The elements of each field that differ from the model's if these bodies are `factor` as
        long.
        """
        spec = self._spec.copy()
        for body in bodies:
            self._stretch(spec, body, factor)
        with quiet_compiler():
            other = spec.compile()
        other.body_mass[:] *= self._density
        other.body_inertia[:] *= self._density[:, None]
        elements = {}
        for name in INPUTS:
            new = getattr(other, name)
            old = getattr(self.model, name)
            tolerance = ROUNDING * (1.0 + np.abs(old))
            index = np.nonzero(np.abs(new - old) > tolerance)
            elements[name] = (index, new[index].copy())

        return elements

    def _stretch(self, spec: mujoco.MjSpec, body: int, factor: float) -> None:
        """Scale a body about its joint: geoms, sites, further joints, and the joints at which its
        children hang.
        """
        model = self.model
        anchor = self._anchor(body)

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
            # A child is moved so that its joint, and not its frame, lies on the longer limb.
            hinge = np.empty(3)
            mujoco.mju_rotVecQuat(hinge, self._anchor(child), model.body_quat[child])
            spec.bodies[child].pos = moved(model.body_pos[child] + hinge) - hinge

    def _anchor(self, body: int) -> np.ndarray:
        """The place [3] in a body's own frame where its first joint holds it; the origin if it has
        none.
        """
        model = self.model
        if not model.body_jntnum[body]:
            return np.zeros(3)
        return model.jnt_pos[model.body_jntadr[body]].copy()


def _stretch_geom(geom: Any, anchor: np.ndarray, factor: float) -> None:
    """Scale a geom about anchor, [3], along its length."""
    ends = np.array(geom.fromto)
    if np.isfinite(ends).all():
        stretched = anchor + factor * (ends.reshape(2, 3) - anchor)
        geom.fromto = stretched.reshape(-1)
        return
    geom.pos = anchor + factor * (np.array(geom.pos) - anchor)
    size = np.array(geom.size)
    kind = int(geom.type)
    if kind in LONG:
        size[1] *= factor
    elif kind != ROUND:
        raise ValueError(
            f"geom {geom.name!r} is no capsule, cylinder or sphere: its length cannot be scaled"
        )
    geom.size = size
