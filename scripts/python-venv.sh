#!/usr/bin/env bash
# python-venv.sh FOLDER: a Python environment with the packages that python/requirements.txt pins. Quiet when FOLDER
# holds them already.
set -euo pipefail
requirements=$(dirname "$0")/../python/requirements.txt
folder=${1:?the folder of the environment}
cmp -s "$requirements" "$folder/requirements.txt" && exit 0

python=/usr/bin/python3  # Debian's own, which sees Debian's modules
[[ -x $python ]] || python=python3
echo "Installing the packages of python/requirements.txt into $folder" >&2
"$python" -m venv --system-site-packages "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
cp "$requirements" "$folder/requirements.txt"
