#!/usr/bin/env bash
# The whole run, raw reviews -> a language model that recommends -> its place among the baselines: `genrec run`.
#
#   bash pipeline_0.5b.sh --config config/quickstart.yaml --yes      a laptop, minutes, real data
#   bash pipeline_0.5b.sh                                            the reference run: one GPU, a model hub
#   bash pipeline_0.5b.sh --help                                     every flag
#
# It makes an environment where none is active, and writes below this checkout, wherever it is called from.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$root/setup_env.sh"
setup_env requirements.txt
GENREC_HOME="$root" exec python -m genrec run "$@"
