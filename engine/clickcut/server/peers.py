"""Who a request comes from, and a fair order among all of them.

A *peer* is known by its host and its connection. Hosts take turns; within a host, its connections
do; within a connection, the oldest entry comes first. So neither many requests on one connection
nor many connections of one host keep others waiting.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

_IPV6_PREFIX = 64
"""Bits that one site is given; a host that picks addresses of its own within them is one host."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        host: an address without its port (IPv6: its /64 network), or the name of a Unix socket.
        connection: as gRPC names it, e.g. `ipv4:10.0.0.7:51234`.
    """

    host: str
    connection: str

    @staticmethod
    def of(name: str) -> Peer:
        """Return the peer that `ServicerContext.peer` names."""
        kind, _, rest = name.partition(":")
        if kind not in ("ipv4", "ipv6"):
            return Peer(name, name)
        host = unquote(rest).rpartition(":")[0].strip("[]")
        if kind == "ipv6":
            try:
                address = ipaddress.IPv6Address(host.partition("%")[0])
            except ValueError:
                return Peer(host, name)
            if address.ipv4_mapped is not None:
                return Peer(str(address.ipv4_mapped), name)
            network = ipaddress.IPv6Network((address, _IPV6_PREFIX), strict=False)
            host = f"{network.network_address}/{_IPV6_PREFIX}"
        return Peer(host, name)


LOCAL = Peer("", "")
"""Work of the server itself."""


class FairQueue(Generic[T]):
    """Entries of many peers, taken in turn. Not thread-safe."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()
        self._entries = 0

    def __len__(self) -> int:
        return self._entries

    def put(self, peer: Peer, entry: T) -> None:
        """Add an entry behind those of the same connection."""
        connections = self._hosts.setdefault(peer.host, OrderedDict())
        connections.setdefault(peer.connection, deque()).append(entry)
        self._entries += 1

    def take(self) -> T | None:
        """Take the next entry; None when there is none."""
        if not self._hosts:
            return None
        host, connections = self._hosts.popitem(last=False)
        connection, entries = connections.popitem(last=False)
        entry = entries.popleft()
        self._entries -= 1
        if entries:
            connections[connection] = entries  # to the end of the line
        if connections:
            self._hosts[host] = connections
        return entry

    def remove(self, peer: Peer, entry: T) -> bool:
        """Take out an entry; False when it is not there."""
        connections = self._hosts.get(peer.host, OrderedDict())
        entries = connections.get(peer.connection, deque())
        try:
            entries.remove(entry)
        except ValueError:
            return False
        self._entries -= 1
        if not entries:
            del connections[peer.connection]
        if not connections:
            del self._hosts[peer.host]
        return True

    def heaviest(self, newcomer: Peer, margin: int) -> deque[T] | None:
        """Return the entries, oldest first, of the connection that has more than its share.

        Args:
            newcomer: wants to add an entry.
            margin: by how many entries more than the newcomer's a host or connection must have.

        Returns:
            Those of the fullest connection of the fullest host; None when the newcomer has about
            as many.
        """
        hosts = {h: sum(map(len, c.values())) for h, c in self._hosts.items()}
        if not hosts:
            return None
        fullest = max(hosts, key=lambda h: (hosts[h], h == newcomer.host))
        connections = self._hosts[fullest]
        if fullest != newcomer.host:
            if hosts[fullest] < hosts.get(newcomer.host, 0) + margin:
                return None
            return max(connections.values(), key=len)
        most = max(connections.values(), key=len)
        if len(most) < len(connections.get(newcomer.connection, ())) + margin:
            return None
        return most
