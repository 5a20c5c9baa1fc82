#!/bin/sh
# Lambda hands over its interpreter and the start of its own loop, which cannot stream. The interpreter is kept.
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}${LAMBDA_RUNTIME_DIR:-/var/runtime}"
exec "$1" -u "$LAMBDA_TASK_ROOT/runtime.py"
