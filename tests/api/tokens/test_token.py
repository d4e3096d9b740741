"""Participant tokens: claims, roles, signing (protocol 4)."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt as pyjwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt.types import Options

from meshagent.api.errors import InvalidRequestError
from meshagent.api.tokens import ApiKey, TokenExpiredError
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantGrant, ParticipantToken

SECRET = "0123456789abcdef0123456789abcdef"
REFERENCE = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJuYW1lIjoiYWxpY2UiLCJncmFudHMiOlt7Im5hbWUiOiJyb29tIiwic2NvcGUiOiJteS1yb"
    "29tIn0seyJuYW1lIjoicm9sZSIsInNjb3BlIjoidXNlciJ9XSwic3ViIjoicDEiLCJraWQiOiJrMSJ9.v15-0CHIyRsxToZ3qTWUqXkIiIpVQu"
    "QIPWDosO1WF3c"
)


def make_token(**options: Any) -> ParticipantToken:
    return ParticipantToken(name="alice", project_id="p1", api_key_id="k1", **options)


def test_the_reference_token_is_made_and_read_byte_for_byte() -> None:
    token = make_token()
    token.add_room_grant("my-room")
    token.add_role_grant("user")
    assert token.to_jwt(token=SECRET) == REFERENCE
    assert ParticipantToken.from_jwt(REFERENCE, token=SECRET).to_json() == token.to_json()


def test_the_key_id_is_a_claim_and_not_a_header() -> None:
    assert pyjwt.get_unverified_header(make_token().to_jwt(secret=SECRET)) == {"alg": "HS256", "typ": "JWT"}


def test_a_room_grant_can_bring_a_role() -> None:
    token = make_token()
    token.add_room_grant(room_name="my-room", role="agent")
    assert token.grants == [
        ParticipantGrant(name="room", scope="my-room"),
        ParticipantGrant(name="role", scope="agent"),
    ]
    assert token.allows_room("my-room")
    assert not token.allows_room("my-room2")


@pytest.mark.parametrize(
    ("roles", "role"),
    [([], "user"), (["user"], "user"), (["agent"], "agent"), (["user", "agent"], "agent"), (["tool", "agent"], "tool")],
)
def test_the_first_role_that_is_not_user_decides(roles: list[str], role: str) -> None:
    token = make_token()
    for name in roles:
        token.add_role_grant(name)
    assert (token.role, token.is_user) == (role, role == "user")


def test_tunnel_ports_may_be_numbers() -> None:
    token = make_token()
    token.add_tunnel_grant([9000, "9001"])
    assert token.grant_scope("tunnel_ports") == "9000,9001"
    assert token.grant_scope("nothing") is None


def test_both_names_of_the_secret_sign_alike_and_must_agree() -> None:
    token = make_token()
    assert token.to_jwt(secret=SECRET) == token.to_jwt(token=SECRET) == token.to_jwt(token=SECRET, secret=SECRET)
    with pytest.raises(InvalidRequestError, match="two names"):
        token.to_jwt(token=SECRET, secret="other")
    with pytest.raises(InvalidRequestError, match="two names"):
        ParticipantToken.from_jwt(REFERENCE, token=SECRET, secret="other")


def test_the_default_secret_comes_from_the_environment_and_drops_the_key_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHAGENT_SECRET", SECRET)
    text = make_token().to_jwt()
    assert "kid" not in pyjwt.decode(text, SECRET, algorithms=["HS256"])
    assert ParticipantToken.from_jwt(text).api_key_id is None
    explicit = make_token().to_jwt(secret="other")
    assert ParticipantToken.from_jwt(explicit, secret="other").api_key_id == "k1"


def test_without_any_secret_the_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESHAGENT_SECRET", raising=False)
    with pytest.raises(InvalidRequestError, match="MESHAGENT_SECRET"):
        make_token().to_jwt()
    with pytest.raises(InvalidRequestError, match="empty secret"):
        make_token().to_jwt(secret="")


def test_short_secrets_work_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = make_token().to_jwt(secret="your-api-secret")
        assert ParticipantToken.from_jwt(text, secret="your-api-secret").name == "alice"


def test_another_secret_or_no_signature_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="signature"):
        ParticipantToken.from_jwt(REFERENCE, secret="other")
    unsigned = pyjwt.encode({"name": "eve", "grants": []}, key="", algorithm="none")
    with pytest.raises(InvalidRequestError, match="HS256"):
        ParticipantToken.from_jwt(unsigned, secret=SECRET)
    critical = pyjwt.encode({"name": "eve", "grants": []}, SECRET, headers={"crit": ["x"], "x": 1})
    with pytest.raises(InvalidRequestError, match="HS256"):
        ParticipantToken.from_jwt(critical, secret=SECRET)
    with pytest.raises(InvalidRequestError, match="signature"):
        ParticipantToken.from_jwt(REFERENCE, secret="")
    assert ParticipantToken.from_jwt(REFERENCE, validate=False).project_id == "p1"


def test_a_public_key_is_not_a_secret() -> None:
    with pytest.raises(InvalidRequestError, match="asymmetric"):
        make_token().to_jwt(secret="ssh-rsa AAAA")


@given(st.integers(0, len(REFERENCE) - 1), st.sampled_from("aZ09-_.=\n \u00e9"))
def test_no_changed_character_goes_unnoticed(at: int, character: str) -> None:
    changed = REFERENCE[:at] + character + REFERENCE[at + 1 :]
    if changed == REFERENCE or at == len(REFERENCE) - 1:
        return  # the last character of a signature holds two bits that no byte needs
    with pytest.raises(InvalidRequestError):
        ParticipantToken.from_jwt(changed, secret=SECRET)


@given(
    st.dictionaries(st.text(), st.integers(-(2**70), 2**70) | st.text() | st.none()), st.text(min_size=1, max_size=40)
)
def test_both_ways_agree_with_the_reference_implementation(extra: dict[str, Any], secret: str) -> None:
    claims = extra | {"name": "a", "grants": []}
    claims = {key: value for key, value in claims.items() if key not in ("sub", "kid", "version", "exp", "nbf")}
    options: Options = {"verify_aud": False, "verify_iat": False, "verify_iss": False, "verify_jti": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pyjwt.warnings.InsecureKeyLengthWarning)
        theirs = pyjwt.encode(claims | {"iss": "x"}, secret)
        ours = ParticipantToken.from_jwt(theirs, secret=secret)
        assert ours.to_json() | ours.extra_payload == claims | {"iss": "x"}
        assert pyjwt.decode(ours.to_jwt(secret=secret), secret, ["HS256"], options=options) == claims | {"iss": "x"}


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "a.b", REFERENCE[:-1] + "\u2026", "eyJhbGciOiJIUzI1NiJ9.WzFd.x"])
def test_what_is_no_token_is_an_invalid_request(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        ParticipantToken.from_jwt(text, secret=SECRET)
    with pytest.raises(InvalidRequestError):
        ParticipantToken.from_jwt(text, validate=False)


def test_expiry_is_written_in_whole_seconds_and_enforced() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    token = ParticipantToken.from_jwt(make_token().to_jwt(secret=SECRET, expiration=soon), secret=SECRET)
    assert token.extra_payload == {"exp": int(soon.timestamp())}
    past = make_token().to_jwt(secret=SECRET, expiration=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(TokenExpiredError):
        ParticipantToken.from_jwt(past, secret=SECRET)
    assert ParticipantToken.from_jwt(past, validate=False).name == "alice"


def test_other_claims_survive_and_never_win_over_the_tokens_own() -> None:
    extra = {"max_runtime_seconds": 5, "name": "mallory", "aud": "someone", "iat": 9999999999, "deep": {"a": [1, None]}}
    read = ParticipantToken.from_jwt(make_token(extra_payload=extra).to_jwt(secret=SECRET), secret=SECRET)
    assert read.name == "alice"
    assert read.extra_payload == {key: value for key, value in extra.items() if key != "name"}


def test_unknown_grants_and_the_version_survive() -> None:
    claims = {"name": "a", "grants": [{"name": "future", "scope": {"x": 1}}, {"name": "site", "scope": None}]}
    assert ParticipantToken.from_json(claims).to_json() == claims
    assert ParticipantToken.from_json(claims | {"version": "0.56.0"}).to_json() == claims | {"version": "0.56.0"}


@pytest.mark.parametrize(
    "claims",
    [
        {"grants": []},
        {"name": "a"},
        {"name": 1, "grants": []},
        {"name": "a", "grants": {}},
        {"name": "a", "grants": [{"name": "room"}]},
        {"name": "a", "grants": ["room"]},
        {"name": "a", "grants": [{"name": 1, "scope": "x"}]},
        {"name": "a", "grants": [], "sub": 1},
    ],
)
def test_broken_claims_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        ParticipantToken.from_json(claims)


def test_the_api_grant_round_trips_as_plain_json() -> None:
    token = make_token()
    assert token.get_api_grant() == ApiScope.room_default()
    token.add_api_grant(ApiScope.agent_default())
    read = ParticipantToken.from_jwt(token.to_jwt(secret=SECRET), secret=SECRET)
    assert read.get_api_grant() == ApiScope.agent_default()
    assert read.grant_scope("api")["storage"] == {}


@given(
    name=st.text(),
    ids=st.tuples(st.none() | st.text(), st.none() | st.text()),
    grants=st.lists(st.tuples(st.text(max_size=5), st.none() | st.text(max_size=5)), max_size=4),
    secret=st.text(min_size=1).filter(lambda text: not text.startswith(("-----", "ssh-", "ecdsa-"))),
)
def test_every_token_survives_signing(
    name: str, ids: tuple[str | None, str | None], grants: list[tuple[str, str | None]], secret: str
) -> None:
    token = ParticipantToken(
        name=name,
        project_id=ids[0],
        api_key_id=ids[1],
        grants=[ParticipantGrant(name=grant, scope=scope) for grant, scope in grants],
    )
    read = ParticipantToken.from_jwt(token.to_jwt(secret=secret), secret=secret)
    assert json.dumps(read.to_json()) == json.dumps(token.to_json())


@given(st.uuids(), st.uuids(), st.text(min_size=1).map(str.strip).filter(bool))
def test_every_uuid_key_has_a_one_line_form(project: Any, key: Any, secret: str) -> None:
    api_key = ApiKey(project_id=str(project), key_id=str(key), secret=secret)
    assert ApiKey.decode(api_key.encode()) == api_key


def test_a_one_line_key_has_four_parts_and_22_characters_per_id() -> None:
    api_key = ApiKey(
        project_id="f" * 8 + "-ffff-ffff-ffff-" + "f" * 12, key_id="fbefbefb-efbe-fbef-befb-efbefbefbefb", secret="a-b"
    )
    prefix, key, project, *secret = api_key.encode().split("-")
    assert (prefix, len(key), project, secret) == ("ma", 22, "_" * 21 + "w", ["a", "b"])
    assert "." in key
    assert "a-b" not in repr(api_key)


@pytest.mark.parametrize(
    "text", ["", "ma-", "ma-a-b-c", "xx-" + "A" * 22 + "-" + "A" * 22 + "-s", "ma-" + "A" * 22 + "-" + "A" * 22 + "-"]
)
def test_what_is_no_api_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ApiKey.decode(text)
    assert len(text) < 4 or text not in str(caught.value)


def test_ids_that_are_no_uuids_have_no_one_line_form() -> None:
    with pytest.raises(InvalidRequestError, match="UUID"):
        ApiKey(project_id="your-project-id", key_id="k", secret="s").encode()
