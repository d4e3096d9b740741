"""Everything that the accounts database holds, by kind."""

from __future__ import annotations

from meshagent.server.accounts import records, tables
from meshagent.server.accounts.api_key_table import ApiKeyTable
from meshagent.server.accounts.database import Database
from meshagent.server.accounts.record_table import Records


class AccountsStore:
    """The tables of records; SQLAlchemy is the port here, its SQLite and PostgreSQL dialects are the adapters.

    `tests/server/accounts/test_accounts_store.py` runs on both.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.projects = Records(database, tables.projects, records.Project, "project")
        self.users = Records(database, tables.users, records.User, "user")
        self.user_tokens = Records(database, tables.user_tokens, records.UserToken, "token")
        self.members = Records(database, tables.members, records.Member, "member of the project")
        self.api_keys = ApiKeyTable(database)
        self.secrets = Records(database, tables.secrets, records.Secret, "secret")
        self.webhooks = Records(database, tables.webhooks, records.Webhook, "webhook")
        self.services = Records(database, tables.services, records.Service, "service")
        self.rooms = Records(database, tables.rooms, records.RoomRecord, "room")
        self.sessions = Records(database, tables.sessions, records.Session, "session")
        self.room_grants = Records(database, tables.room_grants, records.RoomGrant, "room grant")
        self.shares = Records(database, tables.shares, records.Share, "share")
        self.mailboxes = Records(database, tables.mailboxes, records.Mailbox, "mailbox")
