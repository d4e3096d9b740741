"""Answering mail: `MailWorker`, and what it needs of a mail server."""

from meshagent.agents.mail.messages import MailMessage
from meshagent.agents.mail.smtp import SmtpSettings
from meshagent.agents.mail.worker import MailWorker

__all__ = ["MailMessage", "MailWorker", "SmtpSettings"]
