#!/bin/sh
# Makes .venv with the newest suitable Python, unless it is there already. PYTHON names another interpreter.
set -eu

suits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -x .venv/bin/python ] && suits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; then
    exit 0
fi

found=""
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if suits "$candidate"; then
        found="$candidate"
        break
    fi
done
if [ -z "$found" ]; then
    echo "Python 3.11 or later is needed; name it with: make PYTHON=/path/to/python" >&2
    exit 1
fi

echo "making .venv with $("$found" --version)"
# Some systems ship Python without the part that puts pip into an environment; then their own pip can do it.
if "$found" -m venv --clear .venv >/dev/null 2>&1; then
    exit 0
fi
if "$found" -m venv --clear --without-pip .venv && "$found" -m pip --python .venv/bin/python install --quiet pip; then
    exit 0
fi
rm -rf .venv
version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
echo "$found cannot make an environment with pip. On Debian and Ubuntu: apt install python$version-venv" >&2
exit 1
