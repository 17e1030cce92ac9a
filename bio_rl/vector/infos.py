"""Infos of a batch in the layout of Gymnasium's SyncVectorEnv: arrays over the rows, and masks.

A key `name` holds an array [N, ...]; the key `_name` holds bool [N], True where the row has said
something about it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Info = dict[str, Any]


def add_masks(step_info: Info) -> Info:
    """Infos with a mask `_key` for each key, all True, as a step of every environment has them."""
    info = dict(step_info)
    for key, value in step_info.items():
        info[f"_{key}"] = np.ones(len(value), np.bool_)
    return info


def merge_resets(step_info: Info, begun: np.ndarray, reset_info: Info) -> Info:
    """Step infos of the rows that went on, joined with reset infos of the rows that began anew.

    step_info: {key: [N]}; its arrays are overwritten. begun: bool [N]. reset_info: {key: [number of
    begun rows]}. A row that a key says nothing about holds 0 there, and False in `_key`; a key of
    no row at all is left out.
    """
    info: Info = {}
    # A key that no row has anything to say about is left out, as SyncVectorEnv does.
    if not begun.all():
        for key, value in step_info.items():
            value[begun] = 0
            info[key] = value
            info[f"_{key}"] = ~begun
    for key, value in reset_info.items():
        if key not in info:
            info[key] = np.zeros((len(begun), *value.shape[1:]), value.dtype)
            info[f"_{key}"] = np.zeros_like(begun)
        info[key][begun] = value
        info[f"_{key}"][begun] = True

    return info


def final_infos(obs: np.ndarray, step_info: Info, done: np.ndarray) -> Info:
    """Infos of the episodes that ended in a step of the mode SAME_STEP.

    final_obs is dense: the observation before any reset, for every row, [N, *obs]; `_final_obs`
    marks the rows that ended. final_info holds the step's infos with the masks of the rows that
    ended, zero elsewhere.
    """
    ended: Info = {}
    for key, value in step_info.items():
        ended[key] = value.copy()
        ended[key][~done] = 0
        ended[f"_{key}"] = done.copy()
    return {
        "final_obs": obs,
        "_final_obs": done.copy(),
        "final_info": ended,
        "_final_info": done.copy(),
    }


def first_row(info: Info) -> Info:
    """Infos of the only row of a batch, without masks.

    Truths become Python's own: of NumPy's, SyncVectorEnv makes arrays of objects.
    """
    first = {}
    for key, value in info.items():
        if not key.startswith("_"):
            entry = value[0]
            first[key] = bool(entry) if isinstance(entry, np.bool_) else entry
    return first


def row_of(info: Mapping[str, Any], row: int) -> dict[str, np.ndarray]:
    """The numbers that infos of a batch tell of a row: those of the step that ended an episode
    where they tell of the next one's start as well. What is no number is left out.
    """
    # the top level is then of the new episode
    ended = info.get("_final_info")
    source = info["final_info"] if ended is not None and ended[row] else info
    told = {}
    for key, values in source.items():
        said = source.get(f"_{key}")
        is_array = isinstance(values, np.ndarray) and values.dtype.kind in "fiub"
        # keys with an underscore are masks, and final_obs is of the observation
        if not is_array or key.startswith("_") or key == "final_obs":
            continue
        if said is None or said[row]:
            told[key] = values[row].reshape(-1) if values[row].ndim else values[row]
    return told
