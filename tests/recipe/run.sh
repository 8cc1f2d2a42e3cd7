#!/usr/bin/env bash
# The README's import-and-watch recipe with real files: 200,000 flights from the npm package vega-datasets are imported
# while a second process tails the log; what came out must equal what went in. Takes the binary's path.
set -euo pipefail
tailwater=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

npm pack --silent vega-datasets@3 > /dev/null
tar -xzf vega-datasets-*.tgz package/data/flights-200k.json

"$tailwater" watch --dir store --wait 60 --from oldest --db vega --collection flights --count 200000 > events.jsonl &
"$tailwater" import --dir store --db vega --collection flights package/data/flights-200k.json
wait $!
python3 "$here/compare.py" package/data/flights-200k.json events.jsonl
"$tailwater" log verify --dir store

# More files in Extended JSON, when TAILWATER_SAMPLES names a directory of them.
for file in ${TAILWATER_SAMPLES:+"$TAILWATER_SAMPLES"/*.json}; do
  name=$(basename "$file" .json)
  "$tailwater" import --dir store --db sample --collection "$name" "$file"
  "$tailwater" watch --dir store --db sample --collection "$name" --from oldest --no-follow > events.jsonl
  python3 "$here/compare.py" "$file" events.jsonl
done
