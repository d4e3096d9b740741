"""Agents that answer mail: `MailWorker`, and the SMTP client it sends with."""

from meshagent.agents.mail.messages import MailMessage
from meshagent.agents.mail.smtp import SmtpSettings
from meshagent.agents.mail.worker import MailWorker

__all__ = ["MailMessage", "MailWorker", "SmtpSettings"]
