#!/usr/bin/env bash
# Runs the tests; installs what they need into .venv-tests first. ./run_tests.sh --full adds what takes hours;
# ./run_tests.sh PATH -k WORD and the like run a part.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
cd "$(dirname "$0")"

need() { command -v "$1" >/dev/null 2>&1; }

if [ "$(id -u)" = 0 ] && need apt-get; then
    missing=()
    need git || missing+=(git)
    need gcc || missing+=(gcc libc6-dev)
    need ffprobe || missing+=(ffmpeg)
    need sqlite3 || missing+=(sqlite3)
    need strace || missing+=(strace)
    need mkfs.xfs || missing+=(xfsprogs)
    need mkfs.ext4 || missing+=(e2fsprogs)
    need losetup || missing+=(util-linux)
    need minisign || missing+=(minisign)
    need ip || missing+=(iproute2)
    if [ ${#missing[@]} -gt 0 ]; then
        echo "installing: ${missing[*]}"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
    fi
fi

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed, found $("$python" --version)" >&2
    exit 6
}
if [ ! -x .venv-tests/bin/python ]; then
    "$python" -m venv .venv-tests
fi
stamp=.venv-tests/installed
wanted=$(cat pyproject.toml requirements-dev.lock | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    .venv-tests/bin/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-dev.lock
    .venv-tests/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
    echo "$wanted" >"$stamp"
fi

.venv-tests/bin/ruff check .
.venv-tests/bin/mypy

if [ $# -gt 0 ] && [ "$*" != --full ]; then # a part of the tests, as pytest names it
    exec .venv-tests/bin/python -m pytest "$@"
fi
rm -f .coverage .coverage.*
.venv-tests/bin/python -m pytest -n 2 --cov --cov-report= --ignore=tests/crash --ignore=tests/install \
    --ignore-glob='*/test_delivery_*.py' "$@"
# Measuring the deliveries would double their time; install.sh runs in processes of its own.
.venv-tests/bin/python -m pytest -n 2 tests/install tests/content/test_delivery_*.py tests/commands/test_delivery_*.py "$@"
# The crash tests count every call of the command that they strike: nothing may measure it. Much of their time is waiting,
# so two run side by side; with --full one at a time, since all write their figures into one page.
crash=(-n 2)
[ "$*" != --full ] || crash=()
.venv-tests/bin/python -m pytest ${crash[@]+"${crash[@]}"} tests/crash "$@"
.venv-tests/bin/python -m coverage report --fail-under=90
