#!/bin/bash
# Builds rabbitmq:4-management, postgres:18, redis:8 and python:3.14-slim out of the packages of Debian testing, which has
# the newest servers, for where no image can be pulled. Names, environment variables and ports are those of the official
# images. Needs root, debootstrap and an engine.
# An image that is there already is kept, unless it is one of ours from other sources than these.
# `build-images.sh newest` builds the image of `test-newest.sh`, too.
set -euo pipefail
cd "$(dirname "$0")"

suite=testing
base=allocation-offline/debian:$suite
sources=$(find build-images.sh newest python postgres rabbitmq redis -type f | sort | xargs sha256sum | sha256sum | cut -c1-16)

is_current() {
    local label
    label=$(docker image inspect --format '{{ index .Config.Labels "allocation.offline" }}' "$1" 2>/dev/null) || return 1
    [ "$label" = "$sources" ] || [ -z "$label" ] || [ "$label" = "<no value>" ]
}

# The machine's own mirror, proxy and certificate settings, and no other, lead to Debian's packages.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -1
}

make_base() {
    local root=$work/root
    loudly_if_failed debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$(mirror)"
    apt-config dump | grep -E '^Acquire::(http|https|Check|Retries|Force|Max)' >"$root/etc/apt/apt.conf.d/90host" || true
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    tar -C "$root" -c . | docker import --change "LABEL allocation.offline=$sources" - "$base" >/dev/null
    rm -rf "$root"
}

loudly_if_failed() {
    if ! "$@" >"$work/log" 2>&1; then
        tail -30 "$work/log" >&2
        return 1
    fi
}

build() {
    if is_current "$1"; then
        echo "$1 is there."
        return
    fi
    if ! is_current "$base"; then make_base; fi
    loudly_if_failed docker build --build-arg "BASE=$base" --label "allocation.offline=$sources" --tag "$1" "$2"
    echo "$1 is built."
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build python:3.14-slim python
build postgres:18 postgres
build rabbitmq:4-management rabbitmq
build redis:8 redis
if [ "${1:-}" = newest ]; then build allocation-offline/newest newest; fi
