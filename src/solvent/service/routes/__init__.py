"""The routers of the service, one file a subject; `ALL` is what the application includes."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from solvent.service.deribit.router import router as deribit
from solvent.service.routes import (
    accounts,
    commands,
    health,
    journal,
    margins,
    markets,
    money,
    orders,
    risk,
)
from solvent.service.ws.socket import router as streams

ALL: Final[tuple[APIRouter, ...]] = (
    health.router, margins.router, accounts.router, orders.router, money.router, markets.router,
    risk.router, journal.router, commands.router, deribit, streams,
)  # fmt: skip
