#!/bin/sh
# Writes constraints-lowest.txt: the lowest versions that pyproject.toml admits, and what they need in turn. PYTHON is an
# interpreter with `packaging`. What pyproject.toml names too low for its other dependencies stops this with a message.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-.venv/bin/python}" scripts/lowest.py > "$folder/lowest.txt"
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$folder/lowest.txt"
{
    echo "# The lowest versions that pyproject.toml admits, and what they need in turn. Regenerate: make constraints"
    "$folder/venv/bin/python" -m pip freeze --exclude pip --exclude setuptools | LC_ALL=C sort -f
} > "$folder/constraints-lowest.txt"
mv "$folder/constraints-lowest.txt" constraints-lowest.txt
