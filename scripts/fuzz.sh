#!/usr/bin/env bash
# Runs each fuzz target (or those named) for the given seconds with libFuzzer, from fuzz/seeds and what earlier runs
# found in fuzz/corpus. What fails is left in fuzz/artifacts.
#
#   scripts/fuzz.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
shift || true
if ! command -v c++ >/dev/null; then
  echo "libFuzzer needs a C++ compiler (on Debian: apt-get install g++)." >&2
  exit 1
fi
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --version ^0.13 --locked
# The sanitiser's flags need a nightly compiler, or a stable one that is told to act as such.
export RUSTC_BOOTSTRAP=1
all=$(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -v gbgate-fuzz)
failed=()
cargo fuzz build
built=fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release
export ASAN_OPTIONS=detect_odr_violation=0
for target in ${@:-$all}; do
  mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
  log=$(mktemp)
  printf '%-14s' "$target"
  # An input that takes 5 s or 1 GB is a failure, too.
  if ! "$built/$target" "fuzz/corpus/$target" fuzz/seeds -artifact_prefix="fuzz/artifacts/$target/" \
    -max_total_time="$seconds" -max_len=16384 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 >"$log" 2>&1; then
    failed+=("$target")
    printf 'FAILED\n'
    tail -n 60 "$log"
  fi
  awk '/stat::number_of_executed_units/ {runs = $2} /stat::peak_rss_mb/ {rss = $2} / cov: / {for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1)}
    END {printf "%12d runs, %6d places covered, %4d MB\n", runs, cov, rss}' "$log"
  rm -f "$log"
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}; the inputs are in fuzz/artifacts" >&2
  exit 1
fi
