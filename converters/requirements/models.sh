#!/bin/sh
# Makes `../optimum-models.json` anew out of what the tools in each lock of `optimum` say, installing what is missing.
# Another table is written to the file that is named. `MODELDL_CACHE_DIR` says where toolchains are.
set -eu
cd "$(dirname "$0")"
table=${1:-../optimum-models.json}
facts=$(mktemp -d)
trap 'rm -rf "$facts"' EXIT
set --
# In order of preference.
for lock in optimum optimum-5.0 optimum-4.57 optimum-4.53; do
  environment=$(node ../../dist/bin/modeldl.js toolchain install "$lock")
  python=$environment/bin/python
  [ -x "$python" ] || python=$environment
  HF_HUB_OFFLINE=1 "$python" -I -B -W ignore optimum_models.py read "$lock" > "$facts/$lock.json"
  set -- "$@" "$facts/$lock.json"
done
"$python" -I -B optimum_models.py merge "$@" > "$facts/table.json"
mv "$facts/table.json" "$table"
