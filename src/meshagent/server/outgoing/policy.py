"""Which addresses the server may call; no I/O.

Users name URLs, and the server stands where users may not: behind the firewall, beside the cloud's metadata
service. So a URL is judged by its host's name, and by each address that the name resolves to at the moment of
connecting, whatever it stood for before.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from yarl import URL

from meshagent.api.errors import InvalidRequestError, PermissionDeniedError
from meshagent.server.config import OutgoingSettings
from meshagent.server.kernel.http_url import http_url

Address = IPv4Address | IPv6Address

_NAT64: Final = IPv6Network("64:ff9b::/96")


class OutgoingRefusedError(PermissionDeniedError):
    """This server's settings do not allow calling that address."""

    code = "outgoing_refused"


class OutgoingPolicy:
    """Judges URLs and addresses by the settings `outgoing.*`.

    Link-local addresses, where clouds keep their metadata services, and multicast are refused in any case, unless
    `allow` names the address itself or its network.
    """

    def __init__(self, settings: OutgoingSettings) -> None:
        self._allow = _HostList(settings.allow)
        self._deny = _HostList(settings.deny)
        self._private = settings.allow_private_addresses

    def check_url(self, url: str) -> URL:
        """The URL, if its form and its host's name are acceptable. A host that is an address is judged in full.

        Raises:
            InvalidRequestError: It is not an absolute http or https URL.
            OutgoingRefusedError: The settings do not allow it.
        """
        try:
            parsed = http_url(url)
        except ValueError as error:
            raise InvalidRequestError(f"{url!r} is {error}") from None
        host = parsed.host or ""
        if self._deny.has_name(host) or not (self._allow.has_name(host) or self._allow.has_networks):
            raise OutgoingRefusedError(f"this server's settings do not allow calling {host}")
        address = _address(host)
        if address is not None:
            self.check_address(host, address)
        return parsed

    def check_address(self, host: str, address: Address) -> None:
        """Return only if the server may connect to `address`, which `host` stands for; errors as `check_url`."""
        target = _effective_address(address)
        if self._deny.has_address(target) or not (self._allow.has_name(host) or self._allow.has_address(target)):
            raise OutgoingRefusedError(f"this server's settings do not allow calling {host} at {address}")
        if self._allow.has_address(target):
            return
        if target.is_link_local or target.is_multicast:
            raise OutgoingRefusedError(f"{host} resolves to {address}, a link-local or multicast address")
        if not target.is_global and not self._private:
            raise OutgoingRefusedError(
                f"{host} resolves to the private address {address}; this server's settings allow only public addresses"
            )


class _HostList:
    """Hosts that a setting lists: names, `*`, `*.example.com`, addresses and networks."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._any = False
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            self._add(entry.strip().lower().rstrip("."))

    def _add(self, entry: str) -> None:
        if entry == "*":
            self._any = True
        elif entry.startswith("*."):
            self._suffixes.append(entry[1:])
        else:
            try:
                address = _address(entry.strip("[]"))
                self._networks.append(
                    ip_network(entry if address is None else _effective_address(address), strict=False)
                )
            except ValueError:
                self._names.add(entry)

    @property
    def has_networks(self) -> bool:
        return bool(self._networks)

    def has_name(self, host: str) -> bool:
        """Whether a name is listed."""
        host = host.lower().rstrip(".")
        return self._any or host in self._names or any(host.endswith(suffix) for suffix in self._suffixes)

    def has_address(self, address: Address) -> bool:
        """Whether an address is listed as such."""
        return any(address in network for network in self._networks)


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _effective_address(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does (RFC 4291, 3056, 6052)."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
