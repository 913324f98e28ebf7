#!/usr/bin/env bash
# python-venv.sh FOLDER [REQUIREMENTS]: a Python environment with the packages that python/requirements.txt (or
# REQUIREMENTS, of the same folder) pins. Quiet when FOLDER holds them already.
set -euo pipefail
folder=${1:?the folder of the environment}
requirements=$(dirname "$0")/../python/${2:-requirements.txt}
cmp -s "$requirements" "$folder/requirements.txt" && exit 0

python=/usr/bin/python3  # Debian's own, which sees Debian's modules
[[ -x $python ]] || python=python3
echo "Installing the packages of python/$(basename "$requirements") into $folder" >&2
"$python" -m venv --system-site-packages "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
cp "$requirements" "$folder/requirements.txt"
