#!/usr/bin/env bash
# Compares icpgate with nginx and HAProxy: installs what is missing, builds the release program, measures.
# run.py builds the load test's own clients when a case needs them.
#
#   loadtest/run.sh                         everything: about twelve minutes, plus the build
#   loadtest/run.sh --quick                 a first impression: about three minutes
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
        # The program that can run without records; the release program is built last.
        mkdir -p "$target/loadtest"
        scripts/dist --features unrecorded
        cp "$target/dist/icpgate" "$target/loadtest/icpgate-unrecorded"
        given+=(--without-records "$target/loadtest/icpgate-unrecorded")
        scripts/dist
        ;;
esac
exec python3 loadtest/run.py "${given[@]}" "$@"
