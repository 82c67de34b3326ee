"""Identify the peer of a request, and order requests fairly among peers.

A *peer* is known by the token that it presented, where the server has tokens, by its host and by
its connection. Tokens take turns; within a token, its hosts do; within a host, its connections;
within a connection, the oldest entry comes first. So neither many requests on one connection, nor
many connections of one host, nor many hosts with one token keep others waiting.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

_IPV6_PREFIX = 64
"""Bits of an IPv6 address that identify a host; it may use all addresses of its /64 network."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        host: an address without its port (IPv6: its /64 network), or the name of a Unix socket.
        connection: as gRPC names it, e.g. `ipv4:10.0.0.7:51234`.
        owner: name of the token that it presented: sessions and images belong to it. "" on a
            server without tokens.
    """

    host: str
    connection: str
    owner: str = ""

    @property
    def account(self) -> str:
        """Whom limits for one client apply to: the token, or without tokens the host."""
        return self.owner or self.host

    @property
    def path(self) -> tuple[str, str, str]:
        """The names by which it takes turns, the outermost first."""
        return self.owner, self.host, self.connection

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


@dataclass(slots=True, eq=False)
class _Node(Generic[T]):
    """The entries of a token, a host or a connection; those of a connection are in `entries`."""

    children: OrderedDict[str, _Node[T]] = field(default_factory=OrderedDict)
    entries: deque[T] = field(default_factory=deque)
    size: int = 0

    def fullest(self) -> deque[T]:
        """Return the entries of the fullest connection of the fullest host."""
        node = self
        while node.children:
            node = max(node.children.values(), key=lambda child: child.size)
        return node.entries


class FairQueue(Generic[T]):
    """Entries of many peers, taken in turn. Not thread-safe."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def __len__(self) -> int:
        return self._root.size

    def put(self, peer: Peer, entry: T) -> None:
        """Add an entry after those of the same connection."""
        node = self._root
        node.size += 1
        for name in peer.path:
            node = node.children.setdefault(name, _Node())
            node.size += 1
        node.entries.append(entry)

    def take(self) -> T | None:
        """Take the next entry; None when there is none."""
        node = self._root
        if not node.size:
            return None
        node.size -= 1
        while node.children:
            name, child = node.children.popitem(last=False)
            child.size -= 1
            if child.size:
                node.children[name] = child  # to the end of the queue
            node = child
        return node.entries.popleft()

    def remove(self, peer: Peer, entry: T) -> bool:
        """Take out an entry; False when it is not there."""
        nodes = [self._root]
        for name in peer.path:
            child = nodes[-1].children.get(name)
            if child is None:
                return False
            nodes.append(child)
        try:
            nodes[-1].entries.remove(entry)
        except ValueError:
            return False
        for node in nodes:
            node.size -= 1
        for node, name in zip(nodes, peer.path, strict=False):
            if not node.children[name].size:
                del node.children[name]
                break
        return True

    def heaviest(self, newcomer: Peer, margin: int) -> deque[T] | None:
        """Return the entries, oldest first, of the connection that has more than its share.

        Args:
            newcomer: peer that adds an entry.
            margin: by how many entries more than the newcomer's a token, host or connection must
                have.

        Returns:
            Those of the fullest connection of the fullest host of the fullest token; None when the
            newcomer has about as many.
        """
        node = self._root
        for own_name in newcomer.path:
            if not node.children:
                return None
            sizes = ((c.size, name == own_name, name) for name, c in node.children.items())
            _, is_own, name = max(sizes, key=lambda size: size[:2])
            fullest, own = node.children[name], node.children.get(own_name)
            if not is_own:
                few = own.size if own is not None else 0
                return fullest.fullest() if fullest.size >= few + margin else None
            node = fullest
        return None if margin else node.entries
