"""Webhooks: receive them with `WebhookServer`, send one with `send_webhook`."""

from __future__ import annotations

from meshagent.api.webhook.events import CallEvent, RoomEndedEvent, RoomStartedEvent
from meshagent.api.webhook.sender import send_webhook
from meshagent.api.webhook.server import WebhookServer

__all__ = ["CallEvent", "RoomEndedEvent", "RoomStartedEvent", "WebhookServer", "send_webhook"]
