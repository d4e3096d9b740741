"""Answering mail: a real room, a real SMTP conversation, a scripted model."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from email.message import EmailMessage
from typing import Any

import pytest

from meshagent.agents.llm.scripted import ScriptedAdapter, say
from meshagent.agents.mail import MailMessage, MailWorker, SmtpSettings
from meshagent.api.errors import InvalidRequestError
from meshagent.llm.scripted import plain_text
from tests.support.chatting import joined, working
from tests.support.mail_server import MailServer, mail_server
from tests.support.server import TestServer


def mail(text: str, headers: dict[str, str] | None = None, *, attachment: bytes | None = None) -> EmailMessage:
    message = EmailMessage()
    given = {
        "From": "Alice <alice@example.org>",
        "To": "room@example.com",
        "Subject": "A question",
        "Message-ID": "<one@example.org>",
        "Date": "Tue, 24 Nov 2026 10:20:30 +0100",
    }
    for name, value in {**given, **(headers or {})}.items():
        message[name] = value
    message.set_content(text)
    if attachment is not None:
        message.add_attachment(attachment, maintype="application", subtype="pdf", filename="../a b.pdf")
    return message


def job(message: EmailMessage) -> dict[str, str]:
    return {"base64": b64encode(message.as_bytes()).decode()}


def worker(mails: MailServer, adapter: ScriptedAdapter, **options: Any) -> MailWorker:
    smtp = SmtpSettings(hostname="127.0.0.1", port=mails.port)
    return MailWorker(smtp=smtp, llm_adapter=adapter, retry_delay=0.001, **options)


async def answer(mails: MailServer) -> MailMessage:
    return MailMessage.from_bytes(await asyncio.wait_for(mails.received.get(), 10))


async def test_mail_is_answered_in_its_conversation(server: TestServer) -> None:
    adapter = ScriptedAdapter([say("It is 42."), say("As I said.")])
    async with mail_server() as mails, joined(server, "alice") as alice, working(server, worker(mails, adapter)):
        await alice.queues.send("email", job(mail("What is it?", attachment=b"%PDF")))
        first = await answer(mails)
        assert (first.sender, first.recipients) == ("room@example.com", ("alice@example.org",))
        assert (first.subject, first.text) == ("Re: A question", "It is 42.")
        assert (first.in_reply_to, first.is_automatic) == ("<one@example.org>", True)
        for _ in range(500):  # the answer is kept after it was sent
            if len(await alice.database.search(table="emails")) == 2:
                break
            await asyncio.sleep(0.01)
        headers = {"Message-ID": "<two@example.org>", "References": first.id, "Date": "Wed, 25 Nov 2026 08:00:00 +0000"}
        again = mail("Are you sure?", headers)
        await alice.queues.send("email", job(again))
        assert (await answer(mails)).text == "As I said."
        day = ".emails/2026/11/24/09/20/30"
        [folder] = [entry.name for entry in await alice.storage.list(path=day)]
        attachments = await alice.storage.list(path=f"{day}/{folder}/attachments")
        kept = await alice.storage.download(path=f"{day}/{folder}/message.json")
    asked = [plain_text(message["content"]) for message in adapter.model.requests[1].messages]
    assert asked[0] == "It is 42."
    assert asked[1].endswith("Are you sure?")
    assert "From: alice@example.org" in asked[1]
    assert json.loads(kept.data)["role"] == "user"
    assert [entry.name for entry in attachments] == ["1-a b.pdf"]


async def test_a_mail_server_that_is_busy_is_asked_again(server: TestServer) -> None:
    adapter = ScriptedAdapter(lambda request: say("Here."))
    async with mail_server() as mails, joined(server, "alice") as alice, working(server, worker(mails, adapter)):
        mails.refuse = 2
        await alice.queues.send("email", job(mail("Anybody there?")))
        assert (await answer(mails)).text == "Here."


@pytest.mark.parametrize(
    "header", [{"Auto-Submitted": "auto-replied"}, {"Precedence": "bulk"}, {"List-Id": "<list>"}, {"Return-Path": "<>"}]
)
async def test_programs_get_no_answer(server: TestServer, header: dict[str, str]) -> None:
    adapter = ScriptedAdapter()
    async with mail_server() as mails, joined(server, "alice") as alice, working(server, worker(mails, adapter)):
        await alice.queues.send("email", job(mail("I am away.", header)))
        await alice.queues.send("email", job(mail("A person.", {"Message-ID": "<person@example.org>"})))
        assert "A person." in (await answer(mails)).text
        assert mails.received.empty()
        assert len(adapter.model.requests) == 1


async def test_what_is_no_mail_is_set_aside(server: TestServer) -> None:
    async with (
        mail_server() as mails,
        joined(server, "alice") as alice,
        working(server, worker(mails, ScriptedAdapter(), max_attempts=1)),
    ):
        await alice.queues.send("email", {"text": "hi"})
        failed: Any = await asyncio.wait_for(alice.queues.receive("email.failed"), 10)
        assert "base64" in failed["error"]


def test_html_is_read_as_text() -> None:
    message = mail("")
    message.set_content("<style>p {}</style><p>Hello &amp; <b>welcome</b></p>", subtype="html")
    assert MailMessage.from_bytes(message.as_bytes()).text.split() == ["Hello", "&", "welcome"]


def test_names_of_attachments_lead_nowhere_else() -> None:
    [attachment] = MailMessage.from_bytes(mail("see", attachment=b"%PDF").as_bytes()).attachments
    assert (attachment.name, attachment.content) == ("a b.pdf", b"%PDF")


def test_the_environment_says_where_mail_is_sent() -> None:
    settings = SmtpSettings.from_environment({"SMTP_HOSTNAME": "mail", "SMTP_PORT": "25", "SMTP_PASSWORD": "hidden"})
    assert (settings.hostname, settings.port, settings.username) == ("mail", 25, None)
    assert "hidden" not in repr(settings)
    for environ in ({}, {"SMTP_HOSTNAME": "mail", "SMTP_PORT": "x"}):
        with pytest.raises(InvalidRequestError, match="SMTP"):
            SmtpSettings.from_environment(environ)
