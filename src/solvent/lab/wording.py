"""What is wrong with a file, in the words that the rest of Solvent uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel

_PLAIN: Final = {
    "missing": "a value",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_BOUNDS: Final = {
    "greater_than_equal": ("ge", "{} or more"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "{} or less"),
    "less_than": ("lt", "less than {}"),
}


def expected(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    """What was expected, of one of `ValidationError.errors()` of a model.

    >>> class Lot(BaseModel): size: int
    >>> expected({"type": "greater_than_equal", "ctx": {"ge": -0.999}, "loc": ("size",)}, Lot)
    '-0.999 or more'
    >>> expected({"type": "extra_forbidden", "loc": ("sise",)}, Lot)
    'one of size'
    """
    kind, context = str(error["type"]), error.get("ctx", {})
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return words.format(f"{context[key]:g}")
    if kind == "extra_forbidden":
        return f"one of {', '.join(_keys(model, error['loc']))}"
    if kind == "literal_error":
        return f"one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"text that fits {context['pattern']}"
    return str(error["msg"]).removeprefix("Value error, ")


def unreadable(fault: Exception) -> str:
    """Why a file could not be read.

    >>> unreadable(FileNotFoundError(2, "No such file or directory", "mine.toml"))
    'no such file'
    """
    if isinstance(fault, FileNotFoundError):
        return "no such file"
    if isinstance(fault, UnicodeDecodeError):
        return "what is no text in UTF-8"
    return str(getattr(fault, "strerror", None) or fault)


def _keys(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The keys that may stand where an unknown one was found."""
    here = model
    for part in loc[:-1]:
        if part in here.model_fields:
            here = _model_in(here.model_fields[str(part)].annotation) or here
    return list(here.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a field, or of the members of a list or table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one))), None)
