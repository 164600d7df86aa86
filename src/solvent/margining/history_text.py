"""How a joint set is made of a history, as a rulebook tells it: the fields of `HistorySpec`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from solvent.scenarios.history.spec import HistorySpec


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class WindowText(_Text):
    """Windows that end in (start, end]: days of UTC, or moments."""

    start: datetime | date
    end: datetime | date


class ProxyText(_Text):
    """What stands in for a coin without history: `scenarios.history.Proxy`."""

    name: str
    factors: list[str] = Field(min_length=1)
    beta: list[float] | None = None
    residual: str | None = None
    residual_ratio: float | None = None
    overlap_min: int | None = None


class HistoryText(_Text):
    """`scenarios.history.HistorySpec`, field by field; what is not told has its default there.

    `tools` are rows of anti-procyclical tools (`scenarios.anti_procyclical`).
    """

    underlyings: list[str] | None = None
    mpor_hours: float | None = None
    step_hours: float | None = None
    every_hours: float | None = None
    phase_hours: float | None = None
    lookback_days: float | None = None
    windows: list[WindowText] | None = None
    stressed_days: float | None = None
    returns: Literal["log", "relative"] | None = None
    scaled: bool | None = None
    centred: bool | None = None
    mirrored: bool | None = None
    filter: Literal["none", "ewma", "garch"] | None = None
    decay: float | None = None
    burn_in_days: float | None = None
    ratio_max: float | None = None
    ratio_min: float | None = None
    refit_days: float | None = None
    fit_days: float | None = None
    tools: list[dict[str, Any]] | None = None
    correlation: bool | None = None
    correlation_decay: float | None = None
    weights: Literal["equal", "time", "volatility", "both"] | None = None
    half_life_days: float | None = None
    vol_bandwidth: float | None = None
    surfaces: bool | None = None
    surface_missing: Literal["drop", "zero", "regress"] | None = None
    sticky: Literal["strike", "moneyness"] | None = None
    basis: bool | None = None
    proxies: list[ProxyText] | None = None
    gap_hours_max: float | None = None
    surface_gap_hours_max: float | None = None
    outliers: Literal["keep", "drop"] | None = None
    outlier_deviations: float | None = None
    min_observations: int | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _makes_a_spec(self) -> HistoryText:
        from solvent.errors import BadInput, RulebookError

        try:
            self.spec()
        except (BadInput, RulebookError) as fault:
            raise ValueError(str(fault)) from fault
        return self

    def spec(self) -> HistorySpec:
        """The spec that is told."""
        from solvent.scenarios.history.spec import HistorySpec, Proxy, Window

        told = {name: getattr(self, name) for name in type(self).model_fields}
        told = {name: value for name, value in told.items() if value is not None}
        made: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in told.items()
        }
        if self.windows is not None:
            made["windows"] = tuple(
                Window(start_ms=_ms(one.start), end_ms=_ms(one.end)) for one in self.windows
            )
        if self.proxies is not None:
            made["proxies"] = tuple(Proxy(**_proxy(one)) for one in self.proxies)
        if self.tools is not None:
            from solvent.scenarios.anti_procyclical import parse_chain

            made["tools"] = parse_chain(self.tools)
        return HistorySpec(**made)


def _proxy(one: ProxyText) -> dict[str, Any]:
    told = one.model_dump(exclude_none=True)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}


def _ms(told: datetime | date) -> int:
    if not isinstance(told, datetime):
        told = datetime.combine(told, time())
    moment = told if told.tzinfo is not None else told.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)
