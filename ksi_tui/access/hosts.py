"""Refuses what a browser sends for a page that is none of ours.

A page may not name our address in its Host without being served from it (DNS rebinding), and no
page may call us at all: there is no CORS. Programs send neither Origin nor Sec-Fetch-Site. Who
asks is found out elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from ksi_tui.access.refusals import refused

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_OWN_PAGES = frozenset({"", "none"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The names under which a listener may be asked: loopback, and what it was told to listen on.

    On every address of the machine (`0.0.0.0`, `::`) that is any address, which no page can
    fake, and the machine's own name.
    """

    names: frozenset[str]
    any_address: bool = False

    @classmethod
    def of(cls, host: str, bound: str) -> Hosts:
        """Return those of a listener asked for as `host` and bound to the address `bound`."""
        wildcard = ipaddress.ip_address(bound).is_unspecified
        names = {host.lower(), bound, *((socket.gethostname().lower(),) if wildcard else ())}
        return cls(names=frozenset(names), any_address=wildcard)

    def allow(self, header: str) -> bool:
        """Return whether a Host header may stand on a request; its port does not matter."""
        name = _name_in(header)
        if name is None:
            return False
        if name in _LOCAL_NAMES or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address or address.is_loopback


def _name_in(header: str) -> str | None:
    """Return the host in a Host header, in small letters; None where it is no host and port."""
    if not header or any(sign in header for sign in "/@?#\\ "):
        return None
    try:
        name = URL(f"http://{header}").host
    except ValueError:
        return None
    return name.rstrip(".") if name else None


class HostCheck:
    """The middleware that refuses what a page sends."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request pass that no page of somebody else's sent; else 421 or 403."""
        given = request.headers.getall("Host", [])
        if len(given) != 1 or not self._hosts.allow(given[0]):
            return refused(
                request.path,
                421,
                "the Host header names neither this address nor loopback; behind a proxy, let "
                "it send the address that it connects to",
                close=True,
            )
        fetched_by = request.headers.get("Sec-Fetch-Site", "")
        if "Origin" in request.headers or fetched_by not in _OWN_PAGES:
            return refused(request.path, 403, "pages in a browser are not served", close=True)
        return await handler(request)
