"""Signed URLs: what was signed comes back, anything else is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.errors import PermissionDeniedError
from meshagent.server.kernel.url_signing import SignedFile, UrlSigner


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def signed_part(url: str) -> str:
    return url.split("/")[2]


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(project=names, room=names, path=names, download=st.booleans())
def test_what_was_signed_comes_back(project: str, room: str, path: str, download: bool) -> None:
    signer = UrlSigner(b"secret", lifetime=60, now=Clock())
    url = signer.sign(project, room, path, download=download)
    assert url.isascii()
    assert signer.verify(signed_part(url)) == SignedFile(project, room, path, download, 1060)


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_one_changed_byte_is_refused(position: int, flip: int) -> None:
    signer = UrlSigner(b"secret")
    signed = signed_part(signer.sign("p", "r", "a.txt", download=False))
    decoded = bytearray(base64.urlsafe_b64decode(signed + "=" * (-len(signed) % 4)))
    decoded[position % len(decoded)] ^= flip
    with pytest.raises(PermissionDeniedError):
        signer.verify(base64.urlsafe_b64encode(decoded).rstrip(b"=").decode())


@pytest.mark.parametrize("junk", ["", "a", "ä", "!!!!", "AAAA" * 20, "=" * 9])
def test_junk_is_refused(junk: str) -> None:
    with pytest.raises(PermissionDeniedError, match="not valid"):
        UrlSigner(b"secret").verify(junk)


def test_urls_expire() -> None:
    clock = Clock()
    signer = UrlSigner(b"secret", lifetime=60, now=clock)
    signed = signed_part(signer.sign("p", "r", "a.txt", download=False))
    clock.time += 59
    signer.verify(signed)
    clock.time += 1
    with pytest.raises(PermissionDeniedError, match="expired"):
        signer.verify(signed)


def test_another_secret_signs_differently() -> None:
    signed = signed_part(UrlSigner(b"secret").sign("p", "r", "a.txt", download=False))
    with pytest.raises(PermissionDeniedError):
        UrlSigner(b"another").verify(signed)


def test_the_url_ends_in_the_name_of_the_file() -> None:
    assert UrlSigner(b"secret").sign("p", "r", "a/b c?.txt", download=False).endswith("/b%20c%3F.txt")
