"""`check`: each thing that can be wrong with a revision is found, at its line; what is right is not."""

from __future__ import annotations

import pytest

from tests.commands.proof import nothing_changes
from tests.commands.revisions import HEAD, VIDEOS, found, put, source
from tests.conftest import REPOSITORY, HostFolder

# ---- what is right ---------------------------------------------------------------------------------------------------

RIGHT: dict[str, str] = {
    "nothing": source("pass"),
    "directories": source("op.make_directories(['x'])", "op.revert()"),
    "add-column": source("op.add_column('videos', sa.Column('camera', sa.Text))", "op.drop_column('videos', 'camera')"),
    "back-fill": source(
        "op.add_column('videos', sa.Column('camera', sa.Text))\n"
        "op.execute(\"UPDATE videos SET camera = 'front' WHERE camera IS NULL\")",
        "op.drop_column('videos', 'camera')",
    ),
    "back-fill-of-an-expression": source(
        "op.add_column('videos', sa.Column('camera', sa.Text))\n"
        "videos = sa.table('videos', sa.column('camera'), sa.column('id'))\n"
        "op.execute(videos.update().where(videos.c.id > 1).values(camera='front'))",
        "op.drop_column('videos', 'camera')",
    ),
    "batch": source(
        "with op.batch_alter_table('videos') as batch:\n"
        "    batch.add_column(sa.Column('camera', sa.Text, nullable=False, server_default='front'))\n"
        "    batch.alter_column('name', nullable=True)",
        "with op.batch_alter_table('videos') as batch:\n"
        "    batch.drop_column('camera')\n"
        "    batch.alter_column('name', nullable=False)",
    ),
    "batch-with-back-fill": source(
        "with op.batch_alter_table('videos') as batch:\n"
        "    batch.add_column(sa.Column('camera', sa.Text))\n"
        "op.execute(\"UPDATE videos SET camera = 'front' WHERE camera IS NULL\")",
        "with op.batch_alter_table('videos') as batch:\n    batch.drop_column('camera')",
    ),
    "index": source("op.create_index('ix_name', 'videos', ['name'])", "op.drop_index('ix_name', 'videos')"),
    "new-table-filled": source(
        "kinds = op.create_table('kinds', sa.Column('kind', sa.Text, primary_key=True))\n"
        "op.bulk_insert(kinds, [{'kind': 'a'}])\n"
        "op.execute(\"UPDATE kinds SET kind = 'b'\")",
        "op.drop_table('kinds')",
    ),
    "dropped-column-comes-back": source(
        "op.drop_column('videos', 'name')",
        "op.add_column('videos', sa.Column('name', sa.String(16), nullable=False, server_default=''))\n"
        "with op.batch_alter_table('videos') as batch:\n"
        "    batch.alter_column('name', server_default=None)",
    ),
    "update-with-its-answer": source(
        "op.execute(\"UPDATE videos SET status = 'done' WHERE status = 'finished'\")",
        "op.execute(\"UPDATE videos SET status = 'finished' WHERE status = 'done'\")",
    ),
    "delete-with-its-answer": source(
        'op.execute(sa.text("DELETE FROM videos WHERE id = 1"))',
        "op.execute(\"INSERT INTO videos (id, name) VALUES (1, 'a')\")",
    ),
    "whole-table-in-a-revision-of-its-own": source(
        'op.execute("UPDATE videos SET status = upper(status)")',
        'op.execute("UPDATE videos SET status = lower(status)")',
    ),
    "irreversible": source(
        "op.execute(\"DELETE FROM videos WHERE name = ''\")", top='irreversible = "nameless videos are gone"\n'
    ),
    "pure-python": source(
        "text = 'a-b'.replace('-', '_')\n"
        "moment = datetime.now(UTC).replace(microsecond=0)\n"
        "names = {}\n"
        "names.update(a=1)\n"
        "re.compile(text).match(moment.isoformat())\n"
        "os.path.join('a', 'b')\n"
        "str(sa.select(sa.literal(1)).compile())",
        top="import os\nimport re\nfrom datetime import UTC, datetime\n",
    ),
    "statement-made-in-parts": source(
        "op.add_column('videos', sa.Column('camera', sa.Text))\n"
        "sql = \"UPDATE videos SET camera = 'front'\"\n"
        "sql += ' WHERE camera IS NULL'\n"
        "op.execute(sql)",
        "op.drop_column('videos', 'camera')",
    ),
    "reading-pragma": source("op.execute('PRAGMA table_info(videos)')"),
    "trigger": source(
        "op.execute('CREATE TRIGGER t AFTER INSERT ON videos BEGIN UPDATE videos SET status = 1; END')",
        "op.execute('DROP TRIGGER t')",
    ),
}


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT.keys())
def test_what_is_right_has_no_finding(release: HostFolder, text: str) -> None:
    """Ordinary revisions of Alembic's, and of ours, are not complained about."""
    put(release, text)
    report = release.call("check")
    assert (report.exit_code, report.body["findings"]) == (0, [])
    assert (report.body["revisions"], report.body["not_tried"]) == (3, [])


def test_our_own_revisions_are_clean() -> None:
    """The release that this repository is passes its own check, in a bare checkout, by the command line."""
    host = HostFolder(REPOSITORY, REPOSITORY / "no-such-storage")
    document = host.json("check")
    assert (document["exit_code"], document["findings"], document["allowed"]) == (0, [], [])


# ---- rows and files that do not come back ----------------------------------------------------------------------------

WRONG: dict[str, tuple[str, list[tuple[int, str]]]] = {
    "update": (source("op.execute(\"UPDATE videos SET status = 'x' WHERE id = 1\")"), [(6, "inverse")]),
    "update-of-an-old-column-beside-a-new-one": (
        source(
            "op.add_column('videos', sa.Column('camera', sa.Text))\n"
            "op.execute('UPDATE videos SET camera = name, name = NULL WHERE id = 1')",
            "op.drop_column('videos', 'camera')",
        ),
        [(7, "inverse")],
    ),
    "delete": (source("op.get_bind().execute(sa.text('DELETE FROM videos WHERE id < 9'))"), [(6, "inverse")]),
    "replace": (source("op.execute(\"INSERT OR REPLACE INTO videos (id, name) VALUES (1, 'a')\")"), [(6, "inverse")]),
    "upsert": (
        source("op.execute(\"INSERT INTO videos VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET name = 'c'\")"),
        [(6, "inverse")],
    ),
    "delete-behind-with": (
        source("op.execute('WITH old AS (SELECT 1 AS id) DELETE FROM videos WHERE id IN (SELECT id FROM old)')"),
        [(6, "inverse")],
    ),
    "delete-as-an-expression": (
        source("op.execute(sa.delete(videos).where(sa.column('id') == 1))", top="videos = sa.table('videos')\n"),
        [(7, "inverse")],
    ),
    "delete-in-a-helper": (
        source("clean()", top="def clean():\n    op.execute(SQL)\nSQL = 'DELETE FROM videos WHERE id = 1'\n"),
        [(6, "inverse")],
    ),
    "delete-that-only-running-shows": (
        source("words = ['DELETE', 'FROM', 'videos', 'WHERE id = 1']\nop.execute(' '.join(words[:]))"),
        [(7, "inverse")],
    ),
    "delete-of-a-table-that-only-running-shows": (
        source("for table in ('videos',):\n    op.execute(f'DELETE FROM {table} WHERE id = 1')"),
        [(7, "inverse")],
    ),
    "delete-answered-by-a-delete": (
        source("op.execute('DELETE FROM videos WHERE id = 1')", "op.execute('DELETE FROM videos WHERE id = 2')"),
        [(6, "inverse")],
    ),
    "raw-drops": (
        source("op.execute('DROP TABLE videos')", "op.execute('ALTER TABLE videos DROP COLUMN status')"),
        [(6, "drop"), (8, "drop")],
    ),
    "no-revert": (source("op.make_directories(['x'])"), [(7, "revert")]),
    "left-behind": (source("op.create_table('t', sa.Column('id', sa.Integer))"), [(7, "way-back")]),
    "index-left-behind": (source("op.create_index('ix_name', 'videos', ['name'])"), [(7, "way-back")]),
    "another-type": (
        source("op.drop_column('videos', 'name')", "op.add_column('videos', sa.Column('name', sa.Integer))"),
        [(7, "way-back")],
    ),
    "lost-check": (
        source(
            "with op.batch_alter_table('videos') as b:\n    b.drop_constraint('ck_status', type_='check')",
        ),
        [(8, "way-back")],
    ),
    "downgrade-fails": (
        source("op.create_table('t', sa.Column('id', sa.Integer))", "raise NotImplementedError('no way')"),
        [(8, "fails")],
    ),
    "downgrade-is-missing": (HEAD + "def upgrade():\n    pass\n", [(1, "unusable")]),
    "irreversible-without-a-reason": (source("pass", top='irreversible = ""\n'), [(1, "unusable")]),
    "upgrade-fails": (source("op.drop_column('videos', 'name')\nop.execute('SELEC 1')"), [(7, "fails")]),
    # ---- slow, and rows that are read
    "whole-table-after-ddl": (
        source(
            "op.add_column('videos', sa.Column('camera', sa.Text))\nop.execute(\"UPDATE videos SET camera = 'front'\")",
            "op.drop_column('videos', 'camera')",
        ),
        [(7, "slow")],
    ),
    "copy-after-ddl": (
        source(
            "op.create_table('t', sa.Column('id', sa.Integer))\nop.execute('INSERT INTO t SELECT id FROM videos')",
            "op.drop_table('t')",
        ),
        [(7, "slow")],
    ),
    "loop-over-rows": (
        source(
            "connection = op.get_bind()\n"
            "for (key,) in connection.execute(sa.text('SELECT id FROM videos')):\n"
            "    connection.execute(sa.text('UPDATE videos SET status = 1 WHERE id = :id'), {'id': key})",
            "op.execute('UPDATE videos SET status = NULL WHERE status = 1')",
        ),
        [(7, "reads-rows")],
    ),
    "counts-rows": (
        source("op.get_bind().scalar(sa.select(sa.func.count()).select_from(sa.table('videos')))"),
        [(6, "reads-rows")],
    ),
    # ---- outside the operations
    "open": (source("with open('x', 'w') as f:\n    f.write('x')"), [(6, "outside")]),
    "open-by-keyword": (source("open('x', mode='ab')"), [(6, "outside")]),
    "open-a-path": (source("Path('x').open('w')", top="from pathlib import Path\n"), [(7, "outside")]),
    "os": (source("os.remove('x')\nos.path.exists('x')", top="import os\n"), [(7, "outside")]),
    "os-by-another-name": (source("wipe('x')", top="from os import remove as wipe\n"), [(7, "outside")]),
    "os-as": (source("system.execv('x', [])", top="import os as system\n"), [(7, "outside")]),
    "shutil": (source("shutil.rmtree('x')", top="import shutil\n"), [(5, "outside")]),
    "pathlib": (
        source(
            "Path('x').write_text('x')\nPath('x').mkdir()\nPath('x').replace('y')", top="from pathlib import Path\n"
        ),
        [(7, "outside"), (8, "outside"), (9, "outside")],
    ),
    "subprocess": (source("from subprocess import run\nrun(['x'])"), [(6, "outside")]),
    "network": (
        source("pass", top="import urllib.parse\nimport urllib.request\nimport socket\n"),
        [(6, "outside"), (7, "outside")],
    ),
    "requests": (source("pass", top="import requests\n"), [(5, "outside")]),
    "own-modules": (
        source(
            "pass", top="import orchestrator.models\nfrom vvmigrate.settings import Settings\nfrom . import other\n"
        ),
        [(5, "import"), (6, "import"), (7, "import")],
    ),
    "its-own-database": (source("sa.create_engine('sqlite://')"), [(6, "outside")]),
    "alembic-inside": (source("pass", top="from alembic import command\n"), [(5, "outside")]),
    "code": (source("exec('x = 1')\neval('1')\n__import__('os')"), [(6, "outside"), (7, "outside"), (8, "outside")]),
    "sleep": (source("time.sleep(1)", top="import time\n"), [(7, "outside")]),
    "commit": (source("op.get_bind().commit()"), [(6, "transaction")]),
    "commit-of-a-name": (source("connection = op.get_bind()\nconnection.rollback()"), [(7, "transaction")]),
    "commit-as-sql": (source("if False:\n    op.execute('COMMIT')"), [(7, "transaction")]),
    "attach": (source("op.execute(\"ATTACH 'x' AS x\")"), [(6, "transaction")]),
    "pragma": (source("op.execute('PRAGMA journal_mode=WAL')"), [(6, "transaction")]),
    "ledger": (source("op.execute('DELETE FROM vv_step WHERE 1')"), [(6, "inverse"), (6, "ledger")]),
}


@pytest.mark.parametrize(("text", "findings"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_found_at_its_line(release: HostFolder, text: str, findings: list[tuple[int, str]]) -> None:
    """One thing is wrong: it is found where it is, and nothing else is said of it."""
    put(release, text)
    with nothing_changes(release):
        assert found(release) == findings


def test_batch_mode_that_loses_autoincrement_is_found(release: HostFolder) -> None:
    """Batch mode makes the table anew without it, unless told: old keys would be given out again."""
    numbers = VIDEOS.replace(
        "    )\n    op.create_index", "        sqlite_autoincrement=True,\n    )\n    op.create_index"
    )
    put(release, numbers, "0002_videos.py")
    up = "with op.batch_alter_table('videos') as batch:\n    batch.alter_column('name', nullable=True)"
    down = "with op.batch_alter_table('videos') as batch:\n    batch.alter_column('name', nullable=False)"
    put(release, source(up, down))
    assert found(release) == [(8, "way-back")]
    put(release, source(up, down).replace("('videos'", "('videos', table_kwargs={'sqlite_autoincrement': True}"))
    assert found(release) == []
