#!/usr/bin/env bash
# Runs the gateway for the given seconds with simulated cameras that come and go, viewers and garbage; prints a table of
# memory and losses, and fails if memory grows. See scripts/soak.py, or `scripts/soak.py --help`.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v python3 >/dev/null; then
  echo "The soak test needs python3 (on Debian: apt-get install python3)." >&2
  exit 1
fi
exec python3 scripts/soak.py "$@"
