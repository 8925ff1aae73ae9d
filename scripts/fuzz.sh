#!/usr/bin/env bash
# Runs each fuzz target for the given seconds with libFuzzer. What it finds is left in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --version ^0.13 --locked
# The sanitiser's flags need a nightly compiler, or a stable one that is told to act as such.
export RUSTC_BOOTSTRAP=1
for target in $(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -v gbgate-fuzz); do
  mkdir -p "fuzz/corpus/$target"
  echo "== $target, $seconds s"
  cargo fuzz run "$target" "fuzz/corpus/$target" fuzz/seeds -- -max_total_time="$seconds" -max_len=65536 -print_final_stats=1 -verbosity=0
done
