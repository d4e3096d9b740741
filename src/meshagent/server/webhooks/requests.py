"""Makes and posts the request of one attempt to deliver an event (protocol 15.1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from meshagent.api.errors import ConflictError
from meshagent.api.webhook.signature import RESEND_HEADER, signed_body
from meshagent.server.stores.outbox import Delivery, now
from meshagent.server.webhooks.bodies import event_body, is_call, payload_of
from meshagent.server.webhooks.ports import Poster, Subscription
from meshagent.server.webhooks.room_calls import CALL_EVENT, Invitation, RoomCallSender, event_headers
from meshagent.server.webhooks.settings import CALL_AGE


class WebhookRequests:
    """Posts events to webhooks, signed.

    Args:
        http: Posts.
        caller: Makes the calls of webhooks whose action is `call`.
        room_url: The WebSocket URL of a room: project id, room name.
        default_secret: Signs for webhooks without a secret of their own; None leaves those unsigned.
        clock: The time.
    """

    def __init__(
        self,
        http: Poster,
        caller: RoomCallSender,
        *,
        room_url: Callable[[str, str], str],
        default_secret: str | None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._http = http
        self._caller = caller
        self._room_url = room_url
        self._default_secret = default_secret
        self._clock = clock

    async def post(self, delivery: Delivery, subscription: Subscription) -> None:
        """Post once; return when the receiver has accepted.

        Raises:
            ConflictError: The event is too old to call a service into its room.
            Exception: As `OutgoingClient.post`.
        """
        if is_call(subscription):
            if self._clock() - delivery.created_at > CALL_AGE and not delivery.resends:
                raise ConflictError("the event is too old to call a service into its room")
            body = {
                "event": CALL_EVENT,
                "data": await self._caller.event_data(self._invitation(delivery, subscription)),
            }
        else:
            body = event_body(subscription, delivery.event, json.loads(delivery.data))
        headers = event_headers(delivery.id, delivery.created_at)
        if delivery.resends:
            headers[RESEND_HEADER] = str(delivery.resends)
        signed = signed_body(body, secret=subscription.secret or self._default_secret, headers=headers)
        await self._http.post(subscription.url, signed.body, signed.headers)

    def _invitation(self, delivery: Delivery, subscription: Subscription) -> Invitation:
        return Invitation(
            project_id=delivery.project_id,
            room_name=delivery.room_name,
            room_url=self._room_url(delivery.project_id, delivery.room_name),
            name=subscription.name,
            arguments=payload_of(subscription),
        )
