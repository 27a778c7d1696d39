#!/bin/sh
# Installs what `make` needs and this machine lacks: "python" (venv), "servers" (RabbitMQ, PostgreSQL, PgBouncer, Redis and
# Prometheus programs), "chaos" (iptables), "ha" (iptables and etcd), "manifests" (kubectl and systemd), or "docs" (Node.js,
# npm and Chromium).
# Only on Debian as root; elsewhere it says in one sentence what to install.
set -eu

lacks_venv() { ! "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null; }
has_docker() { docker info >/dev/null 2>&1; }
has_docs_programs() { command -v node && command -v npm && command -v chromium; } >/dev/null
has_programs() { [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

has_prometheus() { command -v prometheus && command -v promtool && command -v prometheus-node-exporter; } >/dev/null

install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "Please install $*, then run make again." >&2
        exit 1
    fi
    echo "Installing $* with apt-get." >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Where Node.js is there already, Debian's may be another: only what is missing is installed.
install_docs_programs() {
    missing=
    command -v node >/dev/null || missing="$missing nodejs"
    command -v npm >/dev/null || missing="$missing npm"
    command -v chromium >/dev/null || missing="$missing chromium"
    # shellcheck disable=SC2086
    install $missing
}

case "$1" in
python) ! lacks_venv || install python3-venv ;;
servers)
    if [ "${ALLOCATION_TEST_SERVERS:-}" != given ] && ! has_docker && ! has_programs; then
        install rabbitmq-server postgresql
    fi
    # Only our own tests use them. Without root, they say that they are missing.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! PATH="$PATH:/usr/sbin" command -v pgbouncer >/dev/null; then
        install pgbouncer
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! has_prometheus; then
        install prometheus prometheus-node-exporter
    fi
    if [ "${ALLOCATION_TEST_SERVERS:-}" != given ] && ! has_docker && ! command -v redis-server >/dev/null; then
        install redis-server
    fi
    ;;
chaos) command -v iptables >/dev/null || install iptables ;;
ha)
    command -v iptables >/dev/null || install iptables
    command -v etcd >/dev/null || install etcd-server
    ;;
manifests)
    command -v kubectl >/dev/null || install kubernetes-client
    command -v systemd-analyze >/dev/null || install systemd
    ;;
docs) has_docs_programs || install_docs_programs ;;
esac
