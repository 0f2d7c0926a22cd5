#!/usr/bin/env bash
# Sets itself up and runs all tests:  bash test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source setup_env.sh
setup_env requirements-dev.txt
ruff check .
ruff format --check .
OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" python -m pytest -n auto --dist loadfile "$@"
