"""Settings as a TOML file that can be edited and read again, each part under its own words."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from solvent.lab.cascades.settings import KNOWN, Coin, Settings

_HEAD: Final = """\
Settings of `solvent cascade`. Whatever is left out has its default; shares are parts of 1.

coins: known are {known}; any other needs a table [markets.NAME].
venues: several have holders in common. accounts: holders of all venues. steps: moments of a run, of
    step_s seconds each."""


def settings_toml(settings: Settings) -> str:
    """Settings as a file for `--settings`: what is read of it is equal to them.

    >>> print(settings_toml(Settings()).splitlines()[5])
    coins    = ["BTC", "ETH"]
    """
    whole = settings.model_dump(mode="json")
    plain = {name: one for name, one in whole.items() if not isinstance(one, dict)}
    parts = [_comment(_HEAD.format(known=", ".join(KNOWN))), *_rows(plain)]
    for coin, told in whole["markets"].items():
        parts += ["", *_said(Coin), f"[markets.{coin}]", *_rows(told)]
    for name in type(settings).model_fields:
        part = getattr(settings, name)
        if isinstance(part, BaseModel):
            parts += ["", *_said(type(part)), f"[{name}]", *_rows(whole[name])]
    return "\n".join(parts) + "\n"


def _said(part: type[BaseModel]) -> list[str]:
    """What a part's docstring says, as comments."""
    words = inspect.cleandoc(part.__doc__ or "").replace("Attributes:\n", "")
    return [_comment(words)]


def _comment(words: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in words.splitlines())


def _rows(told: Mapping[str, Any]) -> list[str]:
    """`name = value` for each; what is not set stands as a comment. JSON's values are TOML's."""
    width = max(map(len, told), default=0)
    return [
        f"# {name} = (not set)" if value is None else f"{name:<{width}} = {json.dumps(value)}"
        for name, value in told.items()
    ]
