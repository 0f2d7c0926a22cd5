#!/usr/bin/env bash
# Why a model missed; all flags go to analyze_badcase.py, e.g. --model sft --category Industrial_and_Scientific --top_k 10
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/analyze_badcase.py" "$@"
