"""Keys, secrets, webhooks, services, mailboxes and files of a project: part of `AccountsClient`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from meshagent.api.accounts.rest import Json, RestClient, path_of
from meshagent.api.accounts.secrets import SecretLike, parse_secret
from meshagent.api.accounts.services import Service
from meshagent.api.errors import InvalidRequestError


class ResourceMethods(RestClient):
    """Keys, secrets, webhooks, services, mailboxes and files of a project."""

    # API keys

    async def create_project_api_key(self, project_id: str, name: str, description: str) -> Json:
        """Create a key: `id`, `name`, `description`, and its secret as `token`."""
        return await self._call("POST", _of(project_id, "api-keys"), {"name": name, "description": description})

    async def list_project_api_keys(
        self, project_id: str, *, limit: int | None = None, offset: int | None = None
    ) -> Json:
        """`keys` without their secrets."""
        return await self._call("GET", _of(project_id, "api-keys"), query={"limit": limit, "offset": offset})

    async def decrypt_project_api_key(self, project_id: str, id: str) -> Json:
        """The secret of a key, as `token`."""
        return await self._call("GET", _of(project_id, "api-keys", id, "decrypt"))

    async def delete_project_api_key(self, project_id: str, id: str) -> None:
        """Revoke a key. Participants whose tokens it signed are disconnected."""
        await self._call("DELETE", _of(project_id, "api-keys", id))

    # Secrets

    async def create_secret(self, *, project_id: str, secret: SecretLike) -> str:
        """Store a secret; returns its id."""
        body = {"name": secret.name, "type": secret.type, "data": secret.payload()}
        secret_id: str = (await self._call("POST", _of(project_id, "secrets"), body))["id"]
        return secret_id

    async def update_secret(self, *, project_id: str, secret: SecretLike) -> None:
        """Replace the secret with this one's id.

        Raises:
            InvalidRequestError: It has no id.
        """
        if not secret.id:
            raise InvalidRequestError("a secret needs its id to be updated")
        body = {"name": secret.name, "type": secret.type, "data": secret.payload()}
        await self._call("PUT", _of(project_id, "secrets", secret.id), body)

    async def delete_secret(self, *, project_id: str, secret_id: str) -> None:
        """Delete a secret."""
        await self._call("DELETE", _of(project_id, "secrets", secret_id))

    async def list_secrets(
        self, project_id: str, *, limit: int | None = None, offset: int | None = None
    ) -> list[SecretLike]:
        """The project's secrets with their values."""
        answer = await self._call("GET", _of(project_id, "secrets"), query={"limit": limit, "offset": offset})
        return [parse_secret(item) for item in answer["secrets"]]

    # Webhooks

    async def create_project_webhook(
        self,
        project_id: str,
        name: str,
        url: str,
        events: Sequence[str],
        description: str = "",
        action: str | None = "",
        payload: Any = "",
        *,
        secret: str | None = None,
    ) -> Json:
        """Subscribe `url` to events; `*` is all of them. Returns the webhook with its `id`."""
        body = _webhook(name, url, events, description, action, payload, secret)
        return await self._call("POST", _of(project_id, "webhooks"), body)

    async def update_project_webhook(
        self,
        project_id: str,
        webhook_id: str,
        name: str,
        url: str,
        events: Sequence[str],
        description: str = "",
        action: str | None = None,
        payload: Any = None,
        *,
        secret: str | None = None,
    ) -> Json:
        """Replace a webhook, its secret included."""
        body = _webhook(name, url, events, description, action, payload, secret)
        return await self._call("PUT", _of(project_id, "webhooks", webhook_id), body)

    async def list_project_webhooks(
        self, project_id: str, *, limit: int | None = None, offset: int | None = None
    ) -> Json:
        """`webhooks` of the project."""
        return await self._call("GET", _of(project_id, "webhooks"), query={"limit": limit, "offset": offset})

    async def delete_project_webhook(self, project_id: str, webhook_id: str) -> None:
        """Delete a webhook."""
        await self._call("DELETE", _of(project_id, "webhooks", webhook_id))

    async def enable_project_webhook(self, project_id: str, webhook_id: str) -> Json:
        """Deliver to a webhook that was disabled again; returns the webhook."""
        return await self._call("POST", _of(project_id, "webhooks", webhook_id, "enable"))

    async def disable_project_webhook(self, project_id: str, webhook_id: str) -> Json:
        """Deliver nothing more to a webhook, and give up what waits for it; returns the webhook."""
        return await self._call("POST", _of(project_id, "webhooks", webhook_id, "disable"))

    async def list_webhook_deliveries(
        self,
        project_id: str,
        webhook_id: str,
        *,
        outcome: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Json:
        """`deliveries` of a webhook, newest first.

        Args:
            project_id: The project.
            webhook_id: Its webhook.
            outcome: Only `waiting`, `retrying`, `delivered`, `failed`, `dropped` or `abandoned` ones.
            limit: Most entries in the answer.
            offset: Entries to skip.
        """
        query = {"outcome": outcome, "limit": limit, "offset": offset}
        return await self._call("GET", _of(project_id, "webhooks", webhook_id, "deliveries"), query=query)

    async def get_webhook_delivery(self, project_id: str, webhook_id: str, delivery_id: str) -> Json:
        """One delivery."""
        return await self._call("GET", _of(project_id, "webhooks", webhook_id, "deliveries", delivery_id))

    async def resend_webhook_delivery(self, project_id: str, webhook_id: str, delivery_id: str) -> Json:
        """Send an event again, or try one that waits at once; returns the delivery. Status 409 if disabled."""
        return await self._call("POST", _of(project_id, "webhooks", webhook_id, "deliveries", delivery_id, "resend"))

    async def resend_webhook_deliveries(self, project_id: str, webhook_id: str) -> int:
        """Send all events again that were not delivered; returns how many. Status 409 if the webhook is disabled."""
        answer = await self._call("POST", _of(project_id, "webhooks", webhook_id, "deliveries", "resend"))
        resent: int = answer["resent"]
        return resent

    # Services

    async def create_service(self, *, project_id: str, service: Service) -> Json:
        """Add a service; returns its `id`. Status 409 if its name is already in use."""
        body = service.model_dump(mode="json", exclude_unset=True)
        return await self._call("POST", _of(project_id, "services"), body)

    async def update_service(self, *, project_id: str, service_id: str, service: Service | Mapping[str, Any]) -> Json:
        """Update a service. Members that are not set stay unchanged."""
        body = service.model_dump(mode="json", exclude_unset=True) if isinstance(service, Service) else dict(service)
        return await self._call("PUT", _of(project_id, "services", service_id), body)

    async def get_service(self, *, project_id: str, service_id: str) -> Service:
        """A service.

        Raises:
            InvalidRequestError: The answer of the server is not a service.
        """
        answer = await self._call("GET", _of(project_id, "services", service_id))
        try:
            return Service.model_validate(answer)
        except ValidationError as error:
            raise InvalidRequestError(f"the server's answer is not a service: {error}") from error

    async def list_services(
        self, *, project_id: str, limit: int | None = None, offset: int | None = None
    ) -> list[Service]:
        """The project's services."""
        answer = await self._call("GET", _of(project_id, "services"), query={"limit": limit, "offset": offset})
        return [Service.model_validate(item) for item in answer["services"]]

    async def delete_service(self, *, project_id: str, service_id: str) -> None:
        """Remove a service."""
        await self._call("DELETE", _of(project_id, "services", service_id))

    # Mailboxes

    async def create_mailbox(self, *, project_id: str, address: str, room: str, queue: str) -> Json:
        """Deliver mail for `address` to a queue of a room."""
        body = {"address": address, "room": room, "queue": queue}
        return await self._call("POST", _of(project_id, "mailboxes"), body)

    async def update_mailbox(self, *, project_id: str, address: str, room: str, queue: str) -> None:
        """Deliver mail for an address to another queue."""
        await self._call("PUT", _of(project_id, "mailboxes", address), {"room": room, "queue": queue})

    async def list_mailboxes(
        self, *, project_id: str, limit: int | None = None, offset: int | None = None
    ) -> list[dict[str, str]]:
        """`address`, `room` and `queue` of each."""
        answer = await self._call("GET", _of(project_id, "mailboxes"), query={"limit": limit, "offset": offset})
        mailboxes: list[dict[str, str]] = answer["mailboxes"]
        return mailboxes

    async def delete_mailbox(self, *, project_id: str, address: str) -> None:
        """Delete a mailbox."""
        await self._call("DELETE", _of(project_id, "mailboxes", address))

    # Files

    async def upload(self, *, project_id: str, path: str, data: bytes) -> None:
        """Write a file of the project."""
        await self._send(_of(project_id, "storage", "upload"), data, query={"path": path})

    async def download(self, *, project_id: str, path: str) -> bytes:
        """The content of a file of the project."""
        return await self._fetch(_of(project_id, "storage", "download"), query={"path": path})


def _of(project_id: str, *parts: str) -> str:
    return path_of("accounts", "projects", project_id, *parts)


def _webhook(
    name: str,
    url: str,
    events: Sequence[str],
    description: str,
    action: str | None,
    payload: Any,
    secret: str | None,
) -> dict[str, Any]:
    body = {"name": name, "description": description, "url": url, "events": list(events)}
    return body | {"action": action, "payload": payload} | ({} if secret is None else {"secret": secret})
