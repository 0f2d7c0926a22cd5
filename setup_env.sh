# Sourced by the other scripts: choose a Python environment, and install a requirements file and this project when
# either has changed.
#   setup_env requirements.txt      uses the active virtual or conda environment, else makes and uses .venv
#   GENREC_TORCH_INDEX=URL          where torch comes from; https://download.pytorch.org/whl/cpu has the small CPU build
# Runs under bash 3.2 (macOS).

setup_env() {
    local root environment stamp hash
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
    [[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]] || make_environment "$root" || return 1
    environment="${VIRTUAL_ENV:-$CONDA_PREFIX}"
    check_python "$environment" || return 1
    stamp="$environment/.genrec-installed"
    hash="$(hash_project "$root")" || return 1
    grep -qxF "$hash $1" "$stamp" 2>/dev/null && return 0
    allow_base || return 1
    announce_size "$1" "$environment"
    install_torch "$root" && install_rest "$root" "$1" || return 1
    printf '%s\n' "$hash $1" "$hash requirements.txt" >"$stamp" # every other file includes that one
}

make_environment() { # root: make .venv unless it is there, and activate it
    local python
    if [[ ! -x "$1/.venv/bin/python" ]]; then
        python="$(find_python)" || return 1
        echo "setup: making a virtual environment in .venv"
        "$python" -m venv "$1/.venv" || return 1
    fi
    source "$1/.venv/bin/activate"
}

find_python() {
    local name
    for name in python3.11 python3.12 python3 python; do
        case "$(probe_python "$name")" in 3.11\ * | 3.12\ *)
            echo "$name"
            return
            ;;
        esac
    done
    echo "setup: needs Python 3.11 or 3.12 on the PATH" >&2
    return 1
}

probe_python() { # name: its version and the environment it belongs to; nothing where it cannot be run
    "$1" -c 'import os, sys; sys.stdout.write("%d.%d " % sys.version_info[:2] + os.path.realpath(sys.prefix))' 2>/dev/null
}

check_python() { # environment: that `python` is its own and of a version we support
    local version prefix
    read -r version prefix <<<"$(probe_python python)"
    if [[ "$prefix" != "$(cd "$1" && pwd -P)" ]]; then
        echo "setup: \`python\` belongs to ${prefix:-no environment}, the active environment is $1;" \
            "activate one environment with a Python of its own, or none (then .venv is made)" >&2
        return 1
    fi
    [[ "$version" == 3.11 || "$version" == 3.12 ]] && return 0
    echo "setup: $1 has Python $version; genrec needs 3.11 or 3.12." \
        "Activate an environment that has it, or none (then .venv is made; remove one of another Python)" >&2
    return 1
}

hash_project() { # root: of what an installation depends on; an editable one belongs to the checkout it was made from
    local command="sha256sum"
    command -v sha256sum >/dev/null || command="shasum -a 256"
    { printf '%s\n' "$1" && cat "$1"/requirements*.txt "$1/pyproject.toml" "$1/setup.py"; } | $command | cut -c1-16
}

allow_base() { # conda's base is shared by all that conda does: nothing goes there without a yes
    [[ -z "${VIRTUAL_ENV:-}" && "${CONDA_DEFAULT_ENV:-}" == base ]] || return 0
    local answer=""
    [[ ! -t 0 ]] || read -rp "setup: conda's base environment is active. Install into it? [y/N] " answer
    case "$answer" in y | Y | yes) return 0 ;; esac
    echo "setup: not installing into conda's base environment; run \`conda deactivate\` (then .venv is made), or" \
        "\`conda create -n genrec python=3.11\` and \`conda activate genrec\`, and this command again" >&2
    return 1
}

announce_size() { # file environment
    local size="6.5 GB with torch's CUDA build; GENREC_TORCH_INDEX=https://download.pytorch.org/whl/cpu makes it 2.5"
    [[ -z "${GENREC_TORCH_INDEX:-}" ]] || size="2.5 GB with a CPU build of torch, 6.5 with a CUDA build"
    [[ "$(uname)" != Darwin ]] || size="2.5 GB"
    echo "setup: installing $1 into $2, once; up to $size"
}

install_torch() { # root: from the index that GENREC_TORCH_INDEX names; without it, torch comes with the rest
    [[ -n "${GENREC_TORCH_INDEX:-}" ]] || return 0
    install "torch from $GENREC_TORCH_INDEX" --index-url "$GENREC_TORCH_INDEX" "$(grep '^torch==' "$1/requirements.txt")"
}

install_rest() { # root file
    install "$2" -r "$1/$2" && install "the project itself" --no-deps -e "$1"
}

install() { # what arguments...
    local what="$1"
    shift
    python -m pip install --quiet --disable-pip-version-check "$@" && return 0
    echo "setup: pip could not install $what; the lines above say why" >&2
    return 1
}
