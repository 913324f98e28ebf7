#!/usr/bin/env bash
# docs.sh FOLDER: the documents as a site, with the build's Python environment or one of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?the folder of the site}
python=$(dirname "$folder")/venv/bin/python
if ! "$python" -c 'import material' 2>/dev/null; then
  python=$(dirname "$folder")/venv-docs/bin/python
  [[ -x $python ]] || python3 -m venv "$(dirname "$folder")/venv-docs"
  # shellcheck disable=SC2046
  "$python" -m pip install --quiet --disable-pip-version-check $(grep -E '^mkdocs(-material)?==' python/requirements.txt)
fi
log=$(NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --strict --site-dir "$(realpath "$folder")" 2>&1) ||
  { echo "$log" >&2; exit 1; }
echo "$folder/index.html"
