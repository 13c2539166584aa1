#!/usr/bin/env bash
# Brings this release up as a host. Safe to run again, also after it was interrupted anywhere.
#
#   ./install.sh --demo         without root: everything in this folder, with a small model that comes along
#   sudo ./install.sh           the host: application user, command, units, `vvmigrate upgrade head`
#   ./install.sh --help
#
# Everything is a function, and the last line begins: a download that breaks off runs nothing.
set -euo pipefail

readonly OK=0 USAGE=2 HELD=3 BUSY=5 REFUSED=6
readonly OLDEST_PYTHON='3.11'
readonly DEFAULT_HOME=/opt/vv-video-ai-system

usage() {
    cat <<'TEXT'
Usage: install.sh [--demo] [OPTIONS]

  --demo               no root: storage below ./storage, the demo model, the command in .venv/bin
  --home DIR           the release (default: the folder of this script, else /opt/vv-video-ai-system)
  --storage-root DIR   where videos, models and results go (default: VIDEO_STORAGE_ROOT, else vvmigrate's own)
  --app-user NAME      who runs the services; made if missing (default: VV_APP_USER, else app_user)
  --app-group NAME     the group of that user; made if missing (default: VV_APP_GROUP, else app_group)
  --python PROGRAM     Python 3.11 or newer (default: PYTHON, else the newest on the path)
  --wheels DIR         install the libraries from this folder: no package index is asked
  --bin DIR            where the command `vvmigrate` goes, as root (default: /usr/local/bin)
  --no-systemd         install no units
  --uninstall          take command, units and libraries away; data stays

Exit codes are vvmigrate's: 0 done, 1 failed, 2 usage, 3 a release is held, 5 busy, 6 refused before anything was changed.
TEXT
}

# ---- words -----------------------------------------------------------------------------------------------------------

log_file=

say() {
    printf '%s\n' "$*"
    note "$*"
}

note() {
    if [ -n "$log_file" ]; then
        printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$log_file" 2>/dev/null || true
    fi
}

warn() {
    printf '\nWARNING: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  %s\n' "$2" >&2
    note "WARNING: $*"
}

die() { # CODE MESSAGE [NEXT ACTION]
    printf 'error: %s\n' "$2" >&2
    [ $# -lt 3 ] || printf '  next: %s\n' "$3" >&2
    note "error ($1): ${*:2}"
    exit "$1"
}

# ---- what is wanted --------------------------------------------------------------------------------------------------

parse() {
    demo='' uninstall='' home='' storage_root='' wheels='' systemd=yes
    app_user=${VV_APP_USER:-app_user} app_group=${VV_APP_GROUP:-app_group} bin=/usr/local/bin python=${PYTHON:-}
    while [ $# -gt 0 ]; do
        case $1 in
            --demo) demo=yes ;;
            --uninstall) uninstall=yes ;;
            --no-systemd) systemd= ;;
            -h | --help) usage; exit $OK ;;
            --home | --storage-root | --app-user | --app-group | --python | --wheels | --bin)
                [ -n "${2:-}" ] || die $USAGE "$1 needs a value" "./install.sh --help"
                set_option "$1" "$2"
                shift
                ;;
            *) die $USAGE "unknown option: $1" "./install.sh --help" ;;
        esac
        shift
    done
}

set_option() {
    local name=${1#--}
    printf -v "${name//-/_}" '%s' "$2"
}

find_release() { # the folder of this script, where it is a file of one
    local source=${BASH_SOURCE[0]:-}
    if [ -z "$home" ] && [ -f "$source" ] && [ -f "$(dirname "$source")/alembic.ini" ]; then
        home=$(dirname "$source")
    fi
    home=${home:-$DEFAULT_HOME}
    local file
    for file in alembic.ini requirements.lock; do
        [ -f "$home/$file" ] || die $REFUSED "$home: no release there (no $file)" \
            "unpack a release, then: install.sh --home DIR"
    done
    home=$(cd "$home" && pwd -P)
    venv=$home/.venv
}

find_python() {
    local candidate
    for candidate in "$python" python3.14 python3.13 python3.12 python3.11 python3; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 && is_new_enough "$candidate"; then
            python=$(command -v "$candidate")
            return
        fi
        [ -z "$candidate" ] || [ "$candidate" != "${PYTHON:-}" ] || break # named, and not good enough
    done
    die $REFUSED "Python $OLDEST_PYTHON or newer is needed, found $(python3 --version 2>/dev/null || echo none)" \
        "apt-get install python3 python3-venv (Debian 12 and newer), or name one: --python PROGRAM"
}

is_new_enough() {
    "$1" -c "import sys; sys.exit(sys.version_info < (${OLDEST_PYTHON/./, }))" 2>/dev/null
}

# ---- one at a time ---------------------------------------------------------------------------------------------------

lock() { # held by this process until it ends, however it ends
    mkdir -p "$home/logs" 2>/dev/null || true
    [ -w "$home/logs" ] ||
        die $REFUSED "$home: may not be written by $(id -un)" "sudo ./install.sh, or a copy of the release of your own"
    exec 9>"$home/logs/.install.lock"
    if command -v flock >/dev/null 2>&1; then
        flock -n 9 || die $BUSY "another install.sh works in $home" "wait for it, then run the same command again"
    fi
    log_file=$home/logs/install.log
    note "install.sh, release $(release_of "$home"), user $(id -un)"
}

release_of() {
    sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$1/vvmigrate/__init__.py"
}

# ---- libraries -------------------------------------------------------------------------------------------------------

# What is installed is known by a stamp that is written last: an interrupted installation has none, and begins again.
install_libraries() {
    local stamp=$venv/installed wanted
    wanted=$("$python" -c 'import sys; print(sys.version)' | cat - "$home/requirements.lock" | sha256sum)
    if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && "$venv/bin/python" -c 'import vvmigrate' 2>/dev/null; then
        return
    fi
    say "installing libraries into $venv"
    rm -f "$stamp"
    "$python" -m venv --clear "$venv" >>"$log_file" 2>&1 ||
        die $REFUSED "$venv: cannot be made by $python: $(tail -n 1 "$log_file")" "apt-get install python3-venv"
    install_locked || die $REFUSED "$(why_pip_failed)" \
        "look at $log_file; without a package index: install.sh --wheels DIR"
    "$venv/bin/python" -c 'import sys, sysconfig
path = sysconfig.get_path("purelib") + "/vvmigrate.pth"
open(path, "w", encoding="utf-8").write(sys.argv[1] + "\n")' "$home"
    write_command "$venv/bin/vvmigrate"
    printf '%s\n' "$wanted" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

install_locked() {
    local from=()
    [ -z "$wheels" ] || from=(--no-index --find-links "$wheels")
    "$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: --retries 2 \
        --require-hashes "${from[@]}" --requirement "$home/requirements.lock" >>"$log_file" 2>&1
}

why_pip_failed() {
    local words
    words=$(tail -n 30 "$log_file")
    case $words in
        *'HASH'* | *'hash'*'do not match'* | *'DO NOT MATCH'*) echo "a library is not the one in requirements.lock (SHA-256)" ;;
        *'NewConnectionError'* | *'Max retries'* | *'Temporary failure'* | *'ConnectTimeout'* | *'ProxyError'*)
            echo "the package index cannot be reached" ;;
        *'No space left'*) echo "disk full" ;;
        *'No matching distribution'*) echo "the package index cannot be reached, or lacks a library" ;;
        *) echo "the libraries could not be installed: $(grep -i error <<<"$words" | tail -n 1)" ;;
    esac
}

# The command knows its release and its users, and takes nothing from the folder in which it is called.
write_command() {
    local path=$1
    {
        echo '#!/bin/sh'
        if [ -z "$demo" ] && [ "$(id -u)" = 0 ]; then
            # shellcheck disable=SC2016 # the command expands it, not we
            printf ': "${VV_APP_USER:=%s}" "${VV_APP_GROUP:=%s}"\nexport VV_APP_USER VV_APP_GROUP\n' "$app_user" "$app_group"
        fi
        printf "exec %s -I -m vvmigrate --home %s \"\$@\"\n" "$(quoted "$venv/bin/python")" "$(quoted "$home")"
    } >"$path.new"
    chmod 755 "$path.new"
    mv "$path.new" "$path"
}

quoted() {
    printf "'%s'" "${1//\'/\'\\\'\'}"
}

# ---- root's part -----------------------------------------------------------------------------------------------------

make_users() {
    getent group "$app_group" >/dev/null || {
        say "making the group $app_group"
        groupadd --system "$app_group"
    }
    getent passwd "$app_user" >/dev/null || {
        say "making the user $app_user"
        useradd --system --gid "$app_group" --no-create-home --home-dir "$home" --shell /usr/sbin/nologin "$app_user"
    }
}

units() {
    (cd "$home/deploy" && ls -- *.service *.timer)
}

install_units() {
    if [ -z "$systemd" ] || [ ! -d /run/systemd/system ]; then
        say "no units installed: $([ -n "$systemd" ] && echo "systemd does not run here" || echo "as asked")"
        return
    fi
    local unit
    for unit in $(units); do
        sed -e "s|@BIN@|$bin|g" -e "s|@HOME@|$home|g" "$home/deploy/$unit" >"/etc/systemd/system/.$unit.new"
        mv "/etc/systemd/system/.$unit.new" "/etc/systemd/system/$unit"
    done
    systemctl daemon-reload
    systemctl enable vvmigrate-upgrade.service vvmigrate-verify.timer >>"$log_file" 2>&1
    systemctl enable --now vvmigrate-confirm.timer >>"$log_file" 2>&1
    say "units installed: $(units | tr '\n' ' ')"
}

# ---- the host --------------------------------------------------------------------------------------------------------

upgrade() {
    local command=$venv/bin/vvmigrate code=0 root=()
    [ -z "$storage_root" ] || root=(--storage-root "$storage_root")
    "$command" upgrade head --skip-existing --non-interactive ${root[@]+"${root[@]}"} || code=$?
    note "vvmigrate upgrade head: exit code $code"
    case $code in
        "$OK") ;;
        "$HELD") warn "a release that was taken back is held, and was not applied" "vvmigrate upgrade head --release-hold" ;;
        *) die $code "the host could not be brought up (exit code $code); nothing is left half done" \
            "see above, and: $(command_shown) history --failures" ;;
    esac
    held=$([ $code != $HELD ] || echo yes)
}

command_shown() {
    [ -n "$demo" ] || [ "$(id -u)" != 0 ] || { echo vvmigrate; return; }
    echo .venv/bin/vvmigrate
}

# What the system cannot do without, and what only a person can say.
check() {
    "$venv/bin/python" -I - "$home" <<'PYTHON' || true
import ipaddress, json, re, sys
from pathlib import Path
from dotenv import dotenv_values

home = Path(sys.argv[1])
def warn(text, action):
    print(f"\nWARNING: {text}\n  {action}", file=sys.stderr)

bound = json.loads((home / ".vvmigrate/root").read_text())
video = Path(bound["storage_root"]) / "fallback/loop_silencioso.mp4"
if not video.is_file():
    warn(f"{video} is missing: TVs have nothing to show when everything else fails", "vvmigrate status")

def is_address(text):
    try:
        ipaddress.ip_address(text)
    except ValueError:
        label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
        return len(text) <= 253 and re.fullmatch(rf"{label}(\.{label})*", text) and not re.fullmatch(r"[0-9.]+", text)
    return True

try:
    address = dotenv_values(home / ".env", interpolate=False).get("DVR_IP") or ""
except OSError as error:
    warn(f".env cannot be read: {error.strerror}", "vvmigrate status")
else:
    if not address:
        warn("DVR_IP has no value in .env: no video comes in", "vvmigrate upgrade head --set DVR_IP=ADDRESS")
    elif not is_address(address):
        warn(f"DVR_IP is neither an IP address nor a host name: {address!r}", "vvmigrate upgrade head --set DVR_IP=ADDRESS")
PYTHON
}

# ---- away ------------------------------------------------------------------------------------------------------------

remove() {
    local unit
    if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ]; then
        for unit in $(units); do
            [ ! -e "/etc/systemd/system/$unit" ] || systemctl disable --now "$unit" >>"$log_file" 2>&1 || true
            rm -f "/etc/systemd/system/$unit"
        done
        systemctl daemon-reload
    fi
    if grep -qsF -- "--home $(quoted "$home")" "$bin/vvmigrate"; then
        rm -f "$bin/vvmigrate"
    fi
    rm -rf "$venv"
    say "command, units and libraries are gone. Data stays: the storage root, .env, the history."
}

main() {
    parse "$@"
    find_release
    lock
    if [ -n "$uninstall" ]; then
        remove
        exit $OK
    fi
    find_python
    if [ -n "$demo" ]; then
        storage_root=${storage_root:-$home/storage}
        export VV_MODEL_VARIANT=${VV_MODEL_VARIANT:-demo}
    elif [ "$(id -u)" = 0 ]; then
        make_users
    else
        say "not root: no application user, no units; everything belongs to $(id -un)"
    fi
    install_libraries
    if [ -z "$demo" ] && [ "$(id -u)" = 0 ]; then
        write_command "$venv/bin/vvmigrate"
        mkdir -p "$bin"
        write_command "$bin/vvmigrate"
    fi
    upgrade
    check
    [ -n "$demo" ] || [ "$(id -u)" != 0 ] || install_units
    say ""
    say "done. Where it stands: $(command_shown) status"
    [ -z "$held" ] || exit $HELD
}

main "$@"
