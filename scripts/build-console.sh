#!/usr/bin/env bash
# Builds the console into pumice/api/static: a client out of the server's OpenAPI document, then the pages.
# Without Node it says so and ends well: the server runs without a console.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}

if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null; then
  echo "The console was not built: it needs Node 20.19 or later. Everything else works; run make install again once Node is there."
  exit 0
fi
if ! { cd web && npm ci --silent --no-progress; }; then
  echo "The console was not built: its packages could not be fetched. Everything else works; run make install again with a network."
  exit 0
fi
"$OLDPWD/$python" ../scripts/write_openapi.py openapi.json 2>/dev/null || "$python" ../scripts/write_openapi.py openapi.json
npm run --silent client
npm run --silent build
