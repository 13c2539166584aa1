"""With trusted keys set, a host runs nothing but what the author has signed, byte for byte."""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import NOBODY, nothing_changes
from tests.commands.signing import Author, install, keep_release, trusting
from tests.conftest import BASELINE, HostFolder
from vvmigrate.runs.settled import nothing_to_do

LIST, SIGNATURE = "vv-release.json", "vv-release.json.minisig"
HEALTHY = {"DVR_IP": "192.168.1.20"}


@pytest.fixture(scope="session")
def author(tmp_path_factory: pytest.TempPathFactory) -> Author:
    return Author.make(tmp_path_factory.mktemp("author") / "keys")


@pytest.fixture
def signed(host: HostFolder, author: Author) -> HostFolder:
    """A host with a signed release that trusts its author, not brought up yet."""
    author.sign(host)
    trusting(host, author)
    return host


def traced(host: HostFolder, number: str = "0007") -> Path:
    """A revision that leaves a trace as soon as anything of it is run."""
    trace = host.home.parent / "ran"
    host.revision(number, "pass", imports=f"open({str(trace)!r}, 'w').close()")
    return trace


def append(name: str, text: str = "\n") -> Callable[[HostFolder], None]:
    def spoil(host: HostFolder) -> None:
        with (host.home / name).open("a") as file:
            file.write(text)

    return spoil


def flip(name: str) -> Callable[[HostFolder], None]:
    """One bit, with size and times as they were."""

    def spoil(host: HostFolder) -> None:
        path = host.home / name
        info, data = path.stat(), bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    return spoil


def link(name: str) -> Callable[[HostFolder], None]:
    """A link to the very same bytes: what it leads to tomorrow nobody has signed."""

    def spoil(host: HostFolder) -> None:
        (host.home / name).rename(host.home.parent / "elsewhere")
        (host.home / name).symlink_to(host.home.parent / "elsewhere")

    return spoil


def drop_from_list(name: str) -> Callable[[HostFolder], None]:
    def spoil(host: HostFolder) -> None:
        document = json.loads((host.home / LIST).read_text())
        del document["files"][name]
        (host.home / LIST).write_text(json.dumps(document))

    return spoil


REVISION = "migrations/versions/0002_bitnet_model.py"
TAMPERED: dict[str, Callable[[HostFolder], object]] = {
    "a revision": append(REVISION, "\n# mine\n"),
    "a bit of a revision": flip(REVISION),
    "a revision behind a link": link(REVISION),
    "a revision that is gone": lambda h: (h.home / "migrations/versions/0006_installation_signature.py").unlink(),
    "a revision that was added": traced,
    "a module beside the revisions": lambda h: (h.home / "migrations/sitecustomize.py").touch(),
    "a link beside the revisions": lambda h: (h.home / "migrations/versions/x").symlink_to("/tmp"),
    "env.py": append("migrations/env.py", "\n# mine\n"),
    "the configuration": append("alembic.ini", "\nafter_change = touch /tmp/x\n"),
    "the manifest": append("model_manifest.json", " "),
    "the template": append(".env.example", "\nMINE=1\n"),
    "an asset": flip("fallback/loop_silencioso.mp4"),
    "an asset that is gone": lambda h: (h.home / "fallback/placeholder.png").unlink(),
    "a model that comes along": flip("fallback/models/bitnet_demo.tar.gz"),
    "the list": append(LIST, " "),
    "a name in the list": drop_from_list("fallback/placeholder.png"),
    "the signature": flip(SIGNATURE),
    "no signature": lambda h: (h.home / SIGNATURE).unlink(),
    "no list": lambda h: (h.home / LIST).unlink(),
    "neither": lambda h: ((h.home / LIST).unlink(), (h.home / SIGNATURE).unlink()),
    "a signature of nobody": lambda h: (h.home / SIGNATURE).write_text("signed\n"),
    "a signature that is huge": lambda h: (h.home / SIGNATURE).write_bytes(bytes(1 << 20)),
}


# ---- a fresh host ----------------------------------------------------------------------------------------------------


def test_a_signed_release_is_what_it_always_was(signed: HostFolder) -> None:
    """Up, nothing to do, down; and the host's own list holds the author's, too."""
    signed.up()
    assert signed.history() == [(revision, "up", "applied") for revision in BASELINE]
    assert signed.up().body["steps"] == []
    assert signed.call("verify").body["drift"] == []
    ours = json.loads((signed.home / "vv-signature.json").read_text())["files"]
    assert {LIST, SIGNATURE} <= ours.keys()
    signed.down("base")


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_release_is_refused_before_anything_of_it_is_run(signed: HostFolder, how: str) -> None:
    """Exit 7; not one byte is written, also on a host's first day: the state directories are not even made."""
    TAMPERED[how](signed)
    for verb in ("upgrade", "plan"):
        with nothing_changes(signed):
            report = signed.call(verb)
        assert not signed.root.exists()
        assert report.error is not None
        assert (report.exit_code, report.error.type) == (7, "IntegrityError"), report.error.message
        assert report.error.hint
        assert report.error.path
        assert report.error.path in report.error.message
    assert not (signed.home.parent / "ran").exists()


def test_a_file_that_nobody_signed_is_not_installed(signed: HostFolder, author: Author) -> None:
    """Where a revision takes whatever a folder holds: exit 7, and no step of the run has happened."""
    signed.revision("0007", "op.make_directories(['extra'])\nop.install_assets('fallback', 'extra')")
    author.sign(signed)
    (signed.home / "fallback/mine.png").write_bytes(b"mine")
    report = signed.call("upgrade")
    assert (report.exit_code, report.body["steps"]) == (7, [])
    assert report.error is not None
    assert report.error.path == str(signed.home / "fallback/mine.png")
    assert {path.name for path in signed.root.iterdir()} == {".vvmigrate", "orchestrator_data"}
    (signed.home / "fallback/mine.png").unlink()
    signed.up()
    assert (signed.root / "extra/placeholder.png").is_file()


def test_a_file_beside_the_release_is_its_owners(signed: HostFolder) -> None:
    """What nothing is read from or run in may hold whatever people like."""
    (signed.home / "notes.txt").write_text("cameras: 4\n")
    (signed.home / "fallback/notes.txt").write_text("not installed\n")
    signed.up()


# ---- a host that is up -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["upgrade", "downgrade", "repair", "recover", "plan", "status", "show", "doctor"])
def test_every_command_that_would_run_a_revision_refuses(signed: HostFolder, verb: str) -> None:
    """Looking at revisions is running them; what only reads the history goes on."""
    signed.up("0001")
    trace = traced(signed)
    with nothing_changes(signed):
        report = signed.call(verb, *{"downgrade": ["base"], "show": ["head"]}.get(verb, []))
    assert report.exit_code == 7
    assert signed.call("history").exit_code == 0
    assert not trace.exists()


def test_a_tampered_ledger_row_is_refused(signed: HostFolder) -> None:
    """The signature says nothing of what was done here; the chain does: exit 7 too."""
    signed.up("0002")
    signed.sql("UPDATE vv_step SET script_sha256 = ? WHERE revision = '0002'", "f" * 64)
    with nothing_changes(signed):
        report = signed.call("upgrade")
    assert report.exit_code == 7
    assert report.error is not None
    assert "does not verify" in report.error.message


def test_without_trusted_keys_nothing_is_asked_for(host: HostFolder) -> None:
    """A host that was told of nobody takes its release from whoever may write there, as ever."""
    append("model_manifest.json", " ")(host)
    host.up()


# ---- whom to trust ---------------------------------------------------------------------------------------------------


def test_keys_can_be_changed_one_after_the_other(signed: HostFolder, author: Author, tmp_path: Path) -> None:
    """Hosts learn the new key, then releases are signed with it, then the old one goes."""
    new = Author.make(tmp_path / "new")
    trusting(signed, new)
    report = signed.call("upgrade")
    assert report.exit_code == 7
    assert report.error is not None
    assert "trusted is" in report.error.message
    trusting(signed, new, author)
    signed.up("0002")
    new.sign(signed)
    signed.up()
    trusting(signed, new)
    assert signed.up().body["steps"] == []
    trusting(signed, author)
    assert signed.call("upgrade").exit_code == 7


@pytest.mark.parametrize("text", ["RWQ", "nobody", ",", "untrusted comment: minisign public key", f"{'A' * 56}"])
def test_a_key_that_is_none_stops_everything(signed: HostFolder, text: str) -> None:
    """A mistyped key must not be the same as no key: exit 6, and where it stands."""
    signed.environ["VV_TRUSTED_KEYS"] = text
    report = signed.call("upgrade")
    assert report.exit_code == 6
    assert report.error is not None
    assert "VV_TRUSTED_KEYS" in report.error.message
    assert not signed.root.exists()


def test_a_file_of_keys_is_believed_if_nobody_else_could_have_written_it(
    signed: HostFolder, author: Author, tmp_path: Path
) -> None:
    """Lines of .pub files, with comments; a missing, an empty, or a stranger's file trusts nobody, and says so."""
    path = tmp_path / "trusted-keys"
    signed.environ["VV_TRUSTED_KEYS"] = str(path)
    assert signed.call("upgrade").exit_code == 6
    path.write_text("# nobody yet\n")
    assert signed.call("upgrade").exit_code == 6
    other = Author.make(tmp_path / "other")
    path.write_text(f"# ours\nuntrusted comment: minisign public key\n{author.public}\n\n{other.public}\n")
    path.chmod(0o644)
    signed.up("0001")
    (signed.home / SIGNATURE).unlink()
    assert signed.call("upgrade").exit_code == 7
    other.sign(signed)
    signed.up("0002")
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
        report = signed.call("upgrade")
        assert (report.exit_code, report.error and report.error.path) == (6, str(path))


def test_neither_the_release_nor_the_settings_file_says_whom_to_trust(host: HostFolder, author: Author) -> None:
    """Whoever could write the release would name themselves."""
    key = author.public
    with (host.home / "alembic.ini").open("a") as file:
        file.write(f"trusted_keys = {key}\n")
    (host.home / ".env").write_text(f"VV_TRUSTED_KEYS={key}\n")
    (host.home / ".env").chmod(0o600)
    author.sign(host)
    host.environ["VV_TRUSTED_KEYS"] = Author.make(host.home.parent / "real").public
    assert host.call("upgrade").exit_code == 7


MOUNTS = os.geteuid() == 0 and shutil.which("unshare") and not subprocess.run(
    ["unshare", "--mount", "true"], capture_output=True, check=False
).returncode  # fmt: skip


@pytest.mark.skipif(not MOUNTS, reason="needs root, and unshare --mount, for an /etc of its own")
def test_the_file_in_etc_counts_without_any_setting(signed: HostFolder, author: Author, tmp_path: Path) -> None:
    """No environment that was forgotten, by sudo or by a unit, lets an unsigned release in."""
    del signed.environ["VV_TRUSTED_KEYS"]
    etc = tmp_path / "etc"
    (etc / "vvmigrate").mkdir(parents=True)
    (etc / "vvmigrate/trusted-keys").write_text(author.public + "\n")
    for name in ("passwd", "group"):
        shutil.copy2(Path("/etc") / name, etc)
    within = ("unshare", "--mount", "sh", "-c", f'mount --bind "{etc}" /etc && exec "$@"', "sh")
    assert signed.run("upgrade", "0001", within=within).returncode == 0
    append(REVISION)(signed)
    assert signed.run("upgrade", within=within).returncode == 7


@pytest.mark.parametrize("verb", ["check", "revision"])
def test_an_authors_commands_run_nothing_unsigned_where_somebody_is_trusted(
    signed: HostFolder, author: Author, verb: str
) -> None:
    """A working copy on a host that trusts an author is a release like others; signed, it is looked at as ever."""
    trace, words = traced(signed), ["next"] if verb == "revision" else []
    with nothing_changes(signed):
        report = signed.call(verb, *words)
    assert (report.exit_code, report.error and report.error.type) == (7, "IntegrityError")
    assert not trace.exists()
    author.sign(signed)
    assert signed.call(verb, *words).exit_code != 7


# ---- back, and other releases ----------------------------------------------------------------------------------------


def test_an_older_signed_release_takes_the_newer_one_back(signed: HostFolder, author: Author) -> None:
    """Taking a release back is allowed, offline, from what was recorded; an older one that nobody signed is not."""
    signed.up(values=HEALTHY)
    before = signed.tree()
    old = keep_release(signed, "1.0")
    signed.revision("0007", "op.make_directories(['new'])")
    author.sign(signed)
    signed.up()
    assert (signed.root / "new").is_dir()
    install(signed, old)
    assert signed.call("upgrade").exit_code == 4
    (signed.home / "fallback/placeholder.png").write_bytes(b"not the author's")
    with nothing_changes(signed):
        assert signed.call("downgrade", "head").exit_code == 7
    install(signed, old)
    signed.down("head")
    assert signed.tree() == before


def test_a_list_does_not_go_with_another_releases_files(signed: HostFolder, author: Author) -> None:
    """Both are signed; mixed they are neither."""
    old = keep_release(signed, "1.0")
    signed.revision("0007", "op.make_directories(['new'])")
    author.sign(signed)
    for name in (LIST, SIGNATURE):
        shutil.copy2(old / name, signed.home)
    assert signed.call("upgrade").exit_code == 7


# ---- the upgrade of every boot ---------------------------------------------------------------------------------------


def is_short(host: HostFolder) -> bool:
    """Whether an upgrade would be told the short way that there is nothing to do."""
    return nothing_to_do({"home": str(host.home)}, host.environment(), host.home) is not None


AT_EVERY_BOOT = ("an asset", "an asset that is gone", "a bit of a revision", "a module beside the revisions")


def test_the_short_way_is_no_way_round(signed: HostFolder) -> None:
    """With nothing to do it stays short; whatever was changed since is met, and what was mended is short again."""
    signed.up(values=HEALTHY)
    signed.up()  # which does nothing, and so may be remembered
    assert is_short(signed)
    kept = keep_release(signed, "kept")
    (signed.home / "notes.txt").write_text("no file of the release\n")
    for how in (*AT_EVERY_BOOT, "the list", "no list", "the signature", "no signature"):
        TAMPERED[how](signed)
        assert not is_short(signed), how
        assert signed.call("upgrade").exit_code == 7, how
        install(signed, kept)
    assert is_short(signed)
    signed.environ["VV_TRUSTED_KEYS"] += " " + Author.make(signed.home.parent / "more").public
    assert not is_short(signed)


def test_an_upgrade_with_nothing_to_do_checks_no_signature(signed: HostFolder) -> None:
    """Its cost is that of reading the release: not even the library is imported; a tampered release still ends in 7."""
    signed.up(values=HEALTHY)
    signed.up()  # which does nothing, and so may be remembered
    done = signed.run("upgrade", environ={"PYTHONPROFILEIMPORTTIME": "1"})
    assert (done.returncode, "nacl" in done.stderr, "sqlalchemy" in done.stderr) == (0, False, False)
    TAMPERED["an asset"](signed)
    assert signed.run("upgrade").returncode == 7


def test_what_was_remembered_without_keys_is_not_believed_with_them(host: HostFolder, author: Author) -> None:
    """A host that is told of an author judges its release anew."""
    host.up(values=HEALTHY)
    host.up()  # which does nothing, and so may be remembered
    assert is_short(host)
    trusting(host, author)
    assert not is_short(host)
    assert host.call("upgrade").exit_code == 7


# ---- Alembic's own command -------------------------------------------------------------------------------------------


def test_plain_alembic_is_refused_too(signed: HostFolder) -> None:
    """env.py itself is run by Alembic, before anything is checked; no revision is, and nothing is changed."""
    trace = traced(signed)
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"], cwd=signed.home, env=signed.environment(),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert "0007_test.py" in done.stderr + done.stdout
    assert not trace.exists()
    assert not signed.root.exists()


def test_alembics_functions_run_no_forged_bytecode(signed: HostFolder, tmp_path: Path) -> None:
    """A program that calls `alembic.command.upgrade` gets the revisions that were signed, not a cache beside them."""
    trace = tmp_path / "ran"
    signed.up("0005")
    source = signed.home / "migrations/versions/0006_installation_signature.py"
    code = compile(f"open({str(trace)!r}, 'w').close()\n{source.read_text()}", str(source), "exec")
    info, forged = source.stat(), Path(importlib.util.cache_from_source(str(source)))
    forged.parent.mkdir()
    head = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(info.st_mtime), info.st_size)
    forged.write_bytes(head + marshal.dumps(code))
    program = "import alembic.command as c, alembic.config as f; c.upgrade(f.Config('alembic.ini'), 'head')"
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, cwd=signed.home, env=signed.environment(), capture_output=True, check=False)
    assert (done.returncode, signed.version()) == (0, "0006"), done.stderr.decode()
    assert not trace.exists()
