"""What an unprivileged user may have written is not run, not followed and not believed by root."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import py_compile
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import NOBODY, everything, nothing_changes, nothing_of_the_users_changes, says
from tests.conftest import HostFolder

pytestmark = pytest.mark.usefixtures("root_only")

CANARY = "untouched\n"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A folder outside of everything, with a file that nobody may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text(CANARY)
    return folder


# ---- code ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checked", ["timestamp", "unchecked"])
def test_a_planted_bytecode_cache_is_not_run(bare: HostFolder, tmp_path: Path, checked: str) -> None:
    """Forged bytecode beside a revision or env.py, valid to Python's eyes, is never looked at."""
    for source in (*(bare.home / "migrations/versions").glob("0001*.py"), bare.home / "migrations/env.py"):
        info = source.stat()
        forged = tmp_path / "forged.py"
        forged.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n".ljust(info.st_size - 1)[: info.st_size - 1] + "\n")
        os.utime(forged, ns=(info.st_atime_ns, info.st_mtime_ns))
        mode = py_compile.PycInvalidationMode
        py_compile.compile(
            str(forged),
            cfile=importlib.util.cache_from_source(str(source)),
            invalidation_mode=mode.TIMESTAMP if checked == "timestamp" else mode.UNCHECKED_HASH,
        )
    assert bare.run("upgrade").returncode == 0
    assert bare.run("downgrade", "base").returncode == 0
    assert not (tmp_path / "ran").exists()


def test_running_leaves_no_bytecode_in_the_release(bare: HostFolder) -> None:
    """Nothing that could be forged later is left beside the revisions."""
    assert bare.run("upgrade").returncode == 0
    assert not list(bare.home.rglob("__pycache__"))


def test_the_home_is_not_on_the_path_that_modules_come_from(bare: HostFolder, tmp_path: Path) -> None:
    """A file in the home, or where the command is called, that has a library's name is not imported."""
    for name in ("alembic", "sqlalchemy", "rich", "requests", "logging"):
        (bare.home / f"migrations/{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert bare.run("upgrade").returncode == 0
    assert not (tmp_path / "ran").exists()


def _writable(name: str) -> Callable[[HostFolder], Path]:
    def spoil(host: HostFolder) -> Path:
        path = host.home / name
        path.chmod(path.stat().st_mode | 0o002)
        return path

    return spoil


def _of_another(name: str) -> Callable[[HostFolder], Path]:
    def spoil(host: HostFolder) -> Path:
        path = host.home / name
        os.chown(path, NOBODY, NOBODY)
        return path

    return spoil


def _group_writable(host: HostFolder) -> Path:
    host.home.chmod(0o775)
    return host.home


REVISION = "migrations/versions/0001_storage_directories.py"
PARTS = [".", "migrations", "migrations/versions", REVISION, "migrations/env.py", "alembic.ini"]
UNTRUSTED = [
    *(pytest.param(_writable(name), id=f"{name}-writable") for name in PARTS),
    *(pytest.param(_of_another(name), id=f"{name}-of-another") for name in PARTS),
    pytest.param(_group_writable, id="home-group-writable"),
]


@pytest.mark.parametrize("verb", ["upgrade", "downgrade", "recover"])
@pytest.mark.parametrize("spoil", UNTRUSTED)
def test_root_runs_nothing_that_others_may_have_written(
    bare: HostFolder, tmp_path: Path, spoil: Callable[[HostFolder], Path], verb: str
) -> None:
    """As git's safe.directory: whose release it may be is named, and nothing of it is run."""
    bare.revision("0002", "pass", imports=f"import os; os.mkdir({str(tmp_path / 'ran')!r})")
    path = spoil(bare)
    with nothing_changes(bare):
        says(bare.call(verb, *(["base"] if verb == "downgrade" else [])), 6, str(path), "root", hint="chown root")
    assert not (tmp_path / "ran").exists()
    assert not bare.root.exists()


@pytest.mark.parametrize("verb", ["plan", "status", "heads", "current", "show"])
@pytest.mark.parametrize("spoil", [_of_another(REVISION), _writable("migrations/versions"), _of_another(".")])
def test_root_runs_nothing_of_others_when_it_only_looks(
    bare: HostFolder, tmp_path: Path, spoil: Callable[[HostFolder], Path], verb: str
) -> None:
    """To plan or to list is to import revisions: code of strangers is not run for that either."""
    bare.revision("0002", "pass", imports=f"import os; os.mkdir({str(tmp_path / 'ran')!r})")
    path = spoil(bare)
    says(bare.call(verb, *(["head"] if verb == "show" else [])), 6, str(path), "root")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", ["writable", "of-another"])
def test_a_folder_above_the_home_counts_too(bare: HostFolder, tmp_path: Path, how: str) -> None:
    """Whoever may rename the home's parent can put another release there."""
    parent = tmp_path / "srv"
    parent.mkdir()
    bare.home = Path(shutil.move(bare.home, parent / "home"))
    parent.chmod(0o777) if how == "writable" else os.chown(parent, NOBODY, NOBODY)
    with nothing_changes(bare):
        says(bare.call("upgrade"), 6, str(parent))
    assert not bare.root.exists()


def test_a_revision_that_is_a_link_to_a_strangers_file_is_refused(bare: HostFolder, tmp_path: Path) -> None:
    """The link may be root's, the code that it leads to is not."""
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    os.chown(tmp_path / "theirs.py", NOBODY, NOBODY)
    (bare.home / "migrations/versions/0002_x.py").symlink_to(tmp_path / "theirs.py")
    with nothing_of_the_users_changes(bare):
        says(bare.call("upgrade"), 6, "0002_x.py")
    assert not (tmp_path / "ran").exists()


# ---- state directories -----------------------------------------------------------------------------------------------


def _chown(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def _to_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch(0o700)


def _to_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


SPOILED = [
    pytest.param(_chown, id="of-another"),
    *(pytest.param(lambda path, mode=mode: path.chmod(mode), id=f"{mode:o}") for mode in (0o755, 0o770, 0o701, 0o1700)),
    pytest.param(_to_file, id="file"),
    pytest.param(_to_link, id="link"),
]


@pytest.mark.parametrize("which", ["home", "root"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "fresh"])
@pytest.mark.parametrize("spoil", SPOILED)
def test_a_state_directory_that_others_could_have_written_is_not_believed(
    bare: HostFolder, spoil: Callable[[Path], None], which: str, known: bool
) -> None:
    """What lies in a state directory is trusted, so it must be the caller's own and nobody else's: exit 4."""
    path = (bare.home if which == "home" else bare.root) / ".vvmigrate"
    if known:
        bare.up()
        bare.revision("0002", "op.make_directories(['new'])")
    else:
        path.mkdir(parents=True, mode=0o700)
    spoil(path)
    hint = "chmod 700" if path.is_dir() and not path.is_symlink() else "move it away"
    with nothing_changes(bare) if known else nothing_of_the_users_changes(bare):
        says(bare.call("upgrade"), 4, str(path), "0700", hint=hint)


# ---- records ---------------------------------------------------------------------------------------------------------


def test_a_forged_source_is_not_run(bare: HostFolder, tmp_path: Path) -> None:
    """The recorded source of an applied revision is run only with the digest that the history proves: exit 7."""
    bare.revision("0002", "op.make_directories(['d'])")
    bare.up()
    (bare.home / "migrations/versions/0002_test.py").unlink()
    for path in (bare.root / ".vvmigrate/sources").iterdir():
        path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + path.read_text())
    with nothing_changes(bare):
        says(bare.call("downgrade", "-1"), 7, "sources", "expected the source with SHA-256")
    assert not (tmp_path / "ran").exists()


def test_a_forged_digest_of_a_source_is_not_believed(bare: HostFolder, tmp_path: Path) -> None:
    """Whoever owns the database may write another digest there, with a fitting file: the row's own proof fails."""
    bare.revision("0002", "op.make_directories(['d'])")
    bare.up()
    forged = f"open({str(tmp_path / 'ran')!r}, 'w')\nrevision = '0002'\n".encode()
    digest = hashlib.sha256(forged).hexdigest()
    (bare.root / f".vvmigrate/sources/{digest}.py").write_bytes(forged)
    bare.sql("UPDATE vv_step SET script_sha256 = ? WHERE revision = '0002'", digest)
    for verb, arguments in (("downgrade", ["-1"]), ("upgrade", []), ("recover", [])):
        with nothing_changes(bare):
            says(bare.call(verb, *arguments), 7, "does not verify")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../../outside/file", "/etc/passwd", "..", "input/../../outside/file"])
def test_a_forged_effect_does_not_lead_out_of_the_root(bare: HostFolder, canary: Path, name: str) -> None:
    """An effect whose target was rewritten in the database is not taken back: exit 7, the file outside untouched."""
    bare.up()
    for number, (text,) in enumerate(bare.sql("SELECT effect FROM vv_effect ORDER BY n")):
        effect = json.loads(text)
        effect["target"]["name"] = name
        bare.sql("UPDATE vv_effect SET effect = ? WHERE n = ?", json.dumps(effect), number)
    with nothing_changes(bare, canary):
        says(bare.call("downgrade", "base"), 7, "effects", "changed")


@pytest.mark.parametrize("verb", ["plan", "status", "history", "current"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vv_step SET title = 'forged'",
        "UPDATE vv_effect SET effect = replace(effect, 'input', 'forged')",
        "UPDATE vv_step SET script_sha256 = 'f'",
    ],
)
def test_looking_at_a_forged_history_does_not_fail_and_runs_nothing(
    bare: HostFolder, statement: str, verb: str
) -> None:
    """Readers show what is there; `history --verify` is what judges it: exit 7."""
    bare.up()
    bare.sql(statement)
    with nothing_changes(bare):
        assert bare.call(verb).exit_code in (0, 3, 7)
        says(bare.call("history", verify=True), 7, "history row")


# ---- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        *("input", "models", "fallback", "fallback/placeholder.png", "models/bitnet_summarizer", "models/.store"),
        *("models/.current_model_info.json", "orchestrator_data"),
    ],
)
@pytest.mark.parametrize("to", ["directory", "file", "nowhere"])
def test_a_planted_link_is_not_followed(host: HostFolder, canary: Path, where: str, to: str) -> None:
    """The storage root may be the application's: a link where we expect ours never leads root's hand out of it."""
    path = host.root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to({"directory": canary, "file": canary / "file", "nowhere": canary / "new"}[to])
    before = everything(canary)
    report = host.call("upgrade")
    assert everything(canary) == before
    assert report.exit_code in (0, 1, 4, 6)
    assert report.error is None or "unforeseen" not in report.error.message
    host.call("downgrade", "base")
    assert everything(canary) == before


@pytest.mark.parametrize("where", [".env", "vv-signature.json", "logs", "logs/bootstrap.log"])
def test_a_planted_link_in_the_home_is_not_followed(host: HostFolder, canary: Path, where: str) -> None:
    """Neither .env, nor the signature, nor the log is written through a link that leads out of the home."""
    path = host.home / where
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(canary if where == "logs" else canary / "file")
    before = everything(canary)
    report = host.call("upgrade")
    assert report.exit_code in (0, 6)
    host.call("downgrade", "base")
    assert everything(canary) == before


@pytest.mark.parametrize("where", ["input", "fallback", "models"])
def test_a_link_planted_after_the_upgrade_is_not_followed_on_the_way_back(
    host: HostFolder, canary: Path, where: str
) -> None:
    """A managed directory that somebody replaced by a link is theirs: kept and reported, nothing behind it removed."""
    host.up()
    (canary / "placeholder.png").write_text(CANARY)
    shutil.move(host.root / where, host.root / "moved")
    (host.root / where).symlink_to(canary)
    before = everything(canary)
    report = host.call("downgrade", "base")
    assert everything(canary) == before
    assert report.exit_code in (0, 1, 4, 6)
    assert (host.root / where).is_symlink()
