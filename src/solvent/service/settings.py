"""How a venue is served: from a TOML file, the environment (`SOLVENT_PORT`), and flags.

Flags come before the environment, that before the file, that before what stands here. What is not
known is refused, so that a typing error is none that is found in production.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, IPvAnyNetwork, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from solvent.errors import BadInput, Problem, Reject

PREFIX: Final = "SOLVENT_"
_OTHERS: Final = frozenset({"SOLVENT_SHARED"})
_SECRETS: Final = ("_KEY", "_SECRET", "_PASSPHRASE")
"""Names of the environment that mean something elsewhere, and how those of clients end."""


class Settings(BaseSettings):
    """Everything that `solvent serve` may be told."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    url: str = Field("venue", description="The journal: a directory, or postgresql://user@host/db.")
    host: str = Field("127.0.0.1", description="The address to listen at.")
    port: int = Field(8080, ge=0, le=65_535, description="The port; 0 takes a free one.")
    root_path: str = Field("", description="The path under which a proxy shows the service.")
    tls_certificate: Path | None = Field(None, description="A PEM file, without a proxy.")
    tls_key: Path | None = Field(None, description="The key of that certificate.")
    dashboard: bool = Field(True, description="Serve the pages too.")
    hold_time: bool = Field(False, description="Time stands still at the journal's last command.")
    tend: bool = Field(True, description="Call margin and liquidate when prices change.")
    tend_every_ms: int = Field(1_000, ge=10, description="Look at least so often, as time passes.")
    room: int = Field(16_384, ge=1, description="Commands that may wait in a lane.")
    patience_ms: int = Field(500, ge=1, description="A request that would wait longer is refused.")
    batch_max: int = Field(1_024, ge=4, description="Commands made durable together.")
    snapshot_every: int = Field(1_000_000, ge=1, description="Commands between two snapshots.")
    in_flight_max: int = Field(512, ge=1, description="Requests that are worked on at a time.")
    body_bytes_max: int = Field(1 << 20, ge=1_024, description="Largest body of a request.")
    bulk_bytes_max: int = Field(1 << 26, ge=1_024, description="Largest body of many commands.")
    depth_max: int = Field(32, ge=2, description="How deep JSON may nest.")
    what_if_wait_ms: float = Field(
        2.0, ge=0, le=1_000, description="Where many ask what-ifs, they wait so long for company."
    )
    what_if_patience_ms: float = Field(
        10.0, gt=0, description="A what-if that would wait longer is refused."
    )
    ask_s: float = Field(5.0, gt=0, description="A slow question is given up after so long.")
    security: Path | None = Field(None, description="The vault; none: open to this machine alone.")
    behind_proxy: bool = Field(False, description="A proxy ends TLS: listen beyond loopback plain.")
    public_market: bool = Field(True, description="What is published is shown to everybody.")
    rate_per_s: int = Field(2_000, ge=1, description="Weight a second of a key, or of an account.")
    rate_burst: int = Field(4_000, ge=20, description="Weight at once of a key, or of an account.")
    session_idle_s: int = Field(1_800, ge=60, description="A session ends when nothing is asked.")
    session_whole_s: int = Field(43_200, ge=60, description="A session ends whatever is asked.")
    webhook_allow: tuple[IPvAnyNetwork, ...] = Field(
        (), description="Networks that webhooks may go to though they are private, or plain http."
    )
    arrays_age_max_s: int | None = Field(
        None, ge=1, description="Not ready while the venue's arrays are older; none: not judged."
    )
    log_format: Literal["text", "json"] = Field("text", description="Masked lines: text or json.")
    log_level: str = Field("info", pattern="^(critical|error|warning|info|debug)$")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Flags, environment, file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings of a file, the environment and flags that are not None.

    Raises BadInput that names what is wrong with which field.

    >>> load_settings(flags={"port": 9000}).port
    9000
    """
    if config is not None and not config.is_file():
        raise BadInput(_problem(str(config), None, "a TOML file", "none"))

    class Loaded(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    told = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Loaded(**told)
    except ValidationError as fault:
        raise BadInput(
            *(
                _problem("settings", ".".join(map(str, one["loc"])), one["msg"], repr(one["input"]))
                for one in fault.errors(include_url=False)
            )
        ) from None
    except ValueError as fault:
        raise BadInput(_problem(str(config), None, "TOML", str(fault))) from None


def _problem(source: str, field: str | None, expected: str, found: str) -> Problem:
    return Problem(
        code=Reject.SOURCE_UNREADABLE, source=source, field=field, expected=expected, found=found
    )


def unknown_names() -> list[str]:
    """Names of the environment that look like settings and are none."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _OTHERS
    return sorted(
        one for one in os.environ
        if one.startswith(PREFIX) and one not in known and not one.endswith(_SECRETS)
    )  # fmt: skip
