"""What revisions say as text is what they say when they are run; and what is pending is told by the line alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from vvmigrate.engine.lineage import Lineage
from vvmigrate.engine.scripts import Scripts
from vvmigrate.engine.sources import Source, parse
from vvmigrate.errors import RevisionError, UsageError

USUAL = '''"""What it is for

More of it.
"""

import json
from alembic import op
import sqlalchemy as sa
from sqlalchemy import Column

revision = "0001"
down_revision = None
branch_labels = None
release = "2.3"
NAMES = ["a", ("b", {"c": 1})]


def helper() -> None:
    raise ValueError


def upgrade() -> None:
    helper()


def downgrade():
    op.revert()
'''


def _but(old: str, new: str) -> str:
    assert old in USUAL
    return USUAL.replace(old, new)


READ_AS_TEXT = {
    "usual": USUAL,
    "no title": USUAL.removeprefix(USUAL[: USUAL.index("import json")]),
    "no release": _but('release = "2.3"', ""),
    "a title that is no paragraph": _but("What it is for\n\nMore", "What it is for\nMore"),
    "irreversible": _but("def downgrade():\n    op.revert()", 'irreversible = "the rows are gone"'),
    "two names at once": _but('revision = "0001"', 'revision = number = "0001"'),
}
HAS_TO_BE_RUN = {
    "a computed predecessor": _but("down_revision = None", "down_revision = str() or None"),
    "a computed release": _but('"2.3"', '".".join("23")'),
    "a computed title": USUAL + '__doc__ = "another"\n',
    "an annotation": _but("down_revision = None", "down_revision: str | None = None"),
    "a second number": USUAL + 'revision = "0002"\n',
    "a decorator": _but("def upgrade", "@staticmethod\ndef upgrade"),
    "a default": _but("def helper()", "def helper(at=json.dumps({}))"),
    "a condition": USUAL + "if NAMES:\n    release = '9'\n",
    "a class": USUAL + "class Video:\n    pass\n",
    "an import that may fail": USUAL + "import somebodys_own\n",
    "a relative import": USUAL + "from . import neighbour\n",
    "a branch": _but("branch_labels = None", 'branch_labels = ("side",)'),
    "several predecessors": _but("down_revision = None", 'down_revision = ("0000", "000")'),
    "a release that is none": _but('"2.3"', "2.3"),
    "no way back": _but("def downgrade", "def other"),
    "no reason": USUAL + 'irreversible = " "\n',
    "no predecessor": _but("down_revision = None", ""),
    "what only the compiler refuses": USUAL + "def late():\n    break\n",
}


@pytest.mark.parametrize("case", READ_AS_TEXT)
def test_what_is_read_as_text_is_what_running_it_says(case: str) -> None:
    """Title, predecessor and release, in Alembic's own words."""
    source = parse(READ_AS_TEXT[case].encode(), f"{case}.py")
    assert source.said is not None
    assert Scripts("migrations", [source], {}).line.order == (source.said,)


@pytest.mark.parametrize("case", HAS_TO_BE_RUN)
def test_an_unusual_revision_is_not_judged_by_its_text(case: str) -> None:
    """What could fail, or come out otherwise when it is run, has to be run."""
    assert parse(HAS_TO_BE_RUN[case].encode(), f"{case}.py").said is None


def test_the_shipped_revisions_are_read_as_text() -> None:
    """Else every look at a host would wait for Alembic."""
    paths = sorted((REPOSITORY / "migrations/versions").glob("*.py"))
    sources = {source.revision: source for source in (parse(path.read_bytes(), str(path)) for path in paths)}
    line = Lineage.read(sources, {})
    assert line is not None
    assert line.order == Scripts("migrations", sources.values(), {}).line.order
    assert line.head() == list(sources)[-1]


def made(number: str, follows: str | None, title: str = "") -> Source:
    text = _but('"0001"', repr(number)).replace("down_revision = None", f"down_revision = {follows!r}")
    return parse(text.replace("What it is for", title or number).encode(), f"{number}.py")


NUMBERS = ["c", "a", "e", "b", "d"]
"""In the order of the line, which is not that of the names."""


def package() -> dict[str, Source]:
    """A line, its files in any order."""
    sources = [made(name, follows) for name, follows in zip(NUMBERS, [None, *NUMBERS], strict=False)]
    random.Random(6).shuffle(sources)
    return {source.revision: source for source in sources}


@pytest.mark.parametrize("current", ["", *NUMBERS])
def test_what_is_pending_is_what_alembic_would_do(current: str) -> None:
    """From every revision up to every later one."""
    line, scripts = Lineage.read(package(), {}), Scripts("migrations", package().values(), {})
    assert line is not None
    for last in NUMBERS[NUMBERS.index(current) if current else 0 :]:
        steps = scripts.upgrades(last, current)
        assert [revision.revision for revision in line.ahead(current, last)] == [s.revision.revision for s in steps]


def test_what_the_host_has_applied_takes_the_packages_place() -> None:
    """Also where the package ends earlier: then its head is not the line's end."""
    old = {name: source for name, source in package().items() if name in NUMBERS[:3]}
    recorded = {name: made(name, NUMBERS[n - 1] if n else None, f"as applied {name}") for n, name in enumerate(NUMBERS)}
    line = Lineage.read(old, recorded)
    assert line is not None
    assert [revision.title for revision in line.order] == [f"as applied {name}" for name in NUMBERS]
    assert (line.head(), Scripts("migrations", old.values(), recorded).line.head()) == (NUMBERS[2], NUMBERS[2])


@pytest.mark.parametrize(
    "more", [("f", "a"), ("f", None), ("f", "f"), ("f", "z")], ids=["two-heads", "two-bases", "a-circle", "a-hole"]
)
def test_what_is_no_line_is_not_taken_for_one(more: tuple[str, str | None]) -> None:
    """Whoever runs it says what is wrong."""
    sources = package() | {more[0]: made(*more)}
    assert Lineage.read(sources, {}) is None
    with pytest.raises(RevisionError, match=r"line|found 2"):
        Scripts("migrations", sources.values(), {}).check_line()


def test_several_predecessors_are_refused(tmp_path: Path) -> None:
    """A branch that was merged is no line either: a host is at one revision."""
    merged = _but('"0001"', "'m'").replace("down_revision = None", "down_revision = ('x', 'y')")
    sources = [made("x", None), made("y", None), parse(merged.encode(), "m.py")]
    with pytest.raises(RevisionError, match="one revision that it follows"):
        Scripts(str(tmp_path), sources, {}).check_line()


def test_an_empty_release_has_no_head() -> None:
    """And nobody knows a revision of it."""
    line = Lineage.read({}, {})
    assert line is not None
    assert (line.head(), line.ahead("", "")) == ("", [])
    with pytest.raises(UsageError, match="0001"):
        line.revision("0001")
