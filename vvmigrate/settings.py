"""What the caller wants: options, environment, `.env`, alembic.ini and defaults, settled once into plain values.

The only module that reads the process's environment for settings. `.env` may belong to the application's user, so only
the model variant and, as something to compare with, the storage root are taken from it.
"""

from __future__ import annotations

import configparser
import grp
import hashlib
import os
import pwd
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vvmigrate.errors import RefusedError, UsageError
from vvmigrate.files import Owner

DEFAULT_ROOT = "/opt/vv-video-ai-system/storage"
DEFAULT_VARIANT = "full"
SECTION = "vvmigrate"
TRUSTED_KEYS = "/etc/vvmigrate/trusted-keys"
LONGEST_WAIT_S = 86400.0
LONGEST_SPAN_S = 7 * 86400
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_DIGITS = 7
_SPAN = r"([0-9]{1,7})([smhd])"


class Settings(NamedTuple):
    """One command's settings.

    Attributes:
        home: the release folder, absolute, links resolved.
        requested_root: the storage root named by option, environment or `.env`; None where nobody named one.
        root_named_by: who named it, for people.
        default_root: the one to take where nobody did.
        variant: the model variant that was asked for; empty where nobody did.
        owner: whom made things are given to; None where this user cannot give things away.
        values: `--set` and `--answers`: the explicit instruction for `.env`.
        environment: the process's; it may fill keys of `.env` that have no value.
        mirror: where models are asked for first; empty for none.
        proxies, ca_bundle, tokens: for downloads; tokens by host.
        offline: nothing is asked for over a network.
        resume: what was received is kept for a later run.
        allow_degraded: a model that cannot be had does not stop the rest.
        delivery_timeout_s: how long the deliveries of a run may take together, 0 for ever; None where nobody said.
        keep_releases: how many releases can be taken back without fetching a model again.
        after_change: a line for /bin/sh that is told what was changed; empty for none.
        apart: this is a host's shadow: nobody beyond its two trees is told of anything.
        ini_sha256: of the alembic.ini that was read.
        trusted_keys: whose signature a release must carry; empty where nobody asks for one, or none was read yet.
        trusted_file: the file that names them, if a file does.
        signed: SHA-256, by name, of the files that one of them has signed; None as long as no signature was checked.
        health_check: a line for /bin/sh that says whether the host is well after an upgrade; empty for none.
        verify_with: the same, asked for by this call, in its place.
        health_timeout_s: how long either may take.
        revert_run: a step that fails takes back also the steps that its run had done.
        confirm_within_s: how long an upgrade waits to be confirmed before it is taken back; None for ever.
        warnings: what was assumed.
    """

    home: Path
    requested_root: Path | None
    default_root: Path
    root_named_by: str = ""
    variant: str = ""
    owner: Owner | None = None
    directory_mode: int = 0o775
    skip_existing: bool = False
    update_env: bool = False
    strict: bool = False
    interactive: bool = False
    values: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    mirror: str = ""
    proxies: Mapping[str, str] = {}
    ca_bundle: str = ""
    tokens: Mapping[str, str] = {}
    offline: bool = False
    resume: bool = True
    allow_degraded: bool = False
    delivery_timeout_s: float | None = None
    keep_releases: int = 1
    after_change: str = ""
    apart: bool = False
    ini_sha256: str = ""
    trusted_keys: tuple[str, ...] = ()
    trusted_file: Path | None = None
    signed: Mapping[str, str] | None = None
    health_check: str = ""
    verify_with: str = ""
    health_timeout_s: float = 60.0
    revert_run: bool = False
    confirm_within_s: float | None = None
    lock_timeout_s: float = 0.0
    database_timeout_s: float = 10.0
    log_file: Path | None = None
    warnings: tuple[str, ...] = ()


def find_home(option: str | None, environ: Mapping[str, str], start: Path) -> Path:
    """The release folder: `--home`, else VV_HOME, else the folder of the nearest alembic.ini.

    Raises:
        RefusedError: it does not exist, or holds no alembic.ini.
    """
    named = option or environ.get("VV_HOME") or ""
    if named:
        home = Path(os.path.realpath(named))
        if not os.path.isfile(home / "alembic.ini"):  # a folder that may not be entered has none either
            text = f"home {str(home)!r}: expected a release folder with alembic.ini"
            hint = "install the release there again; or name its folder: --home DIR"
            raise RefusedError(text, hint=hint, path=str(home))
        return home
    for folder in (start, *start.parents):
        if os.path.isfile(folder / "alembic.ini"):
            return Path(os.path.realpath(folder))
    raise RefusedError(
        f"no alembic.ini in {str(start)!r} or above it", hint="go to the release's folder, or name it: --home DIR"
    )


def read_ini(home: Path) -> tuple[dict[str, str], str]:
    """The section `[vvmigrate]` of alembic.ini, and the SHA-256 of the bytes that it was read from.

    Raises:
        RefusedError: the file cannot be read or parsed.
    """
    path = home / "alembic.ini"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, "rb") as file:
            data = file.read()
        parser.read_string(data.decode("utf-8"), str(path))
    except (configparser.Error, UnicodeError, OSError) as error:
        raise RefusedError(f"{path}: {error}".replace("\n", " "), path=str(path)) from error
    found = dict(parser[SECTION]) if parser.has_section(SECTION) else {}
    return found, hashlib.sha256(data).hexdigest()


def read_trusted_keys(environ: Mapping[str, str]) -> tuple[tuple[str, ...], Path | None]:
    """Whom this host trusts to sign a release: VV_TRUSTED_KEYS, else a file in /etc; never the release itself.

    Args:
        environ: VV_TRUSTED_KEYS holds minisign public keys, or the absolute path of a file of them.

    Returns:
        The keys, and the file that names them, if one does.

    Raises:
        RefusedError: the file cannot be read, or names nobody.
    """
    named = environ.get("VV_TRUSTED_KEYS", "").strip()
    if named and not named.startswith("/"):
        return _named_keys(named.replace(",", " ").split(), "VV_TRUSTED_KEYS"), None
    path = Path(named or TRUSTED_KEYS)
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (FileNotFoundError, NotADirectoryError) as error:
        if not named:
            return (), None
        raise RefusedError(f"VV_TRUSTED_KEYS: {path}: {error.strerror}", path=str(path)) from error
    except (OSError, UnicodeError) as error:
        raise RefusedError(f"{path}: cannot be read: {error}", path=str(path)) from error
    return _named_keys((line for line in lines if not line.startswith(("#", "untrusted comment:"))), str(path)), path


def _named_keys(words: Iterable[str], where: str) -> tuple[str, ...]:
    """To trust nobody by mistake must not be the same as to trust everybody."""
    if keys := tuple(word for word in words if word):
        return keys
    raise RefusedError(f"{where}: names no key, so no release would be trusted", hint="put a minisign public key there")


def with_trusted_keys(settings: Settings) -> Settings:
    """The same settings, with whom this host trusts: only who reads a release needs to know.

    Raises:
        RefusedError: see `read_trusted_keys`.
    """
    keys, file = read_trusted_keys(settings.environment)
    return settings._replace(trusted_keys=keys, trusted_file=file)


def resolve(
    home: Path,
    options: Mapping[str, Any],
    environ: Mapping[str, str],
    env_file: Mapping[str, str],
    ini: Mapping[str, str] | None = None,
) -> Settings:
    """Settle every setting: option, environment, what is set now, `.env`, alembic.ini, default, in this order.

    Args:
        options: of the command line; None or missing where not given.
        environ: the process's environment; an empty string counts as unset.
        env_file: the values of `.env` that may be used at all.
        ini: in the place of alembic.ini.

    Raises:
        RefusedError: an unknown user or group, or an alembic.ini that cannot be read.
        UsageError: a mode or a number that is none.
    """
    ini, ini_sha256 = read_ini(home) if ini is None else (ini, "")
    warnings: list[str] = []
    values = dict(options.get("values") or {})
    variant = environ.get("VV_MODEL_VARIANT") or values.get("VV_MODEL_VARIANT") or env_file.get("VV_MODEL_VARIANT")
    named = options.get("storage_root") or environ.get("VIDEO_STORAGE_ROOT") or env_file.get("VIDEO_STORAGE_ROOT")
    default = ini.get("storage_root") or DEFAULT_ROOT
    owner = _owner(
        environ.get("VV_APP_USER") or ini.get("app_user"), environ.get("VV_APP_GROUP") or ini.get("app_group"), warnings
    )
    log_file = options.get("log_file")
    keep = options.get("keep")
    patience = environ.get("VV_DELIVERY_TIMEOUT") or ini.get("delivery_timeout")
    return Settings(
        home=home,
        requested_root=Path(os.path.realpath(named)) if named else None,
        default_root=Path(os.path.realpath(home / default)),
        variant=variant or ini.get("model_variant", ""),
        owner=owner,
        directory_mode=_octal(environ.get("VV_DIR_MODE") or ini.get("dir_mode") or "0775"),
        skip_existing=bool(options.get("skip_existing")),
        update_env=bool(options.get("update_env")),
        strict=bool(options.get("strict")),
        interactive=bool(options.get("interactive")),
        values=values,
        environment=dict(environ),
        mirror=environ.get("VV_MODEL_MIRROR") or ini.get("model_mirror", ""),
        proxies=_proxies(environ),
        ca_bundle=environ.get("REQUESTS_CA_BUNDLE") or environ.get("SSL_CERT_FILE") or "",
        tokens=_tokens(environ),
        offline=bool(options.get("offline")),
        resume=not options.get("no_resume"),
        allow_degraded=bool(options.get("allow_degraded")) or _truth("allow_degraded", ini.get("allow_degraded", "no")),
        delivery_timeout_s=_seconds("VV_DELIVERY_TIMEOUT", patience) if patience else None,
        health_check="" if options.get("apart") else ini.get("health_check", ""),
        verify_with=_line("--verify-with", options.get("verify_with")),
        health_timeout_s=_seconds("health_timeout", ini.get("health_timeout") or "60", least=1),
        revert_run=options.get("on_failure") == "revert-run",
        confirm_within_s=_span("--confirm-within", options.get("confirm_within")),
        keep_releases=_count("keep_releases", ini.get("keep_releases", "1") if keep is None else keep),
        after_change="" if options.get("apart") else ini.get("after_change", ""),
        apart=bool(options.get("apart")),
        ini_sha256=ini_sha256,
        lock_timeout_s=float(options.get("lock_timeout") or 0),
        database_timeout_s=_seconds(
            "VV_DATABASE_TIMEOUT", environ.get("VV_DATABASE_TIMEOUT") or ini.get("database_timeout") or "10"
        ),
        log_file=Path(os.path.abspath(log_file)) if log_file else home / "logs/bootstrap.log",
        warnings=tuple(warnings),
    )


def _owner(user: str | None, group: str | None, warnings: list[str]) -> Owner | None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(user) if user else None
    except KeyError:
        raise RefusedError(f"VV_APP_USER: no user {user!r} on this host", hint=f"useradd --system {user}") from None
    try:
        group_id = grp.getgrnam(group).gr_gid if group else entry.pw_gid if entry else gid
    except KeyError:
        raise RefusedError(
            f"VV_APP_GROUP: no group {group!r} on this host", hint=f"groupadd --system {group}"
        ) from None
    wanted = Owner(entry.pw_uid if entry else uid, group_id)
    if uid == 0:
        if not user:
            warnings.append("VV_APP_USER is not set: directories, model and .env will belong to root")
        return wanted
    if wanted != Owner(uid, gid):
        warnings.append(f"not root: nothing can be given to {user or ''}:{group or ''}; it stays with user {uid}")
    return None


def _octal(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 < mode <= 0o7777:
        raise UsageError(f"VV_DIR_MODE: expected an octal mode such as 0775, found {text!r}")
    return mode


def _seconds(name: str, text: str, least: float = 0.0) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not least <= seconds <= LONGEST_WAIT_S:
        raise UsageError(f"{name}: expected seconds from {least:g} to {LONGEST_WAIT_S:.0f}, found {text!r}")
    return seconds


def _line(name: str, text: str | None) -> str:
    """A command; an empty one is a variable that its caller did not set, and would be no check at all."""
    if text is not None and not text.strip():
        raise UsageError(f"{name}: expected a command, found {text!r}", hint=f"for none at all: {name} true")
    return text or ""


def _span(name: str, text: str | None) -> float | None:
    """A time as people write it, in seconds."""
    if text is None:
        return None
    found = re.fullmatch(_SPAN, text)
    seconds = int(found[1]) * UNITS_S[found[2]] if found else 0
    if not 0 < seconds <= LONGEST_SPAN_S:
        raise UsageError(f"{name}: expected a time such as 90s, 10m or 2h, at most 7d, found {text!r}")
    return float(seconds)


def _truth(name: str, text: str) -> bool:
    if text.lower() not in configparser.ConfigParser.BOOLEAN_STATES:
        raise UsageError(f"{name} in alembic.ini: expected yes or no, found {text!r}")
    return configparser.ConfigParser.BOOLEAN_STATES[text.lower()]


def _count(name: str, value: object) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < MOST_DIGITS):
        raise UsageError(f"{name}: expected a whole number, found {text!r}")
    return int(text)


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for scheme in ("http", "https", "no"):
        name = f"{scheme}_proxy"
        if value := environ.get(name) or environ.get(name.upper()):
            found[scheme] = value
    return found


def _tokens(environ: Mapping[str, str]) -> dict[str, str]:
    """Bearer tokens by host: HF_TOKEN for huggingface.co, VV_MODEL_TOKEN for the host in VV_MODEL_TOKEN_HOST."""
    found = {}
    if token := environ.get("HF_TOKEN"):
        found["huggingface.co"] = token
    if (token := environ.get("VV_MODEL_TOKEN")) and (host := environ.get("VV_MODEL_TOKEN_HOST")):
        found[host] = token
    return found
