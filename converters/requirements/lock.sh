#!/bin/sh
# Makes every lock (`<name>.txt`) anew from what it is to hold (`<name>.in`), or those that are named. Needs `uv`.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- *.in
for wanted; do
  name=${wanted%.in}
  uv pip compile "$name.in" --output-file "$name.txt" --universal --python-version 3.10 --generate-hashes \
    --no-emit-index-url --no-header --no-annotate --quiet
done
