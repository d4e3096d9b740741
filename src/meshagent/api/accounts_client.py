"""The client of the accounts REST API and its models, under the names that existing programs import."""

from meshagent.api.accounts.client import AccountsClient, Meshagent
from meshagent.api.accounts.projects import ProjectRole
from meshagent.api.accounts.secrets import KeysSecret, PullSecret, SecretLike
from meshagent.api.accounts.services import Endpoint, Port, Service, Services

__all__ = [
    "AccountsClient",
    "Endpoint",
    "KeysSecret",
    "Meshagent",
    "Port",
    "ProjectRole",
    "PullSecret",
    "SecretLike",
    "Service",
    "Services",
]
