#!/usr/bin/env bash
# The index of RQ-Kmeans+: nothing to do after rqkmeans_plus.sh, which writes it; alone it does the whole.
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname "$0")/rqkmeans_plus.py" "$@"
