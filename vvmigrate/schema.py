"""The ledger's tables, as SQL. Format 1; a later format only ever adds.

`vv_run`, `vv_step` and `vv_hold` are links of one chain: they share one sequence, and each row's hash covers the row
and the hash before it. Rows are added, never changed. `vv_effect` and `vv_kept` hang on a step. `vv_version` is
Alembic's own row.
"""

from __future__ import annotations

FORMAT = 1
VERSION_TABLE = "vv_version"
PREFIX = "vv_"

TABLES: dict[str, str] = {
    "vv_ledger": """CREATE TABLE vv_ledger (
    ledger_id TEXT NOT NULL PRIMARY KEY,
    format INTEGER NOT NULL
)""",
    "vv_run": """CREATE TABLE vv_run (
    seq INTEGER NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    command TEXT NOT NULL,
    arguments TEXT NOT NULL,
    user TEXT NOT NULL,
    sudo_user TEXT NOT NULL,
    host TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT NOT NULL,
    exit_code INTEGER,
    affects TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
)""",
    "vv_step": """CREATE TABLE vv_step (
    seq INTEGER NOT NULL PRIMARY KEY,
    step_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    revision TEXT NOT NULL,
    title TEXT NOT NULL,
    direction TEXT NOT NULL,
    result TEXT NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT NOT NULL,
    duration_s REAL,
    user TEXT NOT NULL,
    host TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    script_sha256 TEXT NOT NULL,
    version_before TEXT NOT NULL,
    version_after TEXT NOT NULL,
    digest_before TEXT NOT NULL,
    digest_after TEXT NOT NULL,
    notes TEXT NOT NULL,
    error TEXT,
    effects_digest TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
)""",
    "vv_hold": """CREATE TABLE vv_hold (
    seq INTEGER NOT NULL PRIMARY KEY,
    revision TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    script_sha256 TEXT NOT NULL,
    run_id TEXT NOT NULL,
    user TEXT NOT NULL,
    at TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
)""",
    "vv_effect": """CREATE TABLE vv_effect (
    step_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    effect TEXT NOT NULL,
    PRIMARY KEY (step_id, n)
)""",
    "vv_kept": """CREATE TABLE vv_kept (
    kept TEXT NOT NULL PRIMARY KEY,
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    step_id TEXT NOT NULL
)""",
    VERSION_TABLE: f"""CREATE TABLE {VERSION_TABLE} (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)
)""",
}

LINKS = ("vv_run", "vv_step", "vv_hold")
"""The tables whose rows form the chain, newest row of any of them at its head."""
