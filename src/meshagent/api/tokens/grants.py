"""The sections of an `ApiScope`: what each room API lets the holder of a token do.

In all of them an absent list means "all", and members that are not known here are kept and written back
(protocol 4.4). Sections are immutable: to narrow a scope, give it another section.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

StorageAction = Literal["list", "read", "write", "delete", "presign"]
TableAction = Literal["read", "write", "alter"]
Names = list[str]  # an alias, because some sections have a member called `list`


class Section(BaseModel):
    """One part of the room API."""

    model_config = ConfigDict(frozen=True, extra="allow")


class LivekitGrant(Section):
    """Audio and video; `breakout_rooms` limits which breakout rooms may be joined."""

    breakout_rooms: Names | None = None

    def can_join_breakout_room(self, name: str) -> bool:
        return self.breakout_rooms is None or name in self.breakout_rooms


class QueuesGrant(Section):
    """Queues by name."""

    send: Names | None = None
    receive: Names | None = None
    list: bool = True

    def can_send(self, queue: str) -> bool:
        return self.send is None or queue in self.send

    def can_receive(self, queue: str) -> bool:
        return self.receive is None or queue in self.receive


class MessagingGrant(Section):
    """Messages, and the list of participants."""

    broadcast: bool = True
    list: bool = True
    send: bool = True


class TableGrant(Section):
    """One table of the room database."""

    name: str
    read: bool = True
    write: bool = False
    alter: bool = False


class DatasetGrant(Section):
    """The room database; the first entry of `tables` with a table's name says what may be done with it."""

    tables: list[TableGrant] | None = None
    list_tables: bool = True

    def allows(self, table: str, action: TableAction) -> bool:
        if self.tables is None:
            return True
        return next((getattr(grant, action) is True for grant in self.tables if grant.name == table), False)

    def can_read(self, table: str) -> bool:
        return self.allows(table, "read")

    def can_write(self, table: str) -> bool:
        return self.allows(table, "write")

    def can_alter(self, table: str) -> bool:
        return self.allows(table, "alter")


class SyncPathGrant(Section):
    """Documents at `path`; a trailing `*` matches anything."""

    path: str
    read_only: bool = False

    def matches(self, path: str) -> bool:
        pattern = self.path.lstrip("/")
        if pattern.endswith("*"):
            return path.lstrip("/").startswith(pattern[:-1])
        return path.lstrip("/") == pattern


class SyncGrant(Section):
    """Documents. Something is allowed if any matching rule allows it."""

    paths: list[SyncPathGrant] | None = None

    def can_read(self, path: str) -> bool:
        return self.paths is None or (_is_plain(path) and any(rule.matches(path) for rule in self.paths))

    def can_write(self, path: str) -> bool:
        if self.paths is None:
            return True
        return _is_plain(path) and any(rule.matches(path) and not rule.read_only for rule in self.paths)


class StoragePathGrant(Section):
    """A folder with its content, or one file; the empty path is the whole room."""

    path: str
    read_only: bool = False


class StorageFileGrant(Section):
    """The allowed actions in a folder; without `actions` all of them. The current generation uses it."""

    path: str = ""
    actions: list[StorageAction] | None = None


class StorageGrant(Section):
    """Files. The first rule whose folder contains the path decides; without one, nothing is allowed.

    `files`, where present, is asked instead of `paths`.
    """

    paths: list[StoragePathGrant] | None = None
    files: list[StorageFileGrant] | None = None

    def allows(self, path: str, action: StorageAction) -> bool:
        if self.files is not None:
            file_rule = next((rule for rule in self.files if _is_within(path, rule.path)), None)
            return file_rule is not None and (file_rule.actions is None or action in file_rule.actions)
        if self.paths is not None:
            path_rule = next((rule for rule in self.paths if _is_within(path, rule.path)), None)
            return path_rule is not None and not (path_rule.read_only and action in ("write", "delete"))
        return True

    def can_read(self, path: str) -> bool:
        return self.allows(path, "read")

    def can_write(self, path: str) -> bool:
        return self.allows(path, "write")


class DeveloperGrant(Section):
    """The developer log; `logs` allows reading it."""

    logs: bool = True


class AgentsGrant(Section):
    """Agents, toolkits and calls of services."""

    register_agent: bool = True
    register_public_toolkit: bool = True
    register_private_toolkit: bool = True
    call: bool = True
    use_agents: bool = True
    use_tools: bool = True


class LlmGrant(Section):
    """Language models through the server."""

    models: Names | None = None


class AdminGrant(Section):
    """Administration; `paths` limits it to some REST paths."""

    paths: Names | None = None


class OpenSection(Section):
    """A section that is allowed as a whole; its members are kept, but have no effect."""


def _is_plain(path: str) -> bool:
    """Whether a path has no `.` or `..` parts: a rule for `a/` must not allow `a/../b`."""
    return not any(part in (".", "..") for part in path.replace("\\", "/").split("/"))


def _is_within(path: str, folder: str) -> bool:
    """Whether `path` is the folder or inside it: `notes` contains `notes/a` but not `notes2`."""
    if not _is_plain(path):
        return False
    inner, outer = path.strip("/"), folder.strip("/")
    return not outer or inner == outer or inner.startswith(outer + "/")
