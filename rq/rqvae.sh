#!/usr/bin/env bash
# RQ-VAE semantic IDs. Flags: those of rq/rqvae.py --help.
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname "$0")/rqvae.py" "$@"
