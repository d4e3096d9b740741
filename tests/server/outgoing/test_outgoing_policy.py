"""Which addresses the server may call."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from meshagent.api.errors import InvalidRequestError
from meshagent.server.config import OutgoingSettings
from meshagent.server.outgoing.policy import OutgoingPolicy, OutgoingRefusedError


def policy(**settings: Any) -> OutgoingPolicy:
    return OutgoingPolicy(OutgoingSettings(**settings))


PUBLIC_ONLY = policy(allow_private_addresses=False)


@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "/hook", "http://", "http:///x", "http://[::1", "javascript:0", ""]
)
def test_only_absolute_http_urls_can_be_called(url: str) -> None:
    with pytest.raises(InvalidRequestError):
        policy().check_url(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "240.0.0.1",
        "::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_private_addresses_are_refused_where_strangers_hold_tokens(address: str) -> None:
    with pytest.raises(OutgoingRefusedError, match="private"):
        PUBLIC_ONLY.check_address("example.com", ip_address(address))
    policy().check_address("example.com", ip_address(address))
    named = policy(allow=("*", address), allow_private_addresses=False)
    named.check_address("example.com", ip_address(address))


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "::ffff:169.254.169.254"])
def test_metadata_services_are_refused_in_any_case(address: str) -> None:
    with pytest.raises(OutgoingRefusedError):
        policy().check_address("metadata.example", ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_public_addresses_are_fine(address: str) -> None:
    PUBLIC_ONLY.check_address("example.com", ip_address(address))


def test_literal_addresses_are_judged_with_the_url() -> None:
    for url in ("http://127.0.0.1:8081/chat", "http://[::1]/", "http://[::ffff:10.0.0.1]/"):
        with pytest.raises(OutgoingRefusedError):
            PUBLIC_ONLY.check_url(url)
        assert str(policy().check_url(url)).startswith("http")


def test_an_address_that_is_allowed_by_name_is_allowed() -> None:
    chosen = policy(allow=("*", "10.0.0.0/8", "169.254.169.254"), allow_private_addresses=False)
    chosen.check_url("http://10.9.9.9/")
    chosen.check_url("http://169.254.169.254/")
    with pytest.raises(OutgoingRefusedError):
        chosen.check_url("http://192.168.0.1/")


def test_hosts_are_allowed_and_denied_by_name() -> None:
    chosen = policy(allow=("hooks.example.com", "*.Agents.example"), deny=("bad.agents.example",))
    for url in ("http://hooks.example.com/", "https://a.agents.example/", "https://HOOKS.example.com./x"):
        chosen.check_url(url)
    for host in ("example.com", "agents.example", "bad.agents.example", "evilagents.example", "10.0.0.1"):
        with pytest.raises(OutgoingRefusedError, match="do not allow"):
            chosen.check_url(f"http://{host}/")


def test_allowed_networks_are_judged_by_address() -> None:
    chosen = policy(allow=("93.184.0.0/16",))
    chosen.check_url("http://example.com/")  # the name says nothing yet
    chosen.check_address("example.com", ip_address("93.184.216.34"))
    with pytest.raises(OutgoingRefusedError):
        chosen.check_address("example.com", ip_address("1.1.1.1"))


def test_denied_addresses_are_refused_whatever_their_name() -> None:
    chosen = policy(deny=("93.184.216.34",))
    with pytest.raises(OutgoingRefusedError):
        chosen.check_address("example.com", ip_address("93.184.216.34"))
