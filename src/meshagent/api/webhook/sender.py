"""Posting a webhook (protocol 15.1)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import aiohttp

from meshagent.api.errors import RoomException, UnavailableError
from meshagent.api.webhook.signature import signed_body

__all__ = ["WebhookRefusedError", "send_webhook"]


class WebhookRefusedError(RoomException):
    """The receiver answered with another status than 2xx; `status` holds it."""

    code = "webhook_refused"

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"the webhook at {url} answered with status {status}")
        self.status = status


async def send_webhook(
    session: aiohttp.ClientSession,
    *,
    url: str,
    event: str,
    data: Mapping[str, Any],
    secret: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Post one event, once; returns when the receiver has accepted it.

    Args:
        session: Sends it; its time limits count. Redirects are not followed: they would carry a token away.
        url: Where to.
        event: The event's name, such as `room.call`.
        data: What the event tells.
        secret: Signs it.
        headers: Sent along; content type and signature are added.

    Raises:
        WebhookRefusedError: The receiver answered with something else than 2xx.
        UnavailableError: It could not be reached; the text names the URL.
        InvalidRequestError: `data` has no JSON form.
    """
    signed = signed_body({"event": event, "data": data}, secret=secret, headers=headers)
    body = io.BytesIO(signed.body)  # large ones go out in pieces
    try:
        async with session.post(url, data=body, headers=signed.headers, allow_redirects=False) as answer:
            status = answer.status
    except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError
        raise UnavailableError(f"cannot reach the webhook at {url}: {str(error) or type(error).__name__}") from error
    if not 200 <= status < 300:
        raise WebhookRefusedError(url, status)
