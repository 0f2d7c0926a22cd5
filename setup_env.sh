# Sourced by the other scripts: choose a Python environment, and install a requirements file when it has changed.
#   setup_env requirements.txt      uses the active virtual or conda environment, else makes and uses .venv

setup_env() {
    local root requirements hash stamp
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
    requirements="$root/$1"
    if [[ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]]; then
        if [[ ! -x "$root/.venv/bin/python" ]]; then
            echo "setup: making a virtual environment in .venv"
            "$(find_python)" -m venv "$root/.venv" || return 1
        fi
        source "$root/.venv/bin/activate"
    fi
    hash="$(cat "$root"/requirements*.txt | sha256sum | cut -c1-16)"
    stamp="${VIRTUAL_ENV:-$CONDA_PREFIX}/.genrec-$hash"
    [[ -e "$stamp-$1" ]] && return 0
    echo "setup: installing $1 into ${VIRTUAL_ENV:-$CONDA_PREFIX} (once; a few minutes)"
    python -m pip install --quiet --disable-pip-version-check -r "$requirements" || {
        echo "setup: pip could not install $1; the lines above say why" >&2
        return 1
    }
    touch "$stamp-$1" "$stamp-requirements.txt" # every other file includes that one
}

find_python() {
    local name
    for name in python3.11 python3.12 python3 python; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; then
            echo "$name"
            return
        fi
    done
    echo "setup: needs Python 3.11 or 3.12 on the PATH" >&2
    return 1
}
