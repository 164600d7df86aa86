"""Options that several commands share, told once, as a dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

Command = Callable[..., None]


def folded(name: str, part: type, *, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Give a command the fields of a dataclass as options of its own, in place of one parameter.

    Args:
        name: the parameter that is the dataclass in the command's own signature.
        part: the dataclass; each field is annotated as an option and has a default.
        without: fields that this command does not offer; they have their defaults.
    """
    kinds = get_type_hints(part, include_extras=True)
    offered = [one for one in fields(part) if one.name not in without]
    options = [
        inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, annotation=kinds[one.name],
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
        )
        for one in offered
    ]  # fmt: skip

    def fold(command: Command) -> Command:
        @functools.wraps(command)
        def told(**given: Any) -> None:
            mine = {one.name: given.pop(one.name) for one in offered}
            command(**given, **{name: part(**mine)})

        shown: list[inspect.Parameter] = []
        for one in inspect.signature(command, eval_str=True).parameters.values():
            own = one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            shown.extend(options if one.name == name else [own])
        told.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        return told

    return fold
