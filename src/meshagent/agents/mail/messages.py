"""Mail as programs and models read it."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
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
    """A file that came with a letter; `name` has no folders."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MailMessage:
    """One mail.

    Attributes:
        id: Its Message-ID; one is made for a mail without.
        sender: The address to answer to.
        recipients: The addresses it went to.
        subject: One line.
        text: What it says, as plain text.
        sent_at: Aware.
        in_reply_to: The Message-ID that it answers.
        references: Message-IDs of the conversation, oldest first, the one that it answers included.
        is_automatic: No person wrote it: it must not be answered, lest two programs write to each other for ever.
        attachments: Files.
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
        """Read a mail as it travels (RFC 5322); InvalidRequestError if it has no sender."""
        message: Any = message_from_bytes(raw, policy=policy.default)
        sender = parseaddr(str(message["Reply-To"] or message["From"] or ""))[1]
        if not sender:
            raise InvalidRequestError("a mail without a sender")
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
    def from_queue(job: Json) -> MailMessage:
        """Read a job of a mail queue: `{"base64": raw mail}`; InvalidRequestError if it is none."""
        encoded = job.get("base64") if isinstance(job, dict) else None
        if not isinstance(encoded, str):
            raise InvalidRequestError("a job of a mail queue holds the raw mail as `base64`")
        try:
            return MailMessage.from_bytes(b64decode(encoded, validate=True))
        except Base64Error as error:
            raise InvalidRequestError(f"the mail is not base64: {error}") from None


def reply_to(letter: MailMessage, *, sender: str, text: str) -> EmailMessage:
    """An answer: to the sender, about the same, in the same conversation, and marked as automatic."""
    answer = EmailMessage()
    answer["From"] = sender
    answer["To"] = letter.sender
    answer["Subject"] = letter.subject if letter.subject.lower().startswith("re:") else f"Re: {letter.subject}"
    answer["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or None)
    answer["Date"] = datetime.now(UTC)
    answer["In-Reply-To"] = letter.id
    answer["References"] = " ".join([*letter.references, letter.id])
    answer["Auto-Submitted"] = "auto-replied"
    answer.set_content(text)
    return answer


def _ids(header: Any) -> list[str]:
    return re.findall(r"<[^<>\s]+>", str(header or ""))


def _date(header: Any) -> datetime:
    try:
        date = parsedate_to_datetime(str(header))
    except (TypeError, ValueError):
        return datetime.now(UTC)
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _is_automatic(message: EmailMessage) -> bool:
    """Whether a program sent it (RFC 3834), such as a mailing list or an out-of-office note."""
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
