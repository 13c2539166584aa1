"""Sources of revisions for the checks of a release, and what a check says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import HostFolder

HEAD = """import sqlalchemy as sa
from alembic import op
revision = "0003"
down_revision = "0002"
"""

VIDEOS = """\"\"\"Videos\"\"\"
import sqlalchemy as sa
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    op.create_table(
        "videos",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("status", sa.Text),
        sa.CheckConstraint("status != ''", name="ck_status"),
    )
    op.create_index("ix_videos_status", "videos", ["status"])
def downgrade():
    op.drop_table("videos")
"""


def found(host: HostFolder, **options: Any) -> list[tuple[int, str]]:
    """Line and kind of every finding; the exit code says whether there are any."""
    report = host.call("check", **options)
    assert report.error is None
    findings = report.body["findings"]
    assert report.exit_code == (3 if findings else 0)
    assert all(finding["reason"] and finding["remedy"] for finding in findings)
    return [(finding["line"], finding["kind"]) for finding in findings]


def source(up: str, down: str = "pass", top: str = "") -> str:
    """A revision whose `upgrade()` begins in line 6, when nothing is at the top; `down` comes after it."""
    lines = [HEAD + top + "def upgrade():"]
    lines += ["    " + line for line in up.splitlines()]
    lines += ["def downgrade():", *("    " + line for line in down.splitlines())]
    return "\n".join(lines) + "\n"


def put(host: HostFolder, text: str, name: str = "0003_test.py") -> Path:
    path = host.home / "migrations/versions" / name
    path.write_text(text)
    return path


def numbered(revision: str, follows: str | None) -> str:
    """A revision that does nothing; its number is in line 1, what it follows in line 2."""
    return f"revision = {revision!r}\ndown_revision = {follows!r}\ndef upgrade(): pass\ndef downgrade(): pass\n"
