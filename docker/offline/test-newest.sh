#!/bin/bash
# Runs the unit, contract and integration tests, or those that are named, on the newest servers and the newest Python that
# Debian has: in one container of an image that is built first, without a network. Needs what build-images.sh needs.
set -euo pipefail
cd "$(dirname "$0")/../.."

docker/offline/build-images.sh newest
if [ $# = 0 ]; then set -- tests/unit tests/contract tests/integration; fi
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT

# pip would choose by the version of Python that runs it.
.venv/bin/uv pip compile --quiet --no-deps --generate-hashes --no-header --no-annotate --python-version 3.14 \
    requirements-dev.lock -o "$wheels/requirements.lock"
.venv/bin/pip download --quiet --no-deps --require-hashes --only-binary=:all: --python-version 3.14 \
    --dest "$wheels" -r "$wheels/requirements.lock"

# Tests of servers that are killed look at the processes of other users.
git ls-files --cached --others --exclude-standard -z | tar --null --files-from=- --create |
    docker run --rm --interactive --init --network none --shm-size 1g --cap-add SYS_PTRACE \
        --volume "$wheels:/wheels:ro" --env ALLOCATION_TEST_SERVERS=programs --workdir /src \
        allocation-offline/newest bash -euc '
            tar --extract
            python3 -m venv .venv
            pip=".venv/bin/pip install -qq --no-index --find-links /wheels"
            $pip --require-hashes -r /wheels/requirements.lock
            $pip --no-deps --no-build-isolation -e contracts -e .
            exec .venv/bin/pytest -q -n 2 --dist loadfile \
                -m "not containers and not docs and not long and not ha and not manifests" "$@"
        ' bash "$@"
