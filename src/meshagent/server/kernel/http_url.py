"""What counts as an http or https URL; no I/O."""

from __future__ import annotations

from urllib.parse import urlsplit

from yarl import URL

__all__ = ["http_url"]


def http_url(text: str) -> URL:
    """The URL that a text is.

    Raises:
        ValueError: It is not an absolute http or https URL, or nothing can answer at its port. The error does not
            repeat the URL, which may hold secrets.
    """
    wrong = ValueError("not a URL with a host and a port from 1 to 65535")
    try:
        url = URL(text)
        host, port = url.host, url.port
        _ = urlsplit(text).port  # stricter than yarl: plain digits only
    except (ValueError, TypeError):
        raise wrong from None
    if url.scheme not in ("http", "https"):
        raise ValueError("not an absolute http or https URL")
    if not host or port == 0:
        raise wrong
    return url
