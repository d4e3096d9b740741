"""`MailWorker`: answers the mail that arrives in a room's queue."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC
from email.message import EmailMessage
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.agents.mail.messages import MailMessage, reply_to
from meshagent.agents.mail.smtp import SmtpSettings, send_mail
from meshagent.agents.worker import Worker
from meshagent.api.contracts.data_types import TextDataType
from meshagent.api.errors import InvalidRequestError, RoomException
from meshagent.api.jsontext import Json
from meshagent.api.room.descriptions import Requirement
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["MailWorker", "SendMail"]

log = logging.getLogger(__name__)

SendMail = Callable[[EmailMessage], Awaitable[None]]

FOLDER: Final = ".emails"
TABLE: Final = "emails"
MAX_CONVERSATION: Final = 20


class MailWorker(Worker):
    """Receives mail from a queue, lets a model answer, and sends the replies.

    Each message is stored with its attachments in `.emails/YYYY/MM/DD/HH/MM/SS/ID/`, and indexed in the table
    `emails`, from which earlier messages of a conversation are loaded. Automatic mail is stored but not answered.

    Args:
        address: The address to reply from. Default: the message's first recipient.
        smtp: The server to send with. Default: `SmtpSettings.from_environment()`.
        send: Sends a reply by other means than SMTP.
        queue: The queue with incoming mail; its items are `{"base64": raw message}`.

    Other arguments: as `Worker`.
    """

    def __init__(
        self,
        *,
        queue: str = "email",
        address: str | None = None,
        smtp: SmtpSettings | None = None,
        send: SendMail | None = None,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        requires: Sequence[Requirement] = (),
        labels: Sequence[str] = (),
        llm_adapter: LLMAdapter | None = None,
        tool_adapter: ToolResponseAdapter | None = None,
        toolkits: Sequence[Toolkit] = (),
        rules: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(
            queue=queue,
            name=name,
            title=title,
            description=description,
            requires=requires,
            labels=labels,
            llm_adapter=llm_adapter,
            tool_adapter=tool_adapter,
            toolkits=toolkits,
            rules=rules or ["You answer mail. Write only the body of the reply, as plain text."],
            **options,
        )
        self.address = address
        if send is None:
            send = partial(send_mail, SmtpSettings.from_environment() if smtp is None else smtp)
        self._send = send

    async def start(self, *, room: RoomClient) -> None:
        """As `Worker.start`."""
        await room.database.create_table_with_schema(
            name=TABLE, schema={"id": TextDataType(), "json": TextDataType()}, mode="create_if_not_exists"
        )
        await super().start(room=room)

    async def process_message(self, *, chat_context: AgentChatContext, message: Json, toolkits: list[Toolkit]) -> Any:
        """Store a message, and reply to it unless a program sent it."""
        mail = MailMessage.from_queue(message)
        sender = self.address or next(iter(mail.recipients), None)
        if sender is None:
            raise InvalidRequestError("message has no recipient to reply from: set `address`")
        attachment_paths = await self._store(mail)
        if mail.is_automatic or mail.sender.lower() == sender.lower():
            log.info("%s does not answer the automatic message %s", self.name, mail.id)
            return
        await self._load_conversation(chat_context, mail)
        chat_context.append_user_message(_as_prompt(mail, attachment_paths))
        text = await self.llm_adapter.next(
            context=chat_context, room=self.room, toolkits=toolkits, tool_adapter=self._tool_adapter
        )
        reply = reply_to(mail, sender=sender, text=str(text))
        await self._send(reply)
        try:
            await self._record(MailMessage.from_bytes(reply.as_bytes()), role="assistant", folder=None)
        except RoomException as error:
            # The reply is sent: a retry of the message would send it twice.
            log.warning("the reply to %s was sent but not recorded: %s", mail.id, error)

    async def _store(self, mail: MailMessage) -> list[str]:
        """Store a message; returns the paths of its attachments."""
        name = uuid.uuid5(uuid.NAMESPACE_URL, mail.id).hex  # a retried message overwrites its own files
        folder = f"{FOLDER}/{mail.sent_at.astimezone(UTC):%Y/%m/%d/%H/%M/%S}/{name}"
        paths = []
        for number, attachment in enumerate(mail.attachments):
            path = f"{folder}/attachments/{number + 1}-{attachment.name}"
            async with self.room.storage.open(path=path, overwrite=True) as file:
                await file.write(attachment.content)
            paths.append(path)
        async with self.room.storage.open(path=f"{folder}/message.json", overwrite=True) as file:
            await file.write(json.dumps(_summary(mail, role="user", folder=folder)))
        await self._record(mail, role="user", folder=folder)
        return paths

    async def _record(self, mail: MailMessage, *, role: str, folder: str | None) -> None:
        row = {"id": mail.id, "json": json.dumps(_summary(mail, role=role, folder=folder))}
        await self.room.database.merge(table=TABLE, on="id", records=[row])

    async def _load_conversation(self, chat_context: AgentChatContext, mail: MailMessage) -> None:
        """Add the earlier messages of the conversation to the context, oldest first."""
        earlier_ids = [reference for reference in mail.references if reference != mail.id][-MAX_CONVERSATION:]
        if not earlier_ids:
            return
        rows = await self.room.database.search(table=TABLE, where={"id": earlier_ids})
        found = {row["id"]: json.loads(row["json"]) for row in rows}
        for earlier in (found[reference] for reference in earlier_ids if reference in found):
            if earlier["role"] == "assistant":
                chat_context.append_assistant_message(earlier["text"])
            else:
                chat_context.append_user_message(earlier["text"])


def _summary(mail: MailMessage, *, role: str, folder: str | None) -> dict[str, Any]:
    return {
        "role": role,
        "id": mail.id,
        "from": mail.sender,
        "to": list(mail.recipients),
        "subject": mail.subject,
        "text": mail.text,
        "sent_at": mail.sent_at.isoformat(),
        "in_reply_to": mail.in_reply_to,
        "references": list(mail.references),
        "folder": folder,
        "attachments": [attachment.name for attachment in mail.attachments],
    }


def _as_prompt(mail: MailMessage, attachment_paths: Sequence[str]) -> str:
    attached = [f"Attached file: {path}" for path in attachment_paths]
    lines = [f"From: {mail.sender}", f"Subject: {mail.subject}", *attached]
    return "\n".join([*lines, "", mail.text])
