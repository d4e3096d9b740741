"""Builds the body that a webhook receives, from the event and its `action` and `payload`; no I/O (protocol 15.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from meshagent.server.webhooks.ports import Subscription

CALL_ACTION: Final = "call"
ALL_EVENTS: Final = "*"


def is_subscribed(subscription: Subscription, event: str) -> bool:
    """Whether a webhook subscribes to an event, and is not disabled."""
    if subscription.disabled_at is not None:
        return False
    return ALL_EVENTS in subscription.events or event in subscription.events


def is_call(subscription: Subscription) -> bool:
    """Whether a webhook wants a `room.call` in place of the event."""
    return subscription.action == CALL_ACTION


def payload_of(subscription: Subscription) -> Any:
    """The JSON that the webhook's owner added; None if there is none. Text that is no JSON stays text."""
    payload = subscription.payload
    if not isinstance(payload, str):
        return payload
    if not payload.strip():
        return None
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload


def event_body(subscription: Subscription, event: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an ordinary delivery; members of the event win over those that the owner added."""
    payload = payload_of(subscription)
    added = payload if isinstance(payload, dict) else {}
    body: dict[str, Any] = {"event": event, "data": {**added, **data}}
    if subscription.action:
        body["action"] = subscription.action
    return body
