#!/bin/bash
# Ends the Docker engine that start-dockerd.sh started, and its containers; leaves any other engine alone.
set -euo pipefail

pidfile=/run/allocation-docker/dockerd.pid

if [ ! -e "$pidfile" ]; then
    echo "No Docker engine of ours is running."
    exit 0
fi

engine=$(cat "$pidfile")
kill "$engine" 2>/dev/null || true
for _ in $(seq 150); do
    if ! kill -0 "$engine" 2>/dev/null; then
        # The engine leaves its own network namespace mounted.
        umount /run/allocation-docker/exec/netns/default 2>/dev/null || true
        echo "The Docker engine has ended."
        exit 0
    fi
    sleep 0.2
done
echo "The Docker engine (process $engine) does not end." >&2
exit 1
