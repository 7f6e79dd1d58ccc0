#!/usr/bin/env bash
# icpgate beside nginx and HAProxy: installs what is missing, builds the program as it is shipped, measures.
# Clients of our own are built by run.py, where a case needs them.
#
#   loadtest/run.sh                         everything: about twelve minutes, and the build
#   loadtest/run.sh --quick                 a first impression: about three
#   loadtest/run.sh --cases json,html --rounds 9 --program PATH
#   loadtest/run.sh --help                  all options
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin
case " $* " in
    *' --help '* | *' -h '*) exec python3 loadtest/run.py "$@" ;;
esac
scripts/setup loadtest
if [ "$(nproc)" -lt 2 ]; then
    echo 'loadtest: two cores are needed, one for the server and one for everything else' >&2
    exit 1
fi
ulimit -n "$(ulimit -Hn)"
target=${CARGO_TARGET_DIR:-target}
given=(--program "$target/dist/icpgate")
case " $* " in
    *' --program'*) ;;
    *' --quick '* | *' --cases '*) scripts/dist ;;
    *)
        # The same program, but that it can be told to keep no records; the one that is shipped is built last.
        mkdir -p "$target/loadtest"
        scripts/dist --features unrecorded
        cp "$target/dist/icpgate" "$target/loadtest/icpgate-unrecorded"
        given+=(--without-records "$target/loadtest/icpgate-unrecorded")
        scripts/dist
        ;;
esac
exec python3 loadtest/run.py "${given[@]}" "$@"
