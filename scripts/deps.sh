#!/usr/bin/env bash
# Says what a build (or the tests) need and this machine lacks, and installs it where that is possible.
set -euo pipefail

declare -A package=(
  [cc]=gcc [chromium]=chromium [chromedriver]=chromium-driver [ffprobe]=ffmpeg [sipp]=sip-tester
  [redis-server]=redis-server [kamailio]=kamailio
)
case "${1:-build}" in
  build) needed=(cc) ;;
  test) needed=(cc chromium chromedriver ffprobe redis-server) ;;
  bench) needed=(cc sipp kamailio) ;;
  *) echo "usage: $0 build|test|bench" >&2; exit 2 ;;
esac

if ! command -v cargo >/dev/null; then
  echo "gbgate needs Rust 1.95 or newer, and there is no cargo on this machine." >&2
  echo "Install it from https://rustup.rs or your distribution, then run this again." >&2
  exit 1
fi

missing=()
for tool in "${needed[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "Missing: ${missing[*]} (named as Debian's packages). Install them and run this again." >&2
  exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Missing: ${missing[*]}. As root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  sudo=sudo
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
