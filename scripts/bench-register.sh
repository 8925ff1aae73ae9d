#!/usr/bin/env bash
# Registrations and keepalives of simulated devices (sipp, over UDP, with digest) against this gateway and against
# Kamailio on this machine. Prints the CPU time that each takes for one, the ratio, and memory for a device and a
# channel.
#
#   scripts/bench-register.sh [DEVICES [REGISTRATIONS]]    GBGATE=target/release/gbgate RATE=1000 TURNS=5
#
# Both servers run all the time and take turns under the same load, so that what disturbs the machine disturbs both;
# the median of the turns counts, and the least and the most are told. CPU time is that of all threads of a server, as
# the scheduler counts it, without what it uses when nobody asks anything. A turn in which a call fails does not count.
# Devices answer what the platform asks of new ones, before anything is measured. The gateway keeps each registration on disk before it says 200,
# Kamailio keeps them in memory alone.
set -euo pipefail
cd "$(dirname "$0")/.."
devices=${1:-2000} count=${2:-10000} rate=${RATE:-1000} turns=${TURNS:-5}
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

# The processes of a server: itself and its children.
family() { echo "$1"; pgrep -P "$1" || true; }
# CPU time of all its threads so far, in nanoseconds.
cpu() {
  local pid
  for pid in $(family "$1"); do cat /proc/"$pid"/task/*/schedstat 2>/dev/null; done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}
# Memory of its own, in bytes: private pages, and its share of those that processes share.
memory() {
  local sum=0 pid
  for pid in $(family "$1"); do
    [ -r "/proc/$pid/smaps_rollup" ] && sum=$((sum + $(awk '/^Pss:/ {print $2}' "/proc/$pid/smaps_rollup")))
  done
  echo $((sum * 1024))
}

{ echo SEQUENTIAL
  for ((i = 0; i < devices; i++)); do
    id=$(printf '3402000000132%07d' "$i")
    echo "$id;[authentication username=$id password=12345678]"
  done
} >"$work/devices.csv"

# load NAME ADDRESS SCENARIO COUNT: false if a call failed
load() {
  (cd "$work" && sipp "$2" -sf "$scenarios/$3.xml" -oocsf "$scenarios/answer.xml" -inf devices.csv -i 127.0.0.1 \
    -p 15070 -r "$rate" -m "$4" -l 2000 -nostdin -trace_err -error_file "$1-$3.err" >"$1-$3.log" 2>&1)
}

# turn NAME PID ADDRESS SCENARIO: adds to the file NAME-SCENARIO the microseconds of CPU for one
turn() {
  local before begin base spent
  before=$(cpu "$2"); sleep 3
  base=$((($(cpu "$2") - before) / 3))
  before=$(cpu "$2") begin=$(date +%s%N)
  if load "$1" "$3" "$4" "$count"; then
    spent=$(($(date +%s%N) - begin))
    awk -v used=$(($(cpu "$2") - before)) -v base="$base" -v ns="$spent" -v n="$count" \
      'BEGIN { printf "%.2f\n", (used - base * ns / 1e9) / n / 1000 }' >>"$work/$1-$4"
  else
    echo "sipp: some of $1/$4 failed; this turn does not count:" >&2
    grep -E 'Failed call|Retrans' "$work/$1-$4.log" | tail -4 >&2 || true
  fi
}
# median, least and most of a file of figures
of() { sort -n "$work/$1" 2>/dev/null | awk '{ a[NR] = $1 } END { if (NR) printf "%.1f %.1f %.1f", a[int((NR + 1) / 2)], a[1], a[NR]; else print "- - -" }'; }

sed 's/ADDRESS/127.0.0.1:15060/' "$scenarios/kamailio.cfg" >"$work/kamailio.cfg"
kamailio -DD -E -f "$work/kamailio.cfg" -m 256 -M 16 -Y "$work" >"$work/kamailio.out" 2>&1 &
pids+=($!) kamailio=$!
mkdir "$work/data"
(cd "$work/data" && exec env GBGATE_HTTP__LISTEN=127.0.0.1:15080 GBGATE_SIP__UDP=127.0.0.1:15061 GBGATE_SIP__TCP=127.0.0.1:15061 \
  GBGATE_WEBRTC__UDP=127.0.0.1:0 GBGATE_WEBRTC__TCP=127.0.0.1:0 GBGATE_SIP__PASSWORD=12345678 GBGATE_MEDIA__PORTS=0 \
  GBGATE_SIP__KEEPALIVE__INTERVAL=1h "GBGATE_REGISTRY__URL=embedded:$work/data/registry" \
  "$gbgate" serve) >"$work/gbgate.out" 2>&1 &
pids+=($!) gateway=$!
sleep 3
kill -0 "$kamailio" 2>/dev/null || { tail -5 "$work/kamailio.out" >&2; exit 1; }
kill -0 "$gateway" 2>/dev/null || { tail -5 "$work/gbgate.out" >&2; exit 1; }

# Each takes its devices up. Transactions stay for 32 s after their answer; what that takes is no memory of a device.
declare -A device
for name in kamailio gbgate; do
  [ $name = gbgate ] && pid=$gateway address=127.0.0.1:15061 || pid=$kamailio address=127.0.0.1:15060
  before=$(memory "$pid")
  load $name $address register "$devices" || true
  sleep "${SETTLE:-45}"
  device[$name]=$((($(memory "$pid") - before) / devices))
done
for ((n = 0; n < turns; n++)); do
  for scenario in register keepalive; do
    turn kamailio "$kamailio" 127.0.0.1:15060 $scenario
    turn gbgate "$gateway" 127.0.0.1:15061 $scenario
  done
done

# Memory of a channel, and the time to take in a catalog: one device with many. The sleep lets transactions end.
if [ "${CHANNELS:-100000}" -gt 0 ]; then
  sleep "${SETTLE:-45}"
  synced() { curl -sf 127.0.0.1:15080/metrics | awk '/^gbgate_catalog_sync_seconds_sum/ {print $2}' || true; }
  before=$(memory "$gateway") synced_before=$(synced)
  channels=${CHANNELS:-100000}
  (cd "$work" && exec "$gbgate" simulate --server 127.0.0.1:15061 --server-id 34020000002000000001 \
    --domain 3402000000 --devices 1 --channels "$channels" --page 50) >"$work/simulate.out" 2>&1 &
  pids+=($!)
  for ((n = 0; n < 120; n++)); do
    grep -qs "catalog complete.*received=$channels" "$work/gbgate.out" && break
    sleep 1
  done
  sleep "${SETTLE:-45}"
  channel=$((($(memory "$gateway") - before) / channels))
  catalog=$(awk -v a="$synced_before" -v b="$(synced)" 'BEGIN { printf "%.1f", b - a }')
fi

report() { printf '  %-52s %22s %22s\n' "$@"; }
spread() { read -r median least most <<<"$(of "$1")"; echo "$median ($least-$most)"; }
echo "$devices devices; $turns turns of $count registrations and as many keepalives at $rate a second; UDP, digest MD5 with qop"
report '' gbgate kamailio
report 'CPU of a registration (two REGISTERs), us' "$(spread gbgate-register)" "$(spread kamailio-register)"
report 'CPU of a keepalive, us' "$(spread gbgate-keepalive)" "$(spread kamailio-keepalive)"
per_second() { read -r median _ <<<"$(of "$1")"; awk -v us="$median" 'BEGIN { printf "%.0f", (us > 0) ? 1e6 / us : 0 }'; }
report 'registrations for a second of CPU' "$(per_second gbgate-register)" "$(per_second kamailio-register)"
report 'keepalives for a second of CPU' "$(per_second gbgate-keepalive)" "$(per_second kamailio-keepalive)"
report 'memory of a registered device, bytes' "${device[gbgate]}" "${device[kamailio]}"
report 'memory of a channel, bytes' "${channel:--}" -
report "catalog of ${channels:-no} channels taken in, s" "${catalog:--}" -
read -r a _ <<<"$(of gbgate-register)"; read -r b _ <<<"$(of kamailio-register)"
read -r c _ <<<"$(of gbgate-keepalive)"; read -r d _ <<<"$(of kamailio-keepalive)"
awk -v a="$a" -v b="$b" -v c="$c" -v d="$d" \
  'BEGIN { printf "  for a second of CPU, gbgate : kamailio: registrations %.2f, keepalives %.2f\n", b / a, d / c }'
