#!/usr/bin/env bash
# The console, out of web/: `console.sh build PYTHON`, `console.sh test`, `console.sh lint`.
# Without Node it says so in a sentence and ends well: everything else works without a console.
set -euo pipefail
cd "$(dirname "$0")/.."
verb=$1
python=$(realpath -s "${2:-.venv/bin/python}")

leave() {
  echo "The console was not $1. Everything else works without it."
  exit 0
}

new_enough='const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'
case $verb in build) word=built ;; test) word=tested ;; *) word=linted ;; esac
node -e "$new_enough" 2>/dev/null || leave "$word: it needs Node 20.19 or later; run make install again once it is there"
cd web

case $verb in
  build)
    npm ci --silent --no-progress || leave "$word: its packages could not be fetched; run make install again with a network"
    "$python" ../scripts/write_openapi.py openapi.json
    npm run --silent client >/dev/null
    npm run --silent build -- --logLevel warn
    ;;
  *)
    [ -d node_modules ] || leave "$word: make install has not fetched its packages"
    npm run --silent "$verb"
    ;;
esac
