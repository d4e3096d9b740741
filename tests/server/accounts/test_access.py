"""Who a bearer token belongs to, and what its holder may do in a project."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from meshagent.api.errors import NotFoundError, PermissionDeniedError
from meshagent.api.tokens.token import ParticipantToken
from meshagent.server.accounts.access import ApiAuthenticator, Caller, Role, UnauthenticatedError
from meshagent.server.accounts.keys import KeyRing
from meshagent.server.accounts.people import People
from meshagent.server.accounts.records import Project, User
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.accounts.tokens import TokenIssuer


class Site:
    """A project with its keys, and an authenticator."""

    def __init__(self, store: AccountsStore, keys: KeyRing) -> None:
        self.store = store
        self.keys = keys
        self.people = People(store)
        self.authenticator = ApiAuthenticator(store, keys, admin_token="admin token")


async def _ignore(project_id: str, key_id: str) -> None:
    return None


@pytest.fixture
async def site(store: AccountsStore) -> Site:
    await store.projects.add(Project(id="p", name="p"))
    await store.users.add(User(id="u", email="ada@example.com"))
    return Site(store, KeyRing(store, default_project_id="p", default_key_id="k", on_revoked=_ignore))


async def test_each_kind_of_token_names_its_holder(site: Site) -> None:
    key = await site.keys.create("p", name="ci", description="", created_by=None)
    _, text = await site.people.create_token("u", name="laptop", days=None)
    assert (await site.authenticator.identify("admin token")).kind == "administrator"
    assert await site.authenticator.identify(text) == Caller(kind="user", name="ada@example.com", user_id="u")
    assert (await site.authenticator.identify(key.secret)).project_id == "p"


@pytest.mark.parametrize("bearer", [None, "", "nobody's", "ma-broken", "Admin token", "\udcff"])
async def test_other_tokens_are_refused(site: Site, bearer: str | None) -> None:
    with pytest.raises(UnauthenticatedError):
        await site.authenticator.identify(bearer)


async def test_an_expired_token_is_refused(site: Site) -> None:
    token, text = await site.people.create_token("u", name="", days=1)
    expired = {"expires_at": datetime.now(UTC) - timedelta(seconds=1)}
    await site.store.user_tokens.update(expired, id=token.id)
    with pytest.raises(UnauthenticatedError, match="expired"):
        await site.authenticator.identify(text)


async def test_a_role_includes_those_below_it(site: Site) -> None:
    await site.people.add_member("p", user_id="u", email=None, role=Role.DEVELOPER)
    user = Caller(kind="user", name="ada", user_id="u")
    require = site.authenticator.require_role
    assert await require(user, "p", Role.MEMBER) == Role.DEVELOPER
    with pytest.raises(PermissionDeniedError, match="your role is developer"):
        await require(user, "p", Role.ADMIN)


async def test_strangers_cannot_tell_whether_a_project_exists(site: Site) -> None:
    strangers = [Caller(kind="user", name="x", user_id="u"), Caller(kind="key", name="k", project_id="other")]
    for caller in strangers:
        texts = set()
        for project_id in ("p", "nowhere"):
            with pytest.raises(PermissionDeniedError) as refused:
                await site.authenticator.require_role(caller, project_id, Role.MEMBER)
            texts.add(str(refused.value))
        assert len(texts) == 1
    administrator = Caller(kind="administrator", name="administrator")
    with pytest.raises(NotFoundError):
        await site.authenticator.require_role(administrator, "nowhere", Role.MEMBER)


async def test_issued_tokens_open_one_room_and_end_with_the_servers_key(site: Site) -> None:
    jwt = await TokenIssuer(site.keys).issue("p", room_name="r", name="ada", role="user")
    key = await site.keys.server_key("p")
    token = ParticipantToken.from_jwt(jwt, token=key.secret)
    assert (token.name, token.role, token.project_id, token.api_key_id) == ("ada", "user", "p", key.id)
    assert [grant.scope for grant in token.grants if grant.name == "room"] == ["r"]
    with pytest.raises(NotFoundError):
        await TokenIssuer(site.keys).issue("nowhere", room_name="r", name="ada")
