#!/usr/bin/env bash
# Score models on held-out rows; all flags go to evaluate.py, e.g. --base_model DIR --category Industrial_and_Scientific
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/evaluate.py" "$@"
