#!/usr/bin/env bash
# Brings this release up as a host. Safe to run again, also after it was interrupted anywhere.
#
#   ./install.sh --demo         without root: everything in this folder, with a small model that comes along
#   sudo ./install.sh           the host: application user, command, units, `vvmigrate upgrade head`
#   ./install.sh --help
#
# Everything is a function, and the last line begins: a download that breaks off runs nothing.
set -euo pipefail

readonly OK=0 FAILED=1 USAGE=2 HELD=3 BUSY=5 REFUSED=6 INTEGRITY=7
readonly OLDEST_PYTHON='3.11'
readonly DEFAULT_HOME=/opt/vv-video-ai-system
readonly KEYS_FILE=/etc/vvmigrate/trusted-keys

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
  --trusted-keys KEYS  minisign public keys, or a file of them: the release must be signed by one of them, now and at
                       every upgrade (default: VV_TRUSTED_KEYS, else /etc/vvmigrate/trusted-keys, else no signature)
  --bin DIR            where the command `vvmigrate` goes, as root (default: /usr/local/bin)
  --no-systemd         install no units
  --uninstall          take command, units and libraries away; data stays

Exit codes are vvmigrate's: 0 done, 1 failed, 2 usage, 3 a release is held, 5 busy, 6 refused before anything was changed,
7 the release is not as its author signed it.
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
    trusted_keys=${VV_TRUSTED_KEYS:-}
    while [ $# -gt 0 ]; do
        case $1 in
            --demo) demo=yes ;;
            --uninstall) uninstall=yes ;;
            --no-systemd) systemd= ;;
            -h | --help) usage; exit $OK ;;
            --home | --storage-root | --app-user | --app-group | --python | --wheels | --bin | --trusted-keys)
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

# ---- the author's signature ------------------------------------------------------------------------------------------

# Nothing of the release but this script has run when this is asked. That the script is the author's, only a person can
# tell who looks at the signature before running it: minisign -Vm vv-release.json, then its line for install.sh.
check_release() {
    local keys key list=$home/vv-release.json
    [ -n "$trusted_keys" ] || [ -e "$KEYS_FILE" ] || trusted_keys=$(keys_of_command "$venv/bin/vvmigrate")
    keys=$(keys_of "${trusted_keys:-$KEYS_FILE}")
    if [ -z "$keys" ]; then
        [ -z "$trusted_keys" ] && [ ! -e "$KEYS_FILE" ] && return
        die $REFUSED "${trusted_keys:-$KEYS_FILE}: names no key" "give minisign public keys, or a file of them"
    fi
    [ -z "$trusted_keys" ] || trusted_keys=$keys
    [ -f "$list" ] && [ -f "$list.minisig" ] ||
        die $INTEGRITY "$home: is not signed (no vv-release.json.minisig), and only signed releases are taken" \
            "get a signed release from its author"
    command -v minisign >/dev/null 2>&1 || command -v openssl >/dev/null 2>&1 ||
        die $REFUSED "neither minisign nor openssl is here to check the release's signature" "apt-get install minisign"
    for key in $keys; do
        if is_signed_by "$key" "$list"; then
            say "the release is signed by $key"
            check_files
            return
        fi
    done
    die $INTEGRITY "$list: its signature is by nobody who is trusted here, or does not hold" \
        "get the release again, from its author"
}

keys_of() { # KEYS, or a file of them: a key a line
    if [ -f "$1" ]; then
        sed -e '/^#/d' -e '/^untrusted comment:/d' "$1"
    elif [ "${1#/}" = "$1" ]; then
        tr ', ' '\n\n' <<<"$1"
    fi | grep -E '^[A-Za-z0-9+/]{56}$' || true
}

keys_of_command() { # those that an installation before this one was told of
    sed -n 's/.*VV_TRUSTED_KEYS="\([A-Za-z0-9+/ ]*\)"$/\1/p' "$1" 2>/dev/null || true
}

is_signed_by() { # KEY FILE
    if command -v minisign >/dev/null 2>&1; then
        minisign -V -q -H -m "$2" -P "$1" >/dev/null 2>&1
    else
        is_signed_by_openssl "$1" "$2"
    fi
}

# Ed25519 over the BLAKE2b-512 of the file. The trusted comment, by which nothing is decided here, is left to vvmigrate.
is_signed_by_openssl() {
    local work verdict=1
    work=$(mktemp -d)
    base64 -d <<<"$1" >"$work/key" 2>/dev/null || true
    sed -n 2p "$2.minisig" | base64 -d >"$work/signature" 2>/dev/null || true
    if [ "$(wc -c <"$work/key")" = 42 ] && [ "$(wc -c <"$work/signature")" = 74 ] &&
        [ "$(head -c 2 "$work/signature")" = ED ] && cmp -s -i 2 -n 8 "$work/key" "$work/signature"; then
        { # an Ed25519 key as openssl takes it (RFC 8410)
            printf '\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00'
            tail -c 32 "$work/key"
        } >"$work/key.der"
        tail -c 64 "$work/signature" >"$work/bytes"
        openssl dgst -blake2b512 -binary "$2" >"$work/hash"
        openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/key.der" -rawin -in "$work/hash" \
            -sigfile "$work/bytes" >/dev/null 2>&1 && verdict=0
    fi
    rm -rf "$work"
    return $verdict
}

check_files() { # everything that is listed, and that nothing else lies where all may run
    local wrong
    find "$home/vvmigrate" "$home/migrations" -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
    wrong=$("$python" -I - "$home" <<'PYTHON'
import hashlib, json, os, sys

home = sys.argv[1]
with open(os.path.join(home, "vv-release.json"), "rb") as file:
    files = json.load(file)["files"]
for name, facts in files.items():
    path = os.path.join(home, name)
    if os.path.realpath(path) != path or not os.path.isfile(path):
        sys.exit(print(f"{path}: expected a file"))
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != facts["sha256"]:
        sys.exit(print(f"{path}: expected SHA-256 {facts['sha256']}, found {found}"))
for folder in ("vvmigrate", "migrations"):
    for top, folders, names in os.walk(os.path.join(home, folder)):
        for name in [*names, *(n for n in folders if os.path.islink(os.path.join(top, n)))]:
            path = os.path.join(top, name)
            if os.path.relpath(path, home) not in files:
                sys.exit(print(f"{path}: is not of this release"))
PYTHON
    ) || wrong=${wrong:-$home/vv-release.json: cannot be read}
    [ -z "$wrong" ] || die $INTEGRITY "$wrong" "get the release again, from its author"
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
    printf '%s\n' "$wanted" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

install_locked() {
    local from=()
    [ -z "$wheels" ] || from=(--no-index --find-links "$wheels")
    "$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: --retries 2 \
        --no-deps --require-hashes "${from[@]}" --requirement "$home/requirements.lock" >>"$log_file" 2>&1
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
        if [ -n "$trusted_keys" ]; then
            # shellcheck disable=SC2016 # as above
            printf '[ -n "${VV_TRUSTED_KEYS:-}" ] || VV_TRUSTED_KEYS="%s"\nexport VV_TRUSTED_KEYS\n' \
                "$(tr '\n' ' ' <<<"$trusted_keys")"
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
    local unit mounts
    mounts=$(mounts_of "$(bound_root)")
    for unit in $(units); do
        sed -e "s|@BIN@|$(in_unit "$bin")|g" -e "s|@HOME@|$(in_unit "$home")|g" -e "s|@MOUNTS@|$(in_unit "$mounts")|g" \
            "$home/deploy/$unit" >"/etc/systemd/system/.$unit.new"
        mv "/etc/systemd/system/.$unit.new" "/etc/systemd/system/$unit"
    done
    tell_systemd daemon-reload
    tell_systemd enable vvmigrate-upgrade.service
    tell_systemd enable --now vvmigrate-verify.timer vvmigrate-confirm.timer
    say "units installed: $(units | tr '\n' ' ')"
}

tell_systemd() {
    systemctl "$@" >>"$log_file" 2>&1 ||
        die $FAILED "the host is up, but nothing watches it: systemctl $* failed: $(tail -n 1 "$log_file")" \
            "look at: systemctl status; then run install.sh again"
}

in_unit() { # TEXT: as it is written in a unit, and on the right of sed's s|||
    sed -e 's/%/%%/g' -e 's/[\\&|]/\\&/g' <<<"$1"
}

bound_root() {
    "$venv/bin/python" -I -c 'import json, sys; print(json.load(open(sys.argv[1]))["storage_root"])' "$home/.vvmigrate/root"
}

mounts_of() { # PATH: the units that would mount it, or a folder above it
    local path=$1
    while [[ $path == /?* ]]; do
        printf '%s ' "$(systemd-escape --path --suffix=mount "$path")"
        path=$(dirname "$path")
    done
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
    check_release
    if [ -n "$demo" ]; then
        storage_root=${storage_root:-$home/storage}
        export VV_MODEL_VARIANT=${VV_MODEL_VARIANT:-demo}
    elif [ "$(id -u)" = 0 ]; then
        make_users
    else
        say "not root: no application user, no units; everything belongs to $(id -un)"
    fi
    install_libraries
    write_command "$venv/bin/vvmigrate"
    if [ -z "$demo" ] && [ "$(id -u)" = 0 ]; then
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
