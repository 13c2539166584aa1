"""Where an author is trusted, the orchestrator's metadata is imported from bytes that were signed, and from no others.

To compare tables is to run the module that declares them, and all that it imports.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authoring.release import TABLES, declare_tables, edit
from tests.commands.proof import nothing_changes, says
from tests.commands.signing import Author, trusting
from tests.conftest import REPOSITORY, HostFolder
from vvmigrate.report import Report


def leaving(trace: Path) -> str:
    """A line that leaves a trace as soon as it is run."""
    return f"open({str(trace)!r}, 'w').close()\n"


@pytest.fixture
def trace(host: HostFolder) -> Path:
    return host.home.parent / "ran"


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author.make(tmp_path / "author")


def looked_at(host: HostFolder, verb: str) -> Report:
    """What an author calls that compares tables."""
    return host.call("check") if verb == "check" else host.call("revision", "next", autogenerate=True)


def _package(host: HostFolder, line: str) -> None:
    (host.home / "orchestrator/__init__.py").write_text(line)


def _helper(host: HostFolder, line: str) -> None:
    (host.home / "helper.py").write_text(line)


def _library(host: HostFolder, line: str) -> None:
    """A name of the standard library, which comes after the release."""
    (host.home / "antigravity.py").write_text(line)


def _through_a_link(host: HostFolder, line: str) -> None:
    (host.home.parent / "elsewhere").mkdir()
    (host.home.parent / "elsewhere/__init__.py").write_text(line)
    (host.home / "helper").symlink_to(host.home.parent / "elsewhere")


def _compiled(host: HostFolder, line: str) -> None:
    """What Python takes in place of a source, where it finds none."""
    (host.home / "code.py").write_text(line)
    py_compile.compile(str(host.home / "code.py"), cfile=str(host.home / "helper.pyc"))
    (host.home / "code.py").unlink()


IMPORTS = {_helper: "helper", _library: "antigravity", _through_a_link: "helper", _compiled: "helper"}


@pytest.mark.parametrize("verb", ["check", "revision"])
@pytest.mark.parametrize("add", [_package, _helper, _library, _through_a_link])
def test_a_module_that_nobody_signed_is_not_run(
    host: HostFolder, author: Author, trace: Path, verb: str, add: Callable[[HostFolder, str], None]
) -> None:
    """Wherever it lies below the release: exit 7, which names it, and not a line of it has run."""
    declare_tables(host, ("import sqlalchemy as sa", f"import sqlalchemy as sa\nimport {IMPORTS.get(add, 'sys')}"))
    (host.home / "orchestrator/__init__.py").unlink()
    author.sign(host)
    trusting(host, author)
    add(host, leaving(trace))
    with nothing_changes(host):
        report = looked_at(host, verb)
    says(report, 7, "is not in vv-release.json")
    assert report.error is not None
    assert report.error.path is not None
    assert report.error.path.startswith(f"{host.home}/")
    assert not trace.exists()


def test_a_process_that_works_in_the_release_runs_no_more(host: HostFolder, author: Author, trace: Path) -> None:
    """Python has the working directory on its path then, and looks there for whatever is imported."""
    declare_tables(host, ("import sqlalchemy as sa", "import sqlalchemy as sa\nimport helper"))
    author.sign(host)
    trusting(host, author)
    _helper(host, leaving(trace))
    document = host.json("revision", "-m", "next", "--autogenerate")
    says(document, 7, "helper.py", "is not in vv-release.json")
    assert not trace.exists()


def test_libraries_below_the_release_are_no_part_of_it(host: HostFolder, author: Author, tmp_path: Path) -> None:
    """The virtual environment of an installed release lies in its folder, and no list has it."""
    declare_tables(host, ("import sqlalchemy as sa", "import sqlalchemy as sa\nimport a_library"))
    author.sign(host)
    trusting(host, author)
    venv.create(host.home / ".venv", symlinks=True)
    libraries = next((host.home / ".venv/lib").glob("python3*/site-packages"))
    (libraries / "a_library.py").touch()
    (libraries / "tests.pth").write_text(f"{REPOSITORY}\n{sysconfig.get_path('purelib')}\n")
    call = [str(host.home / ".venv/bin/python"), "-m", "vvmigrate", "--home", str(host.home), "check"]
    done = subprocess.run(
        call, cwd=tmp_path, env=host.environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_compiled_code_is_no_module_of_a_release(host: HostFolder, author: Author, trace: Path) -> None:
    """No list holds it, so there is none to compare it with: it counts as missing."""
    declare_tables(host, ("import sqlalchemy as sa", "import sqlalchemy as sa\nimport helper"))
    author.sign(host)
    trusting(host, author)
    _compiled(host, leaving(trace))
    says(looked_at(host, "revision"), 6, "No module named 'helper'")
    assert not trace.exists()


@pytest.mark.parametrize("trusted", [True, False])
def test_a_bytecode_cache_beside_a_module_is_not_believed(
    host: HostFolder, author: Author, trace: Path, trusted: bool
) -> None:
    """A forged one that Python would take unseen: the tables are those of the source, for authors everywhere."""
    declare_tables(host)
    source = host.home / "orchestrator/tables.py"
    source.write_text(leaving(trace) + TABLES)
    cache = importlib.util.cache_from_source(str(source))
    py_compile.compile(str(source), cfile=cache, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    source.write_text(TABLES)
    author.sign(host)
    if trusted:
        trusting(host, author)
    assert looked_at(host, "check").exit_code == 0
    assert not trace.exists()


def test_what_was_signed_is_compared_as_ever(host: HostFolder, author: Author) -> None:
    """A package with modules of its own, a folder without __init__.py, and relative imports: nothing is missed."""
    declare_tables(host, ("metadata = sa.MetaData()", "from .parts.base import metadata"))
    (host.home / "orchestrator/parts").mkdir()
    (host.home / "orchestrator/parts/base.py").write_text("import sqlalchemy as sa\nmetadata = sa.MetaData()\n")
    author.sign(host)
    trusting(host, author)
    with nothing_changes(host):
        assert looked_at(host, "check").exit_code == 0
        assert looked_at(host, "revision").body["path"] is None
    assert not [name for name in sys.modules if name.split(".")[0] == "orchestrator"]
    assert not [path for path in sys.path_importer_cache if path.startswith(str(host.home))]


def test_a_module_that_changes_after_the_release_was_checked_is_not_run(
    host: HostFolder, author: Author, trace: Path
) -> None:
    """A module that writes another before it imports it stands for whoever is quick."""
    forged = f"from pathlib import Path\nPath(__file__).with_name('late.py').write_text({leaving(trace)!r})\n"
    declare_tables(host, ("import sqlalchemy as sa", f"import sqlalchemy as sa\n{forged}from . import late"))
    (host.home / "orchestrator/late.py").touch()
    author.sign(host)
    trusting(host, author)
    says(looked_at(host, "revision"), 7, "orchestrator/late.py", "expected SHA-256")
    assert not trace.exists()


def test_root_imports_no_helper_that_others_may_have_written(host: HostFolder, trace: Path) -> None:
    """Not the declared module alone: whatever it imports runs as whoever calls, also through a link."""
    if os.geteuid() != 0:
        pytest.skip("only root is protected from others")
    declare_tables(host, ("import sqlalchemy as sa", "import sqlalchemy as sa\nimport helper"))
    _through_a_link(host, leaving(trace))
    (host.home.parent / "elsewhere/__init__.py").chmod(0o666)
    says(looked_at(host, "revision"), 6, "root runs nothing from here")
    assert not trace.exists()
    (host.home.parent / "elsewhere/__init__.py").chmod(0o644)
    assert looked_at(host, "revision").exit_code == 0
    edit(host.home / "orchestrator/tables.py", "import helper", "import no_such")
    says(looked_at(host, "revision"), 6, "no_such")
