#!/usr/bin/env bash
# Sets itself up and checks everything:  bash test.sh [--slow] [pytest arguments]
#   --slow    also what is long (walks on real data, many kills and races, smallest runs of benchmarks), with coverage
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source setup_env.sh
setup_env requirements-dev.txt
chosen=(-m "not slow")
if [[ "${1:-}" == --slow ]]; then
    shift
    chosen=(--cov=genrec --cov=tencentgr --cov=UR4Rec --cov-report=term:skip-covered)
fi
ruff check .
ruff format --check .
basedpyright
NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet --site-dir "$(mktemp -d)"
# Three processes for two cores: many tests wait for processes that they start.
OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" python -m pytest -n 3 --dist loadfile --no-loadscope-reorder "${chosen[@]}" "$@"
