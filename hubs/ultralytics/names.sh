#!/bin/sh
# Makes `names.ts` anew after a change of the lock `ultralytics`, installing it if it is missing.
set -eu
cd "$(dirname "$0")"
environment=$(node ../../dist/bin/modeldl.js toolchain install ultralytics)
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
YOLO_OFFLINE=true YOLO_AUTOINSTALL=false YOLO_VERBOSE=false YOLO_CONFIG_DIR="$made" \
  "$environment/bin/python" -I -B names.py > "$made/names.ts"
mv "$made/names.ts" names.ts
npx prettier --write names.ts
