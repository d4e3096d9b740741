"""`MailWorker`: answers the mail of a room."""

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
from meshagent.agents.llm.tool_answers import ToolResponseAdapter
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
    """Reads mail from a queue, lets a model answer, and sends the answers.

    Each mail is kept, with its attachments, in `.emails/YYYY/MM/DD/HH/MM/SS/ID/`, and has a row in the table
    `emails`, by which the conversation that it belongs to is found again. Mail that programs sent is kept, not
    answered.

    Args:
        address: The address to answer from; by default the first one that the mail went to.
        smtp: Where answers are sent; by default as `SmtpSettings.from_environment` says.
        send: Sends an answer in another way.
        queue: Where mail comes: `{"base64": raw mail}`.

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
            rules=rules or ["You answer mail. Write the text of the answer alone, as plain text."],
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
        """Keep a mail, and answer it unless a program sent it."""
        letter = MailMessage.from_queue(message)
        sender = self.address or next(iter(letter.recipients), None)
        if sender is None:
            raise InvalidRequestError("a mail to nobody cannot be answered: give an address to answer from")
        attached = await self._keep(letter)
        if letter.is_automatic or letter.sender.lower() == sender.lower():
            log.info("%s does not answer %s, which a program sent", self.name, letter.id)
            return
        await self._read_conversation(chat_context, letter)
        chat_context.append_user_message(_as_prompt(letter, attached))
        text = await self.llm_adapter.next(
            context=chat_context, room=self.room, toolkits=toolkits, tool_adapter=self._tool_adapter
        )
        answer = reply_to(letter, sender=sender, text=str(text))
        await self._send(answer)
        try:
            await self._remember(MailMessage.from_bytes(answer.as_bytes()), role="assistant", folder=None)
        except RoomException as error:
            log.warning("the answer to %s was sent, but not kept: %s", letter.id, error)  # not to be sent twice

    async def _keep(self, letter: MailMessage) -> list[str]:
        """Store a mail; returns the paths of its attachments."""
        own_name = uuid.uuid5(uuid.NAMESPACE_URL, letter.id).hex  # the same if the mail is kept again
        folder = f"{FOLDER}/{letter.sent_at.astimezone(UTC):%Y/%m/%d/%H/%M/%S}/{own_name}"
        paths = []
        for number, attachment in enumerate(letter.attachments):
            path = f"{folder}/attachments/{number + 1}-{attachment.name}"
            async with self.room.storage.open(path=path, overwrite=True) as file:
                await file.write(attachment.content)
            paths.append(path)
        async with self.room.storage.open(path=f"{folder}/message.json", overwrite=True) as file:
            await file.write(json.dumps(_summary(letter, role="user", folder=folder)))
        await self._remember(letter, role="user", folder=folder)
        return paths

    async def _remember(self, letter: MailMessage, *, role: str, folder: str | None) -> None:
        row = {"id": letter.id, "json": json.dumps(_summary(letter, role=role, folder=folder))}
        await self.room.database.merge(table=TABLE, on="id", records=[row])

    async def _read_conversation(self, chat_context: AgentChatContext, letter: MailMessage) -> None:
        """Let the model read the mails that this one answers, oldest first."""
        wanted = [reference for reference in letter.references if reference != letter.id][-MAX_CONVERSATION:]
        if not wanted:
            return
        rows = await self.room.database.search(table=TABLE, where={"id": wanted})
        known = {row["id"]: json.loads(row["json"]) for row in rows}
        for earlier in (known[reference] for reference in wanted if reference in known):
            if earlier["role"] == "assistant":
                chat_context.append_assistant_message(earlier["text"])
            else:
                chat_context.append_user_message(earlier["text"])


def _summary(letter: MailMessage, *, role: str, folder: str | None) -> dict[str, Any]:
    return {
        "role": role,
        "id": letter.id,
        "from": letter.sender,
        "to": list(letter.recipients),
        "subject": letter.subject,
        "text": letter.text,
        "sent_at": letter.sent_at.isoformat(),
        "in_reply_to": letter.in_reply_to,
        "references": list(letter.references),
        "folder": folder,
        "attachments": [attachment.name for attachment in letter.attachments],
    }


def _as_prompt(letter: MailMessage, attached: Sequence[str]) -> str:
    lines = [f"From: {letter.sender}", f"Subject: {letter.subject}", *(f"Attached file: {path}" for path in attached)]
    return "\n".join([*lines, "", letter.text])
