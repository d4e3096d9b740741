"""Parse mail messages, and compose replies."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import getaddresses, make_msgid, parseaddr, parsedate_to_datetime
from html import unescape
from typing import Any, Final

from meshagent.api.errors import InvalidRequestError
from meshagent.api.jsontext import Json

__all__ = ["Attachment", "MailMessage", "reply_to"]

MAX_REFERENCES: Final = 20


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file attached to a message. `name` contains no folders."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MailMessage:
    """A parsed mail message.

    Attributes:
        id: The Message-ID; generated if the message has none.
        sender: The address to reply to.
        recipients: The addresses in `To`.
        subject: The subject on one line.
        text: The body as plain text.
        sent_at: Date and time with time zone.
        in_reply_to: Message-ID of the message that this one replies to.
        references: Message-IDs of the conversation, oldest first, including `in_reply_to`.
        is_automatic: Whether a program sent it. Automatic messages are not answered, to avoid mail loops.
        attachments: Attached files.
    """

    id: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    sent_at: datetime
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    is_automatic: bool = False
    attachments: tuple[Attachment, ...] = ()

    @staticmethod
    def from_bytes(raw: bytes) -> MailMessage:
        """Parse a raw message (RFC 5322); InvalidRequestError if it has no sender."""
        message: Any = message_from_bytes(raw, policy=policy.default)
        sender = parseaddr(str(message["Reply-To"] or message["From"] or ""))[1]
        if not sender:
            raise InvalidRequestError("message has no sender")
        recipients = [address for _, address in getaddresses([str(value) for value in message.get_all("To", [])])]
        references = _ids(message["References"])
        in_reply_to = next(iter(_ids(message["In-Reply-To"])), None) or (references[-1] if references else None)
        if in_reply_to is not None and in_reply_to not in references:
            references = [*references, in_reply_to]
        return MailMessage(
            id=next(iter(_ids(message["Message-ID"])), None) or make_msgid(),
            sender=sender,
            recipients=tuple(recipients),
            subject=" ".join(str(message["Subject"] or "").split()),
            text=_text(message),
            sent_at=_date(message["Date"]),
            in_reply_to=in_reply_to,
            references=tuple(references[-MAX_REFERENCES:]),
            is_automatic=_is_automatic(message),
            attachments=tuple(_attachments(message)),
        )

    @staticmethod
    def from_queue(item: Json) -> MailMessage:
        """Parse an item of a mail queue, `{"base64": raw message}`; InvalidRequestError if it is not valid."""
        encoded = item.get("base64") if isinstance(item, dict) else None
        if not isinstance(encoded, str):
            raise InvalidRequestError("items of a mail queue must contain the raw message as `base64`")
        try:
            return MailMessage.from_bytes(b64decode(encoded, validate=True))
        except ValueError as error:  # binascii.Error, or a text that is not ASCII
            raise InvalidRequestError(f"`base64` is not valid base64: {error}") from None


def reply_to(message: MailMessage, *, sender: str, text: str) -> EmailMessage:
    """Compose a reply to the sender, in the same conversation and marked as automatic (RFC 3834)."""
    reply = EmailMessage()
    reply["From"] = sender
    reply["To"] = message.sender
    reply["Subject"] = message.subject if message.subject.lower().startswith("re:") else f"Re: {message.subject}"
    reply["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or None)
    reply["Date"] = datetime.now(UTC)
    reply["In-Reply-To"] = message.id
    reply["References"] = " ".join([*message.references, message.id])
    reply["Auto-Submitted"] = "auto-replied"
    reply.set_content(text)
    return reply


def _ids(header: Any) -> list[str]:
    return re.findall(r"<[^<>\s]+>", str(header or ""))


def _date(header: Any) -> datetime:
    try:
        date = parsedate_to_datetime(str(header))
    except (TypeError, ValueError):
        return datetime.now(UTC)
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _is_automatic(message: EmailMessage) -> bool:
    """Whether a program sent the message (RFC 3834), such as a mailing list or an out-of-office responder."""
    submitted = str(message["Auto-Submitted"] or "no").partition(";")[0].strip().lower()
    precedence = str(message["Precedence"] or "").strip().lower()
    bounce = str(message["Return-Path"] or "").strip() == "<>"
    return submitted != "no" or precedence in ("bulk", "junk", "list") or message["List-Id"] is not None or bounce


def _text(message: EmailMessage) -> str:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return ""
    content = str(body.get_content())
    if body.get_content_subtype() != "html":
        return content.strip()
    visible = re.sub(r"(?is)<(script|style|head)\b.*?</\1>", " ", content)
    return re.sub(r"\n\s*\n+", "\n\n", unescape(re.sub(r"(?s)<[^>]+>", " ", visible))).strip()


def _attachments(message: EmailMessage) -> list[Attachment]:
    found = []
    for number, part in enumerate(message.iter_attachments()):
        name = re.sub(r"[^\w.\- ]", "_", (part.get_filename() or "").replace("\\", "/").rpartition("/")[2])
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            found.append(Attachment(name.strip(". ") or f"attachment-{number + 1}", content))
    return found
