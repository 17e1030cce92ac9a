"""Perturbations of a world: faults of the body, the medium, the sensors and the actuators.

`layer.Layer` holds those of one world; docs/perturbations.md lists them.
"""
