"""The client of the accounts REST API."""

from __future__ import annotations

from meshagent.api.accounts.projects import ProjectMethods
from meshagent.api.accounts.resources import ResourceMethods
from meshagent.api.accounts.room_methods import RoomMethods


class AccountsClient(ProjectMethods, ResourceMethods, RoomMethods):
    """Administers projects, users, keys, rooms and their resources.

    Methods return the JSON of the answer unless they say otherwise. A status of 400 or more is an
    `aiohttp.ClientResponseError`, whose `message` is the reason that the server gave.
    """


Meshagent = AccountsClient
"""The same class, under the name that newer programs use."""
