"""Where webhooks may go: https to addresses of the internet, unless networks are allowed by name.

A name is resolved once, every address of it is looked at, and the request goes to that very
address: a name that answers differently the next moment leads nowhere. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from solvent.errors import SolventError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
LONGEST: Final = 2_048
_PORTS: Final = {"https": 443, "http": 80}
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class NotAllowed(SolventError):
    """A webhook may not go there; the message says why, and never tells the whole URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be asked: the host as it is named, and the address to be asked."""

    url: str
    host: str
    address: Address


def check_url(url: str, allowed: Sequence[Network] = ()) -> tuple[str, int]:
    """The host and port of a URL. Raises NotAllowed for one that can never be asked.

    >>> check_url("https://hooks.example.com/solvent")
    ('hooks.example.com', 443)
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise NotAllowed("expected a URL") from None
    if len(url) > LONGEST or not url.isascii() or any(one <= " " for one in url):
        raise NotAllowed(f"expected a URL of at most {LONGEST} printable ASCII letters")
    if parts.username is not None or parts.password is not None:
        raise NotAllowed("expected a URL without a name and password: calls are signed")
    if parts.scheme not in _PORTS or not host or parts.fragment:
        raise NotAllowed("expected https://host/path")
    if parts.scheme == "http" and not allowed:
        raise NotAllowed("expected https: plain http goes to networks that are allowed by name")
    literal = _literal(host)
    if literal is not None:
        check_address(literal, plain=parts.scheme == "http", allowed=allowed)
    return host, port or _PORTS[parts.scheme]


def check_address(address: Address, *, plain: bool, allowed: Sequence[Network] = ()) -> None:
    """Raises NotAllowed for an address that is not the internet's, and is not allowed by name.

    >>> check_address(ipaddress.ip_address("1.1.1.1"), plain=False)
    >>> check_address(ipaddress.ip_address("169.254.169.254"), plain=False)
    Traceback (most recent call last):
    ...
    solvent.service.webhook_targets.NotAllowed: expected an address of the internet, found 169.254.169.254
    """  # noqa: E501
    inner = _inner(address)
    if any(inner in one for one in allowed if one.version == inner.version):
        return
    if plain:
        raise NotAllowed(f"expected https, or an address that is allowed by name, found {inner}")
    if not inner.is_global or inner.is_multicast or inner.is_reserved or inner.is_unspecified:
        raise NotAllowed(f"expected an address of the internet, found {address}")


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address.teredo is not None:
            return address.teredo[1]
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


async def resolved(url: str, allowed: Sequence[Network] = ()) -> Target:
    """The address to be asked for a URL. Raises NotAllowed where any address of its name may not
    be, and OSError where it has none."""
    host, port = check_url(url, allowed)
    plain = urlsplit(url).scheme == "http"
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    if not addresses:
        raise OSError(f"{host}: no address")
    for one in addresses:
        check_address(one, plain=plain, allowed=allowed)
    return Target(url, host, addresses[0])
