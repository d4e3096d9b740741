"""SMTP settings, and the rule that a password needs TLS."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from meshagent.agents.mail.smtp import SmtpSettings, send_mail
from meshagent.api.errors import InvalidRequestError, UnavailableError


def test_settings_come_from_the_environment() -> None:
    settings = SmtpSettings.from_environment(
        {"SMTP_HOSTNAME": "mail.example.org", "SMTP_PORT": "25", "SMTP_USERNAME": "ann", "SMTP_PASSWORD": "secret"}
    )
    assert settings == SmtpSettings(hostname="mail.example.org", port=25, username="ann", password="secret")
    assert "secret" not in repr(settings)


def test_port_and_login_are_optional() -> None:
    settings = SmtpSettings.from_environment({"SMTP_HOSTNAME": "mail.example.org", "SMTP_PORT": ""})
    assert (settings.port, settings.username, settings.password) == (587, None, None)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "set SMTP_HOSTNAME"),
        ({"SMTP_HOSTNAME": "mail.example.org", "SMTP_PORT": "smtp"}, "SMTP_PORT must be a number"),
    ],
)
def test_unusable_settings_are_rejected(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        SmtpSettings.from_environment(environment)


class PlainServer:
    """An SMTP server without TLS, in place of `smtplib.SMTP`."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.logins: list[str] = []

    def __enter__(self) -> PlainServer:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def ehlo(self) -> None: ...

    def has_extn(self, name: str) -> bool:
        return False

    def login(self, username: str, password: str) -> None:
        raise AssertionError("the password was sent without TLS")


async def test_a_password_is_never_sent_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtplib.SMTP", PlainServer)
    settings = SmtpSettings(hostname="mail.example.org", username="ann", password="secret")
    with pytest.raises(UnavailableError, match="does not offer TLS"):
        await send_mail(settings, EmailMessage())


async def test_an_unreachable_server_is_unavailable(unused_tcp_port: int) -> None:
    with pytest.raises(UnavailableError, match="could not send mail"):
        await send_mail(SmtpSettings(hostname="127.0.0.1", port=unused_tcp_port), EmailMessage())
