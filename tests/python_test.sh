#!/usr/bin/env bash
# Everything in tests/python, with the build's Python environment and the module of the build.
set -euo pipefail
: "${BUILD_DIR:?the folder of the build}"
python=$BUILD_DIR/venv/bin/python
[[ -x $python ]] || { echo "SKIPPED: no Python environment in $BUILD_DIR/venv (make venv)"; exit 0; }
export PYTHONPATH=$BUILD_DIR/python PYTHONDONTWRITEBYTECODE=1
exec "$python" -m pytest -q -p no:cacheprovider -rfs tests/python
