#!/bin/bash
# Starts a Docker engine by hand, where no service manager does; stop-dockerd.sh ends it.
# An engine that answers already is used as it is. It listens where $DOCKER_HOST says, if that is set.
# Its data stay in $ALLOCATION_DOCKER_DATA, so that images are kept.
set -euo pipefail

run=/run/allocation-docker
data=${ALLOCATION_DOCKER_DATA:-/var/cache/allocation-docker}

if docker info >/dev/null 2>&1; then
    echo "A Docker engine answers already."
    exit 0
fi

mkdir -p "$run" "$data"

answers() {
    for _ in $(seq 100); do
        if docker info >/dev/null 2>&1; then return 0; fi
        if ! kill -0 "$1" 2>/dev/null; then return 1; fi
        sleep 0.2
    done
    return 1
}

# Inside some sandboxes overlay mounts or iptables are refused: from the best to what always works.
for flags in "" "--storage-driver=vfs" "--storage-driver=vfs --iptables=false --bridge=none"; do
    # shellcheck disable=SC2086 # the flags are words
    setsid dockerd --host "${DOCKER_HOST:-unix:///var/run/docker.sock}" --data-root "$data" --exec-root "$run/exec" --pidfile "$run/dockerd.pid" $flags \
        >"$run/dockerd.log" 2>&1 </dev/null &
    engine=$!
    if answers "$engine"; then
        echo "A Docker engine is up (process $engine${flags:+, with $flags})."
        exit 0
    fi
    kill "$engine" 2>/dev/null || true
    wait "$engine" 2>/dev/null || true
done

tail -20 "$run/dockerd.log" >&2
echo "No Docker engine could be started; its last words are above." >&2
exit 1
