#!/usr/bin/env bash
# icpgate beside nginx: the same job, one core each, loopback only. What is measured: loadtest/README.md.
#
#   ROUNDS=5 DURATION=4 CONNECTIONS=64   how often, for how many seconds, over how many connections
#   ICPGATE=target/dist/icpgate          the program; built when it is not given
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5}
duration=${DURATION:-4}
connections=${CONNECTIONS:-64}
goal=5000
host=www.example.cn
server_core=1
client_core=0

PATH=$PATH:/usr/sbin
missing=()
for tool in wrk nginx curl openssl python3 taskset; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "loadtest: missing: ${missing[*]}; on Debian: apt-get install wrk nginx-light curl openssl python3 util-linux" >&2
    exit 1
fi
if [ "$(nproc)" -lt 2 ]; then
    echo "loadtest: two cores are needed, one for the server and one for everything else" >&2
    exit 1
fi
nginx=$(command -v nginx)
generators=(wrk)
if command -v oha >/dev/null; then
    generators+=(oha)
else
    echo "loadtest: there is no oha (cargo install oha): wrk alone is used"
fi
if [ -z "${ICPGATE:-}" ]; then
    cargo build --locked --profile dist
    ICPGATE=${CARGO_TARGET_DIR:-target}/dist/icpgate
fi

folder=$(mktemp -d)
started=()
finish() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap finish EXIT

# All at once, so that none is given out twice.
read -r origin_port edge_port admin_port peer_port < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(socket.getsockname()[1] for socket in sockets))')

source loadtest/files.sh
write_files

# start NAME CORE COMMAND...: in the background, on one core; its pid is in $started, and in $pid_NAME.
start() {
    local name=$1 core=$2
    shift 2
    taskset -c "$core" "$@" >"$folder/$name.log" 2>&1 &
    started+=($!)
    printf -v "pid_$name" '%s' $!
}
start origin $client_core "$nginx" -p "$folder" -c "$folder/origin.conf"
start nginx $server_core "$nginx" -p "$folder" -c "$folder/peer.conf"
start icpgate $server_core "$ICPGATE" run --config "$folder/icpgate.yaml"
declare -A port=([icpgate]=$edge_port [nginx]=$peer_port)
declare -A pid=([icpgate]=$pid_icpgate [nginx]=$pid_nginx)

fetch() {
    curl --silent --fail --cacert "$folder/chain.pem" --resolve "$host:$1:127.0.0.1" "${@:3}" "https://$host:$1$2"
}

# Both do the whole job, or the comparison is void.
for peer in icpgate nginx; do
    at=${port[$peer]}
    fetch "$at" / --retry 50 --retry-delay 0 --retry-connrefused --retry-max-time 10 -o "$folder/page" ||
        { echo "loadtest: $peer does not answer:" >&2; cat "$folder/$peer.log" >&2; exit 1; }
    [ "$(grep -c 京ICP备2024012345号-1 "$folder/page")" -eq 1 ] || { echo "loadtest: $peer: no footer" >&2; exit 1; }
    fetch "$at" /data.json | cmp - "$folder/site/data.json"
    if curl --silent --insecure --resolve "unfiled.example.net:$at:127.0.0.1" "https://unfiled.example.net:$at/" >"$folder/out"; then
        echo "loadtest: $peer serves an unfiled host" >&2
        exit 1
    fi
    printf 'negotiated with %-8s' "$peer"
    openssl s_client -connect "127.0.0.1:$at" -servername $host </dev/null 2>/dev/null | sed -n 's/^New, \(.*\)/\1/p'
done

# Milliseconds of CPU that a process has used.
cpu() {
    awk -v tick="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) * 1000 / tick }' "/proc/$1/stat"
}

# generate GENERATOR URL SECONDS: prints requests, requests a second and p99 in ms.
generate() {
    local output=$folder/output at=${2#https://*:}
    at=${at%%/*}
    case $1 in
        wrk)
            taskset -c $client_core wrk --threads 1 --connections "$connections" --duration "${3}s" --latency \
                --script loadtest/loopback.lua "$2" >"$output"
            python3 loadtest/figures.py wrk <"$output"
            ;;
        oha)
            taskset -c $client_core oha --no-tui --output-format json -z "${3}s" -c "$connections" \
                --cacert "$folder/chain.pem" --connect-to "$host:$at:127.0.0.1:$at" "$2" >"$output"
            python3 loadtest/figures.py oha <"$output"
            ;;
    esac
}

echo
echo "machine: $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r), load average $(cut -d ' ' -f 1 /proc/loadavg)"
echo "icpgate: $("$ICPGATE" --version), commit $(git describe --always --dirty 2>/dev/null || echo unknown)"
echo "nginx:   $("$nginx" -v 2>&1)"
echo "runs:    $rounds rounds of $duration s for each, $connections connections, HTTP/1.1 over TLS"
declare -A path=([json]=/data.json [html]=/)
for generator in "${generators[@]}"; do
    for case in json html; do
        for ((round = 1; round <= rounds; round++)); do
            # Each goes first in every other round.
            peers=(icpgate nginx)
            [ $((round % 2)) -eq 1 ] || peers=(nginx icpgate)
            for peer in "${peers[@]}"; do
                url=https://$host:${port[$peer]}${path[$case]}
                generate "$generator" "$url" 1 >/dev/null
                before=$(cpu "${pid[$peer]}")
                read -r requests rate p99 < <(generate "$generator" "$url" "$duration")
                used=$(awk "BEGIN { print $(cpu "${pid[$peer]}") - $before }")
                echo "$generator $case $peer $requests $rate $p99 $used" >>"$folder/figures"
                echo "$generator $case $peer: $requests requests, $rate/s, p99 $p99 ms, CPU $used ms"
            done
        done
    done
done

python3 loadtest/figures.py table $goal <"$folder/figures" && met=0 || met=$?
asked=$(awk '$3 == "icpgate" { all += $4 } END { print all }' "$folder/figures")
echo "records: $(curl --silent "http://127.0.0.1:$admin_port/metrics" | sed -n 's/^icpgate_access_records_total //p') kept," \
    "$(curl --silent "http://127.0.0.1:$admin_port/metrics" | sed -n 's/^icpgate_access_records_lost_total //p') lost;" \
    "$asked requests in the runs above, more to warm up"
exit $met
