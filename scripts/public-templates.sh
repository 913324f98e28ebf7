#!/usr/bin/env bash
# public-templates.sh FOLDER: the chat templates of some seventy public models, from a package of the Python index (77 MB, fetched
# once) that carries them to test its own interpreter with.
set -euo pipefail
folder=${1:?the folder for the templates}
package=llama-cpp-python version=0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
[[ $(cat "$folder/version" 2>/dev/null) == "$version" ]] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Fetching $package $version" >&2
echo "$package==$version --hash=sha256:$sha256" >"$work/requirement.txt"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary="$package" -d "$work" -r "$work/requirement.txt"
rm -rf "$folder"
mkdir -p "$folder"
tar xzf "$work"/*.tar.gz -C "$folder" --strip-components=5 --wildcards '*/models/templates/*.jinja'
echo "$version" >"$folder/version"
