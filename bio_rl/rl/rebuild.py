"""Agents can be copied and pickled: they are made anew from what they were made of, then take over
the state.

A plain deep copy would not learn: the flat vector of all weights and the weights in it would part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def recipe(agent: Any, made_from: tuple[Any, ...], **named: Any) -> tuple[Any, tuple[Any, ...]]:
    """The value of `agent.__reduce__()`: how copy and pickle make an agent like this one.

    made_from, named: the arguments of its constructor.
    """
    state = agent.state_dict()
    return rebuilt, (type(agent), made_from, named, state)


def rebuilt(
    kind: type, made_from: tuple[Any, ...], named: Mapping[str, Any], state: Mapping[str, Any]
) -> Any:
    """An agent made from these arguments, in this state."""
    agent = kind(*made_from, **named)
    agent.load_state_dict(state)
    return agent
