#!/usr/bin/env bash
# Registrations and keepalives of simulated devices (sipp, over UDP, with digest) against this gateway and against
# Kamailio, one after the other on this machine. Prints the CPU time that each takes for one, and memory for a device.
#
#   scripts/bench-register.sh [DEVICES [REGISTRATIONS]]    GBGATE=target/release/gbgate RATE=1000
#
# The gateway keeps each registration on disk (in a temporary directory) before it says 200; Kamailio keeps them in
# memory alone. The CPU that a server uses when nobody asks anything is measured before and taken off.
set -euo pipefail
cd "$(dirname "$0")/.."
devices=${1:-2000} count=${2:-20000} rate=${RATE:-1000}
gbgate=${GBGATE:-target/release/gbgate}
missing=()
command -v sipp >/dev/null || missing+=(sip-tester)
command -v kamailio >/dev/null || [ -x /usr/sbin/kamailio ] || missing+=(kamailio)
if [ ${#missing[@]} -gt 0 ]; then
  echo "This benchmark needs more: apt-get install ${missing[*]}" >&2
  exit 1
fi
[ -x "$gbgate" ] || { echo "There is no $gbgate: run make build" >&2; exit 1; }
gbgate=$(realpath "$gbgate")
PATH=$PATH:/usr/sbin
scenarios=$PWD/benches/sipp
work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
tick=$(getconf CLK_TCK)

# The processes of a server: itself and its children.
family() { echo "$1"; pgrep -P "$1" || true; }
# CPU time so far, user and system, in microseconds.
cpu() {
  local sum=0 pid
  for pid in $(family "$1"); do
    [ -r "/proc/$pid/stat" ] && sum=$((sum + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{print $12 + $13}')))
  done
  echo $((sum * 1000000 / tick))
}
# Memory of its own, in bytes: private pages, and its share of those that processes share.
memory() {
  local sum=0 pid
  for pid in $(family "$1"); do
    [ -r "/proc/$pid/smaps_rollup" ] && sum=$((sum + $(awk '/^Pss:/ {print $2}' "/proc/$pid/smaps_rollup")))
  done
  echo $((sum * 1024))
}
# The CPU it uses when nobody asks, in microseconds a second.
idle() { local before; before=$(cpu "$1"); sleep 4; echo $((($(cpu "$1") - before) / 4)); }

{ echo SEQUENTIAL
  for ((i = 0; i < devices; i++)); do
    id=$(printf '3402000000132%07d' "$i")
    echo "$id;[authentication username=$id password=12345678]"
  done
} >"$work/devices.csv"

# load NAME ADDRESS SCENARIO COUNT
load() {
  if ! (cd "$work" && sipp "$2" -sf "$scenarios/$3.xml" -oocsf "$scenarios/answer.xml" -inf devices.csv -i 127.0.0.1 \
    -p 15070 -r "$rate" -m "$4" -l 2000 -nostdin -trace_err -error_file "$1-$3.err" >"$1-$3.log" 2>&1); then
    echo "sipp: some of $1/$3 failed:" >&2
    grep -E 'Failed call|Retrans' "$work/$1-$3.log" | tail -4 >&2 || true
  fi
}

# measure NAME PID ADDRESS SCENARIO COUNT: microseconds of CPU for one
measure() {
  local base before begin end
  base=$(idle "$2")
  before=$(cpu "$2") begin=$(date +%s%N)
  load "$1" "$3" "$4" "$5"
  end=$(date +%s%N)
  awk -v used=$(($(cpu "$2") - before)) -v base="$base" -v ns=$((end - begin)) -v n="$5" \
    'BEGIN { printf "%.1f", (used - base * ns / 1e9) / n }'
}

# run NAME PID ADDRESS: sets registration, keepalive and device of that name
run() {
  local before
  before=$(memory "$2")
  load "$1" "$3" register "$devices"
  printf -v "$1_device" %s $((($(memory "$2") - before) / devices))
  # Each took its devices up; what that brings with it, such as queries, is not what is measured here.
  sleep "${SETTLE:-15}"
  printf -v "$1_register" %s "$(measure "$1" "$2" "$3" register "$count")"
  printf -v "$1_keepalive" %s "$(measure "$1" "$2" "$3" keepalive "$count")"
}

sed 's/ADDRESS/127.0.0.1:15060/' "$scenarios/kamailio.cfg" >"$work/kamailio.cfg"
kamailio -DD -E -f "$work/kamailio.cfg" -m 256 -M 16 -Y "$work" >"$work/kamailio.out" 2>&1 &
pids+=($!) kamailio=$!
sleep 2
kill -0 "$kamailio" 2>/dev/null || { tail -5 "$work/kamailio.out" >&2; exit 1; }
run kamailio "$kamailio" 127.0.0.1:15060
kill "$kamailio"; wait "$kamailio" 2>/dev/null || true

mkdir "$work/data"
(cd "$work/data" && exec env GBGATE_HTTP__LISTEN=127.0.0.1:15080 GBGATE_SIP__UDP=127.0.0.1:15061 GBGATE_SIP__TCP=127.0.0.1:15061 \
  GBGATE_WEBRTC__UDP=127.0.0.1:0 GBGATE_WEBRTC__TCP=127.0.0.1:0 GBGATE_SIP__PASSWORD=12345678 GBGATE_MEDIA__PORTS=0 \
  GBGATE_SIP__KEEPALIVE__INTERVAL=1h "GBGATE_REGISTRY__URL=embedded:$work/data/registry" \
  "$gbgate" serve) >"$work/gbgate.out" 2>&1 &
pids+=($!) gateway=$!
sleep 3
kill -0 "$gateway" 2>/dev/null || { tail -5 "$work/gbgate.out" >&2; exit 1; }
run gbgate "$gateway" 127.0.0.1:15061

# Memory of a channel: one device with many.
before=$(memory "$gateway")
channels=${CHANNELS:-20000}
"$gbgate" simulate --help 2>/dev/null | grep -q -- --channels && {
  (cd "$work" && exec "$gbgate" simulate --server 127.0.0.1:15061 \
    --server-id 34020000002000000001 --domain 3402000000 --devices 1 --channels "$channels") \
    >"$work/simulate.out" 2>&1 &
  pids+=($!)
  sleep "${SYNC:-20}"
  channel=$((($(memory "$gateway") - before) / channels))
}

report() { printf '  %-46s %12s %12s\n' "$@"; }
echo "$devices devices, $count registrations and as many keepalives, at most $rate a second, UDP, digest MD5 with qop"
report '' gbgate kamailio
report 'CPU of a registration (two REGISTERs), us' "$gbgate_register" "$kamailio_register"
report 'CPU of a keepalive, us' "$gbgate_keepalive" "$kamailio_keepalive"
per_second() { awk -v us="$1" 'BEGIN { printf "%.0f", (us > 0) ? 1e6 / us : 0 }'; }
report 'registrations for a second of CPU' "$(per_second "$gbgate_register")" "$(per_second "$kamailio_register")"
report 'keepalives for a second of CPU' "$(per_second "$gbgate_keepalive")" "$(per_second "$kamailio_keepalive")"
report 'memory of a registered device, bytes' "$gbgate_device" "$kamailio_device"
report 'memory of a channel, bytes' "${channel:--}" -
awk -v a="$gbgate_register" -v b="$kamailio_register" -v c="$gbgate_keepalive" -v d="$kamailio_keepalive" \
  'BEGIN { printf "  gbgate : kamailio, a registration %.2f, a keepalive %.2f times the CPU\n", a / b, c / d }'
