#!/bin/sh
# Runs the quick tests of the SDK and the server, as `make check` does, in an environment of their own:
#   scripts/other-versions.sh py313 | lowest | newest [arguments for pytest]
# py313   Python 3.13, with the versions of constraints.txt
# lowest  the lowest Python and the lowest versions that pyproject.toml admits
# newest  the newest versions that there are
# An environment is made again when what it is made from has changed; `newest` is made each time.
set -eu
cd "$(dirname "$0")/.."
which=${1:?py313, lowest or newest}
shift

# An interpreter of a version: on the PATH, or one of pyenv's. Shims that lead nowhere do not count.
find_python() {
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}

install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

case $which in
    py313) version=3.13 venv=.venv-3.13 ;;
    lowest) version=3.11 venv=.venv-lowest ;;
    newest) venv=.venv-newest version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])') ;;
    *) echo "$0: py313, lowest or newest, not $which" >&2 && exit 2 ;;
esac
python=$(find_python "$version")
if [ -z "$python" ]; then
    echo "SKIPPED: the tests with Python $version, which is not installed here"
    exit 0
fi

state=$(cat pyproject.toml constraints.txt constraints-lowest.txt requirements-dev.txt scripts/other-versions.sh | cksum | cut -d' ' -f1)
if [ ! -e "$venv/.made-$state" ] || [ "$which" = newest ]; then
    echo "making $venv with $("$python" --version) ..."
    rm -rf "$venv"
    "$python" -m venv "$venv"
    case $which in
        py313) install --constraint constraints.txt --editable ".[all]" --requirement requirements-dev.txt ;;
        lowest) install --requirement constraints-lowest.txt && install --no-deps --editable . ;;
        newest) install --upgrade --editable ".[all]" --requirement requirements-dev.txt ;;
    esac
    touch "$venv/.made-$state"
fi

if [ $# = 0 ]; then
    set -- tests/api tests/server
fi
echo "testing with $("$python" --version) in $venv"
export HYPOTHESIS_PROFILE="${HYPOTHESIS_PROFILE:-quick}"
exec "$venv/bin/python" -m pytest -q -n "${WORKERS:-auto}" -m "not slow and not postgresql" "$@"
