"""Rate limits of public routes: a token bucket for each client address. In memory, so N replicas allow N times as much."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Sequence

__all__ = ["Rates", "client_address"]

_ADDRESSES = 10_000
"""Remembered at once; the one not seen for longest is forgotten first, and it had the fullest bucket."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Rates:
    """The buckets of one route."""

    def __init__(self, count: int, per_s: float) -> None:
        self._count = count
        self._per_s = per_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one token; returns how many seconds to wait, 0 when the request may go on."""
        now = time.monotonic()
        tokens, at = self._buckets.pop(client, (float(self._count), now))
        tokens = min(float(self._count), tokens + (now - at) * self._count / self._per_s)
        wait = 0.0 if tokens >= 1 else (1 - tokens) * self._per_s / self._count
        self._buckets[client] = (tokens - 1 if not wait else tokens, now)
        while len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        return wait


def client_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Where a request comes from: the peer, or what a trusted proxy says of it.

    ``X-Forwarded-For`` is read from its end, over our own proxies; whatever stands further left was written by the client.
    IPv6 clients are told apart by their /64, which is what one client owns.
    """
    found = peer
    hops = [hop.strip() for hop in forwarded.split(",")][-8:] if forwarded else []
    while hops and _is_in(found, trusted):
        candidate = hops.pop()
        if _address(candidate) is None:
            break
        found = candidate
    address = _address(found)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return found


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_in(text: str, networks: Sequence[Network]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in networks)
