#!/bin/sh
# Installs wstest, the Autobahn test suite, where `python -m t.autobahn` finds it. It runs under Python 2.7 only.
#
#     t/autobahn/install.sh [FOLDER]       FOLDER is ~/.cache/pyjows/autobahn if not given
#
# PYTHON2 names the interpreter; without it a python2.7 on the PATH or pyenv's newest one is used. wsaccel, which does the
# masking and the UTF-8 of the suite in C, needs a C compiler; without one the suite works too, several times slower.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/pyjows/autobahn}

find_python2() {
    for candidate in "${PYTHON2:-}" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python python2.7 python2; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    echo 'install.sh: no Python 2.7 here, and wstest runs on nothing newer; set PYTHON2, or: pyenv install 2.7.18' >&2
    return 1
}

python=$(find_python2)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The last virtualenv that has no dependencies and still makes environments for Python 2.7.
"$python" -m pip install --quiet --disable-pip-version-check --target "$scratch" virtualenv==16.7.12
PYTHONPATH=$scratch "$python" -m virtualenv --quiet --clear "$target"

if ! "$target/bin/pip" install --quiet -r "$here/requirements.txt"; then
    echo 'install.sh: once more without wsaccel' >&2
    grep -v '^wsaccel' "$here/requirements.txt" > "$scratch/slow.txt"
    "$target/bin/pip" install --quiet -r "$scratch/slow.txt"
fi

"$target/bin/wstest" --autobahnversion >/dev/null 2>&1
echo "installed $target/bin/wstest"
