"""The client of the accounts REST API."""

from __future__ import annotations

from meshagent.api.accounts.projects import ProjectMethods
from meshagent.api.accounts.resources import ResourceMethods
from meshagent.api.accounts.room_methods import RoomMethods


class AccountsClient(ProjectMethods, ResourceMethods, RoomMethods):
    """Administers projects, people, keys, rooms and what belongs to them.

    Methods return the server's JSON where they do not say otherwise. A status of 400 or more is an
    `aiohttp.ClientResponseError`, whose `message` is the server's reason.
    """


Meshagent = AccountsClient
"""The same class under its later name."""
