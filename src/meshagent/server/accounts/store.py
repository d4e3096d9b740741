"""Everything that the accounts database holds, by kind."""

from __future__ import annotations

from meshagent.server.accounts import records, schema
from meshagent.server.accounts.api_key_table import ApiKeyTable
from meshagent.server.accounts.database import Database
from meshagent.server.accounts.record_table import RecordTable


class AccountsStore:
    """The tables of records; SQLAlchemy is the port here, its SQLite and PostgreSQL dialects are the adapters.

    `tests/server/accounts/test_accounts_store.py` runs on both.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.projects = RecordTable(database, schema.projects, records.Project, "project")
        self.users = RecordTable(database, schema.users, records.User, "user")
        self.user_tokens = RecordTable(database, schema.user_tokens, records.UserToken, "token")
        self.members = RecordTable(database, schema.members, records.Member, "member of the project")
        self.api_keys = ApiKeyTable(database)
        self.secrets = RecordTable(database, schema.secrets, records.Secret, "secret")
        self.webhooks = RecordTable(database, schema.webhooks, records.Webhook, "webhook")
        self.services = RecordTable(database, schema.services, records.Service, "service")
        self.rooms = RecordTable(database, schema.rooms, records.RoomRecord, "room")
        self.sessions = RecordTable(database, schema.sessions, records.Session, "session")
        self.room_grants = RecordTable(database, schema.room_grants, records.RoomGrant, "room grant")
        self.shares = RecordTable(database, schema.shares, records.Share, "share")
        self.mailboxes = RecordTable(database, schema.mailboxes, records.Mailbox, "mailbox")
