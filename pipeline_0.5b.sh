#!/usr/bin/env bash
# The whole run, one line a stage: raw reviews -> a language model that recommends -> its place among the baselines.
#
#   bash pipeline_0.5b.sh --config config/quickstart.yaml --yes      a laptop, five minutes, real data
#   bash pipeline_0.5b.sh                                            the reference run (config/0.5b.yaml): one GPU, a model hub
#
#   --yes            ask nothing (also when there is no terminal)      --dry-run    print the plan
#   --from STAGE     begin there     --to STAGE   end there            --skip A,B   leave stages out
#   --iterate N      then N rounds: change what the analysis advises, run again from there, keep it if better
#   anything else    goes to every stage: --config FILE, --sft.learning_rate 3e-4, --clean, ... (python sft.py --help)
#
# A finished stage is "up to date" and not run again; a killed run goes on where it was.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

stages() {
    stage data        data/prepare.py                    # raw reviews    -> catalogue, sequences, splits
    stage embeddings  rq/text2emb/amazon_text2emb.py     # item text      -> vectors
    stage sids        rq/generate_indices.py             # vectors        -> semantic IDs
    stage convert     convert_dataset.py                 # an export in MiniOneRec's layout, for other tools
    stage sequential  sequential.py                      # the honest opponent: SASRec on the same rows
    stage sft         sft.py                             # tasks          -> a language model that answers in semantic IDs
    stage rl          rl.py                              # rewards        -> the same model, if valid says that RL helped
    stage evaluation  evaluate.py                        # held-out rows  -> HR, NDCG, example users
    stage analysis    analyze_badcase.py                 # misses         -> their causes, a page to read
    advise                                               # causes         -> the configuration that should help
}

yes="" dry="" from="" to="" skip="" iterate="" flags=()
while (($#)); do
    case "$1" in
        --yes) yes=1 ;;
        --dry-run) dry=1 ;;
        --from | --to | --skip | --iterate)
            (($# > 1)) || { echo "error: $1 needs a value" >&2; exit 2; }
            printf -v "${1#--}" '%s' "$2"; shift ;;
        -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$root/pipeline_0.5b.sh"; exit 0 ;;
        *) flags+=("$1") ;;
    esac
    shift
done
[[ -t 0 ]] || yes=1
known=" $(sed -n 's/^    stage \([a-z]*\) .*/\1/p' "$root/pipeline_0.5b.sh" | tr '\n' ' ')"
for name in $from $to ${skip//,/ }; do
    [[ "$known" == *" $name "* ]] || { echo "error: no stage '$name'; there are:$known" >&2; exit 2; }
done
[[ -z "$from" || -z "$to" || "$from" == "$to" || "$known" == *" $from "*" $to "* || "$known" == *" $from $to "* ]] ||
    { echo "error: --to $to comes before --from $from" >&2; exit 2; }

stage() { # name script: run it, unless it is outside --from/--to, in --skip, or the person says no
    [[ -n "$from" && "$1" != "$from" ]] && return 0
    from=""
    [[ -n "$done_" ]] && return 0
    [[ "$1" == "$to" ]] && done_=1
    [[ ",$skip," == *",$1,"* ]] && { skipped "$1"; return 0; }
    [[ -n "$dry" ]] && { python "$root/$2" "${flags[@]}" --dry-run; return; }
    ask "$1" || { skipped "$1"; return 0; }
    python "$root/$2" "${flags[@]}" | tee -a "$logs/$1.log" # bars and errors go straight to the terminal
    ran="$1"
}

advise() { # when the analysis was run or is up to date: what it advises, as an overlay of the configuration
    [[ "$ran" == analysis ]] || return 0
    local rows=""
    [[ "$(setting evaluate.split)" == test ]] || rows=_valid
    python "$root/optimization_strategies.py" --auto_recommend --output_config "$run/optimized_config.json" \
        --badcase_report "$run/analysis$rows/$(basename "$(setting analysis.model)")" | tee -a "$logs/advice.log"
}

setting() { # key: its value under the flags of this call
    PYTHONPATH="$root" python -m genrec.commandline "$1" "${flags[@]}"
}

skipped() { # name: the table does without the models that need it, and so does RL, unless it was run before
    local told
    mapfile -t told < <(PYTHONPATH="$root" python -m genrec.models.families "$1" "${flags[@]}")
    echo "$1: skipped"
    flags+=(--evaluate.models "${told[0]}")
    [[ -z "${told[1]}" ]] || { echo "${told[1]}"; skip+=",rl"; }
}

ask() { # name: run (0), skip (1) or quit
    [[ -n "$yes" ]] && return 0
    local answer method
    read -rp "$1: [r]un, [s]kip or [q]uit? [r] " answer
    case "$answer" in s*) return 1 ;; q*) exit 0 ;; esac
    if [[ "$1" == sids ]]; then
        read -rp "  method: rqkmeans_plus (recommended), rqvae, rqkmeans (quickest), rqkmeans_constrained? [as configured] " method
        [[ -z "$method" ]] || flags+=(--sids.method "$method")
    fi
}

source "$root/setup_env.sh"
setup_env requirements.txt
run="$(setting run.dir)" # a typo anywhere ends here, before any work
logs="$run/logs" ran="" done_=""
[[ -n "$dry" ]] || mkdir -p "$logs"
stages
[[ -z "$iterate" ]] || python "$root/iterate.py" "${flags[@]}" --rounds "$iterate" ${dry:+--dry-run}
