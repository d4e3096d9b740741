"""`room.*` in the flat dialect: a subscription per connection and path, updates as `room.sync` (protocol 7)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Mapping
from typing import Any

from meshagent.api.contracts import documents as api
from meshagent.api.contracts.content import JsonBody
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.documents.lives import DocumentEndedError
from meshagent.api.errors import InvalidRequestError, InvalidStateError
from meshagent.server.dispatch.document_updates import update_base64
from meshagent.server.kernel.operations import AnswerWithFollowUp, ServedOperation, serve, serve_payload
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.documents.ports import Update
from meshagent.server.services.documents.service import DocumentsService, DocumentSubscription
from meshagent.server.stores.paths import normalize_path
from meshagent.server.websocket.encoding import encode_event

log = logging.getLogger(__name__)

_EMPTY_UPDATE = b"\x00\x00"
_NO_SUBSCRIPTIONS: Mapping[str, DocumentSubscription] = {}


class _FlatSubscriber:
    """A participant that watches a document. Updates carry the path in the participant's own spelling."""

    __slots__ = ("_participant", "_started", "_tracks", "end", "path")

    def __init__(self, participant: Participant, path: str, *, tracks: bool) -> None:
        self._participant = participant
        self._started = False
        self._tracks = tracks
        self.path = path
        self.end: DocumentEndedError | None = None
        """What happened to the document, for a participant that wants to be told."""

    def start(self, state: Update) -> None:
        """Send the state. Changes made before are part of it; changes made later follow."""
        self._started = True
        self._participant.outbox.reply(state.encoded(self.path, self._encode))

    def push(self, update: Update) -> None:
        if self._started:
            self._participant.outbox.deliver(update.encoded(self.path, self._encode))

    def ended(self, error: DocumentEndedError | None) -> None:
        """Tell participants that asked for it. Later updates of the others are acknowledged and dropped."""
        if error is None or not self._tracks:
            return
        self.end = error
        notice = api.EndedNotice(path=self.path, change=error.change, new_path=error.new_path)
        self._participant.outbox.deliver(encode_event(_EVENT_ID, api.ENDED.name, notice))

    def moved(self, error: DocumentEndedError) -> bool:
        """Older clients know nothing of moves, and go on with the document under the path that they know."""
        self.ended(error)
        return self._tracks

    def _encode(self, update: Update) -> bytes:
        return encode_event(_EVENT_ID, api.UPDATED.name, api.SyncRequest(path=self.path), update_base64(update))


_EVENT_ID = 1
"""Clients match the ids of answers only, so all updates share one id, and all receivers the encoded bytes."""


class FlatDocuments:
    """Serves the `room.*` operations: a subscription for each participant and path."""

    def __init__(self, documents: DocumentsService) -> None:
        self._documents = documents
        self._subscriptions: dict[str, dict[str, DocumentSubscription]] = {}
        """Subscriptions by participant id and normalized path."""

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.CREATE, self.create, grant=lambda scope, request: scope.require_sync(request.path, write=True)),
            serve(
                api.CONNECT, self.connect, grant=lambda scope, request: scope.require_sync(request.path, write=False)
            ),
            serve(api.DISCONNECT, self.disconnect, grant=None),
            serve_payload(api.SYNC, self.sync, grant=None),
            serve(api.DESCRIBE, self.describe, grant=lambda s, request: s.require_sync(request.path, write=False)),
        ]

    async def create(self, caller: Participant, request: api.CreateRequest) -> Empty:
        await self._documents.create(request.path, request.json)
        return EMPTY

    async def describe(self, caller: Participant, request: api.DescribeRequest) -> JsonBody:
        return JsonBody(json=await self._documents.describe(request.path))

    async def connect(self, caller: Participant, request: api.ConnectRequest) -> AnswerWithFollowUp | api.ConnectResult:
        """Subscribe, or say what became of the document that the caller has a copy of."""
        try:
            return await self._connect(caller, request)
        except DocumentEndedError as error:
            if not request.track:
                raise
            return api.ConnectResult(schema={}, ended=error.change, new_path=error.new_path)

    async def _connect(self, caller: Participant, request: api.ConnectRequest) -> AnswerWithFollowUp:
        """Subscribe; the state follows the answer at once, since clients deadlock on the other order (protocol 3.3)."""
        create = request.create and caller.scope.can_write_document(request.path)
        vector = _decode_base64(request.vector.encode()) if request.vector else None
        path = normalize_path(request.path)
        async with self._documents.joining(request.path, life=request.life, vector=vector, create=create) as document:
            subscriber = _FlatSubscriber(caller, request.path, tracks=request.track)
            mine = self._subscriptions.setdefault(caller.id, {})
            previous = mine.pop(path, None)
            mine[path] = self._documents.subscribe(document, subscriber)
            if previous is not None:
                previous.close()

        def send_state() -> None:
            state = _EMPTY_UPDATE if document.ended else document.document.encode_state(vector)
            subscriber.start(Update(state))

        if not request.track:
            return AnswerWithFollowUp(api.ConnectResult(schema=document.schema_json), send_state)
        answer = api.ConnectResult(
            schema=document.schema_json,
            life=document.life,
            vector=base64.b64encode(document.document.state_vector()).decode(),
            read_only=not caller.scope.can_write_document(request.path),
        )
        return AnswerWithFollowUp(answer, send_state)

    def disconnect(self, caller: Participant, request: api.DisconnectRequest) -> Empty:
        subscription = self._subscriptions.get(caller.id, {}).pop(normalize_path(request.path), None)
        if subscription is not None:
            subscription.close()
        return EMPTY

    def sync(self, caller: Participant, request: api.SyncRequest, payload: bytes) -> Any:
        """Take one update, in the order of arrival; the answer comes when it is durable.

        What is merely late, such as an update for a path that was just closed, is acknowledged and dropped: an
        error would stop a 0.5 client from sending any edit ever again (protocol 7.4).

        Raises:
            MalformedUpdateError: The payload is not an update; nothing changed.
        """
        subscription = self._subscriptions.get(caller.id, _NO_SUBSCRIPTIONS).get(normalize_path(request.path))
        if subscription is None:
            log.info("dropped an update of %r for %s, which it has not open", caller, request.path)
            return EMPTY
        if isinstance(subscription.subscriber, _FlatSubscriber) and subscription.subscriber.end is not None:
            raise subscription.subscriber.end
        if not caller.scope.can_write_document(request.path):
            log.info("dropped an update of %r for %s, which it may only read", caller, request.path)
            return EMPTY
        try:
            durable = subscription.apply(_update_of(payload), caller.id)
        except DocumentEndedError:
            raise
        except InvalidStateError:
            log.info("dropped an update of %r for %s, which was deleted", caller, request.path)
            return EMPTY
        # Shared by all who edited in the same turn: one who leaves must not cancel the answers of the others.
        return EMPTY if durable is None else asyncio.shield(durable)

    def left(self, participant: Participant) -> None:
        for subscription in self._subscriptions.pop(participant.id, {}).values():
            subscription.close()

    async def close(self) -> None:
        self._subscriptions.clear()


def _update_of(payload: bytes) -> bytes:
    """The update in a payload: base64 text, or, since `SyncClient.sync` sends what it is given, a bare update."""
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error:
        return payload


def _decode_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InvalidRequestError("vector must be base64 text") from None
