"""Parsing mail messages and composing replies."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

import pytest

from meshagent.agents.mail.messages import MAX_REFERENCES, MailMessage, reply_to
from meshagent.api.errors import InvalidRequestError

PLAIN = b"""\
From: Ann <ann@example.org>
To: room@example.org, Bob <bob@example.org>
Subject: A question
 about invoices
Message-ID: <3@example.org>
In-Reply-To: <2@example.org>
References: <1@example.org> <2@example.org>
Date: Tue, 24 Nov 2026 10:00:00 +0100

Where are they?
"""


def with_header(line: str) -> MailMessage:
    return MailMessage.from_bytes(line.encode() + b"\n" + PLAIN)


def test_a_message_is_parsed() -> None:
    mail = MailMessage.from_bytes(PLAIN)
    assert (mail.sender, mail.recipients) == ("ann@example.org", ("room@example.org", "bob@example.org"))
    assert (mail.subject, mail.text) == ("A question about invoices", "Where are they?")
    assert mail.sent_at == datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    assert (mail.id, mail.in_reply_to) == ("<3@example.org>", "<2@example.org>")
    assert mail.references == ("<1@example.org>", "<2@example.org>")
    assert not mail.is_automatic


def test_replies_go_to_the_reply_address() -> None:
    assert with_header("Reply-To: desk@example.org").sender == "desk@example.org"


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied",
        "Auto-Submitted: auto-generated; reason=x",
        "Precedence: bulk",
        "Precedence: LIST",
        "List-Id: <news.example.org>",
        "Return-Path: <>",
    ],
)
def test_automatic_messages_are_recognized(header: str) -> None:
    assert with_header(header).is_automatic


@pytest.mark.parametrize("header", ["Auto-Submitted: no", "Precedence: first-class", "Return-Path: <ann@example.org>"])
def test_messages_from_people_are_not_automatic(header: str) -> None:
    assert not with_header(header).is_automatic


def test_missing_headers_are_replaced() -> None:
    mail = MailMessage.from_bytes(b"From: ann@example.org\nDate: yesterday\n\nHello")
    assert mail.id.startswith("<")
    assert mail.sent_at.tzinfo is not None
    assert (mail.subject, mail.in_reply_to, mail.references, mail.recipients) == ("", None, (), ())


def test_a_message_without_sender_is_rejected() -> None:
    with pytest.raises(InvalidRequestError, match="message has no sender"):
        MailMessage.from_bytes(b"Subject: x\n\nHello")


def test_html_becomes_text_without_scripts() -> None:
    raw = (
        b"From: ann@example.org\nContent-Type: text/html\n\n"
        b"<head><style>p {}</style></head><p>Fish &amp; chips</p><script>alert(1)</script>"
    )
    assert MailMessage.from_bytes(raw).text == "Fish & chips"


def test_names_of_attachments_contain_no_folders() -> None:
    raw = (
        b"From: ann@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        b"--b\nContent-Type: text/plain\n\nHello\n"
        b'--b\nContent-Type: text/csv\nContent-Disposition: attachment; filename="../../etc/a;b.csv"\n\n1,2\n'
        b"--b\nContent-Type: text/csv\nContent-Disposition: attachment\n\n3,4\n--b--\n"
    )
    first, second = MailMessage.from_bytes(raw).attachments
    assert (first.name, first.content.strip()) == ("a_b.csv", b"1,2")
    assert second.name == "attachment-2"


def test_only_the_latest_references_are_kept() -> None:
    ids = [f"<{number}@example.org>" for number in range(50)]
    raw = f"From: ann@example.org\nReferences: {' '.join(ids)}\n\nHello".encode()
    assert MailMessage.from_bytes(raw).references == tuple(ids[-MAX_REFERENCES:])


def test_a_reply_continues_the_conversation_and_is_automatic() -> None:
    reply = reply_to(MailMessage.from_bytes(PLAIN), sender="room@example.org", text="In the archive.")
    read = MailMessage.from_bytes(reply.as_bytes())
    assert (read.sender, read.recipients) == ("room@example.org", ("ann@example.org",))
    assert (read.subject, read.text) == ("Re: A question about invoices", "In the archive.")
    assert read.in_reply_to == "<3@example.org>"
    assert read.references == ("<1@example.org>", "<2@example.org>", "<3@example.org>")
    assert read.is_automatic
    assert reply_to(read, sender="ann@example.org", text="")["Subject"] == "Re: A question about invoices"


def test_queue_items_contain_the_raw_message() -> None:
    assert MailMessage.from_queue({"base64": b64encode(PLAIN).decode()}).id == "<3@example.org>"


@pytest.mark.parametrize(
    ("item", "message"), [("text", "raw message"), ({}, "raw message"), ({"base64": "§"}, "not valid base64")]
)
def test_other_queue_items_are_rejected(item: object, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        MailMessage.from_queue(item)
