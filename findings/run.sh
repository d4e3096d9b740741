#!/bin/sh
# Runs the scripts that are named, without `.sh`, or all; exits with status 1 if one of them finds a change.
set -u
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- $(ls *.sh | sed 's/\.sh$//' | grep -v -x -e lib -e run)
status=0
for name in "$@"; do
  sh "$name.sh" || status=1
done
exit $status
