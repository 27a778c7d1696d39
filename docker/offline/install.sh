#!/bin/bash
# Installs what the scripts here and the container tests need, if it is missing: an engine, compose and debootstrap.
# Only on Debian as root; elsewhere it says in one sentence what to install.
set -euo pipefail

has_compose() { docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null; }

packages=()
command -v dockerd >/dev/null || packages+=(docker.io)
command -v debootstrap >/dev/null || packages+=(debootstrap)
has_compose || packages+=(docker-compose)

if [ ${#packages[@]} = 0 ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Please install ${packages[*]}, then try again." >&2
    exit 1
fi
echo "Installing ${packages[*]} with apt-get."
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
