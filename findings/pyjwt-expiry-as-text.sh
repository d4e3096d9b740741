#!/bin/sh
# A token whose times are texts is good, and its claims stay texts.
#
# Versions: PyJWT 2.15.1
# Expected: RFC 7519 has `exp`, `nbf` and `iat` as numbers, so that a token with `"exp": "1900000000"` is refused. A
#   `datetime` without a time zone is the local time, as in `datetime.timestamp`. Any `datetime` claim is encoded.
# Observed: texts of whole numbers are accepted and enforced, and handed out as texts. A `datetime` without a time
#   zone counts as UTC. In other claims a `datetime` is a TypeError.
# In the product: times are checked by the product's own code, which takes numbers only
#   (`src/meshagent/api/tokens/token.py`).
. "$(dirname "$0")/lib.sh"
install PyJWT==2.15.1
TZ=America/New_York
export TZ
run_python <<'PY'
from datetime import UTC, datetime

import jwt

KEY = "a key that is long enough for HMAC-SHA-256"


def decoded(claims: dict[str, object]) -> object:
    try:
        return jwt.decode(jwt.encode(claims, KEY), KEY, algorithms=["HS256"])
    except (jwt.InvalidTokenError, TypeError) as error:
        return type(error).__name__


print(decoded({"exp": "1900000000"}))
print(decoded({"exp": "1000000000"}))
print(decoded({"nbf": "1000000000"}))
print(decoded({"iat": "1000000000"}))
noon = datetime(2035, 1, 1, 12)
exp = decoded({"exp": noon})["exp"]
print("UTC" if exp == noon.replace(tzinfo=UTC).timestamp() else "local")
print(decoded({"birthday": noon}))
PY
expect <<'END'
{'exp': '1900000000'}
ExpiredSignatureError
{'nbf': '1000000000'}
{'iat': '1000000000'}
UTC
TypeError
END
