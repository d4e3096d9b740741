"""Host agents and tools as services that rooms can call in: `ServiceHost`."""

from __future__ import annotations

from meshagent.api.hosting.host import ServiceHost
from meshagent.api.hosting.paths import Portable, ServicePath
from meshagent.api.webhook.sender import send_webhook

__all__ = ["Portable", "ServiceHost", "ServicePath", "send_webhook"]
