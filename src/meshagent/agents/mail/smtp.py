"""Send mail by SMTP."""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage

from meshagent.api.errors import InvalidRequestError, UnavailableError

__all__ = ["SmtpSettings", "send_mail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """How to reach the server for outgoing mail.

    Attributes:
        hostname: Host of the SMTP server.
        port: Port 465 uses TLS from the start; other ports use STARTTLS if the server offers it.
        username: Login name; None sends without a login. A login requires TLS, except on this machine.
        password: Login password.
        timeout: Seconds to wait for the server.
    """

    hostname: str
    port: int = 587
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = 30.0

    @staticmethod
    def from_environment(environ: Mapping[str, str] | None = None) -> SmtpSettings:
        """Read `SMTP_HOSTNAME`, `SMTP_PORT`, `SMTP_USERNAME` and `SMTP_PASSWORD`.

        Raises:
            InvalidRequestError: The hostname is missing, or the port is not a number.
        """
        values = os.environ if environ is None else environ
        hostname, port = values.get("SMTP_HOSTNAME"), values.get("SMTP_PORT") or "587"
        if not hostname:
            raise InvalidRequestError("no SMTP server configured: set SMTP_HOSTNAME")
        if not port.isdigit():
            raise InvalidRequestError(f"SMTP_PORT must be a number, not {port!r}")
        return SmtpSettings(
            hostname=hostname,
            port=int(port),
            username=values.get("SMTP_USERNAME") or None,
            password=values.get("SMTP_PASSWORD") or None,
        )


async def send_mail(settings: SmtpSettings, message: EmailMessage) -> None:
    """Send a message through the server. On return the server has accepted it.

    Raises:
        UnavailableError: The server cannot be reached, or rejected the message.
    """
    try:
        await asyncio.to_thread(_send, settings, message)
    except (smtplib.SMTPException, OSError) as error:
        raise UnavailableError(f"could not send mail: {error}") from error


def _send(settings: SmtpSettings, message: EmailMessage) -> None:
    context = ssl.create_default_context()
    if settings.port == 465:
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            settings.hostname, settings.port, timeout=settings.timeout, context=context
        )
    else:
        server = smtplib.SMTP(settings.hostname, settings.port, timeout=settings.timeout)
    with server:
        server.ehlo()
        is_encrypted = settings.port == 465
        if not is_encrypted and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
            is_encrypted = True
        if settings.username is not None:
            if not is_encrypted and settings.hostname not in ("localhost", "127.0.0.1", "::1"):
                raise smtplib.SMTPException("the server does not offer TLS, and a login requires it")
            server.login(settings.username, settings.password or "")
        server.send_message(message)
