#!/usr/bin/env bash
# Install the built wheel as a user would, outside the clone, and run the benchmark from there.
set -euo pipefail
python=${1:-python3}
here=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m venv "$place/venv"
wheel=$(ls "$here"/dist/nabladft-*.whl)
"$place/venv/bin/pip" install --quiet --constraint "$here/requirements/constraints.txt" "$wheel[train,label]"
cd "$place"
venv/bin/nabladft info nano
venv/bin/nabladft info mini # it is left out of the wheel, and says so
venv/bin/nabladft split check nano
venv/bin/nabladft benchmark nano "${@:2}"
