#!/usr/bin/env bash
# Install schnetpack below Python 3.12, where its metadata refuse what its code supports.
#
# schnetpack 2.2.0 declares Python >= 3.12 but runs on 3.11; 2.1.1 allows 3.11 but caps sympy below
# what torch needs. From 3.12 on the extra `train` installs it in the ordinary way.
set -euo pipefail
python=${1:?usage: schnetpack.sh PYTHON}

if "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then
  "$python" -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
    --constraint "$(dirname "$0")/constraints.txt" --editable ".[schnetpack]"
  "$python" -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
    --no-deps --ignore-requires-python "schnetpack==2.2.0"
fi
