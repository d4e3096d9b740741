"""Secrets of a project: credentials for container registries, and named values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel


class PullSecret(BaseModel):
    """Credentials for a container registry."""

    type: Literal["docker"] = "docker"
    id: str | None = None
    name: str
    server: str
    username: str
    password: str
    email: str = "none@example.com"

    def payload(self) -> dict[str, str]:
        """The `data` that the server stores."""
        return {"server": self.server, "username": self.username, "password": self.password, "email": self.email}


class KeysSecret(BaseModel):
    """Named values, such as the environment variables of a service."""

    type: Literal["keys"] = "keys"
    id: str | None = None
    name: str
    data: dict[str, str]

    def payload(self) -> dict[str, str]:
        """The `data` that the server stores."""
        return dict(self.data)


SecretLike = PullSecret | KeysSecret


def parse_secret(item: Mapping[str, Any]) -> SecretLike:
    """Read a secret from its JSON form: a `PullSecret` if its type is `docker`, else a `KeysSecret`."""
    data = item.get("data") or {}
    if item.get("type") == "docker":
        return PullSecret(id=item.get("id"), name=item["name"], **data)
    return KeysSecret(id=item.get("id"), name=item["name"], data=data)
