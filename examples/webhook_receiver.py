"""Receives webhooks for starting and ending rooms, and for changed files. Stop it with Ctrl+C.

Server and receiver share a secret, with which the receiver verifies requests:

export MESHAGENT_WEBHOOK_SECRET=…
meshagent webhook create --name example --url http://127.0.0.1:8090/webhook --secret $MESHAGENT_WEBHOOK_SECRET
python webhook_receiver.py 8090
"""

import asyncio
import sys
from contextlib import suppress
from typing import Any

from meshagent.api import RoomEndedEvent, RoomStartedEvent, WebhookServer


class Receiver(WebhookServer):
    """Prints events. Requests without a valid signature are rejected before they get here."""

    async def on_room_started(self, event: RoomStartedEvent) -> None:
        print(event.room_name, "started at", event.room_url, flush=True)

    async def on_room_ended(self, event: RoomEndedEvent) -> None:
        print(event.room_name, "ended", flush=True)

    async def on_webhook(self, *, payload: dict[str, Any]) -> None:
        if payload["event"].startswith("storage.file."):
            print(payload["data"]["path"], payload["event"].rpartition(".")[2], flush=True)
        await super().on_webhook(payload=payload)


async def main() -> None:
    receiver = Receiver(host="127.0.0.1", port=sys.argv[1] if len(sys.argv) > 1 else 8090)
    async with receiver:
        print(f"listening on http://127.0.0.1:{receiver.port}{receiver.path}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
