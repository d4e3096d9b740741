# Sourced by the scripts of this folder; see README.md.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

install() {
  "${PYTHON:-python3}" -m venv "$folder/venv"
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" 2>"$folder/pip.log" ||
    { cat "$folder/pip.log" >&2; exit 2; }
}

install_node() {
  (cd "$folder" && npm install --silent --no-fund --no-audit "$@") || exit 2
}

run_python() {
  (cd "$folder" && venv/bin/python -) >>"$folder/observed"
}

run_node() {
  cat >"$folder/program.mjs"
  (cd "$folder" && node program.mjs) >>"$folder/observed"
}

expect() {
  cat >"$folder/expected"
  if diff -u "$folder/expected" "$folder/observed"; then
    echo "$(basename "$0"): as described"
  else
    echo "$(basename "$0"): behaves differently now" >&2
    exit 1
  fi
}
