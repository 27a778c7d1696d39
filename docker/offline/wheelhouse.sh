#!/bin/bash
# Downloads the wheels that the worker's image is made of: wheelhouse.sh FOLDER [PYTHON VERSION, such as 3.14]
# Run it where the registry is reached, and have FOLDER as wheels/ in the build context where it is not.
set -euo pipefail

folder=$(realpath -m "$1")
version=${2:-3.14}
cd "$(dirname "$0")/../.."

for lock in requirements.lock docker/requirements-build.lock; do
    "${PYTHON:-.venv/bin/python}" -m pip download --quiet --require-hashes --only-binary=:all: \
        --python-version "$version" --dest "$folder" -r "$lock"
done
