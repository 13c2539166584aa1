"""Revisions that are odd, or mean harm: every command says so in its contract's words, and nothing happens."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder

SAYS = 'revision = "0002"\ndown_revision = "0001"\n'
WAYS = "def upgrade(): pass\ndef downgrade(): pass\n"
DEEP = "1+" * 20_000 + "1"

UNUSABLE = {
    "a sum without end": f"{SAYS}X = {DEEP}\n{WAYS}",
    "a sign without end": f"{SAYS}X = {'-' * 20_000}1\n{WAYS}",
    "a number of 5,000 digits": f"{SAYS}X = {'9' * 5000}\n{WAYS}",
    "a predecessor that is a number": f'revision = "0002"\ndown_revision = 1\n{WAYS}',
    "a predecessor without text": f'revision = "0002"\ndown_revision = 10 ** {sys.get_int_max_str_digits()}\n{WAYS}',
    "several predecessors": f'revision = "0002"\ndown_revision = ("0001", "0000")\n{WAYS}',
    "an empty predecessor": f'revision = "0002"\ndown_revision = ""\n{WAYS}',
    "itself as its predecessor": f'revision = "0002"\ndown_revision = "0002"\n{WAYS}',
    "a title that is a number": f"{SAYS}__doc__ = 5\n{WAYS}",
    "a title that no row can hold": f'"""Half a \\udcff"""\n{SAYS}{WAYS}',
    "a release that no row can hold": f'{SAYS}release = "\\udcff"\n{WAYS}',
    "a dependency that is not there": f'{SAYS}depends_on = ("0009",)\n{WAYS}',
    "a branch": f'{SAYS}branch_labels = ("x",)\n{WAYS}',
    "an id of 5,000 digits": f'revision = "{"9" * 5000}"\ndown_revision = "0001"\n{WAYS}',
    "an id that is a path": f'revision = "../x"\ndown_revision = "0001"\n{WAYS}',
    "an id that means something else": f'revision = "head"\ndown_revision = "0001"\n{WAYS}',
    "Ctrl-C": f"{SAYS}raise KeyboardInterrupt\n{WAYS}",
    "an exit": f"{SAYS}raise SystemExit(0)\n{WAYS}",
    "a generator's end": f"{SAYS}raise GeneratorExit\n{WAYS}",
}
FAILING = {
    name: f"{SAYS}def upgrade():\n    {line}\ndef downgrade(): pass\n"
    for name, line in {
        "Ctrl-C": "raise KeyboardInterrupt",
        "an exit": "raise SystemExit(0)",
        "a generator's end": "raise GeneratorExit",
        "a call without end": "upgrade()",
    }.items()
}
CODES = {"plan": 6, "status": 6, "upgrade": 6, "check": 3, "history": 0}


def put(host: HostFolder, text: str) -> None:
    (host.home / "migrations/versions/0002_odd.py").write_text(text)


def answers(host: HostFolder, codes: dict[str, int], *, as_process: bool) -> dict[str, str]:
    """The document of each verb; only in a process of its own Ctrl-C is told from an exception that looks like it."""
    told = {}
    for verb, code in codes.items():
        if as_process:
            done = host.run("--json", verb)
            assert "Traceback" not in done.stderr
            told[verb], found = done.stdout, done.returncode
        else:
            report = host.call(verb)
            told[verb], found = json.dumps(report.as_json()), report.exit_code
        assert (json.loads(told[verb])["exit_code"], found) == (code, code), (verb, told[verb])
        assert "unforeseen" not in told[verb], verb
    return told


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_revision_that_cannot_be_used_is_named_and_nothing_happens(bare: HostFolder, case: str) -> None:
    """No traceback, always a document, the contract's code, not one byte changed; the history can still be read."""
    bare.up()
    put(bare, UNUSABLE[case])
    with nothing_changes(bare):
        told = answers(bare, CODES, as_process=case == "Ctrl-C")
    for verb in ("plan", "status", "upgrade"):
        assert "0002_odd.py" in told[verb] or "form a line" in told[verb], told[verb]
    assert '"unusable"' in told["check"] or '"line"' in told["check"]


@pytest.mark.parametrize("case", FAILING)
def test_a_revision_that_raises_what_ends_processes_is_a_step_that_failed(bare: HostFolder, case: str) -> None:
    """As any other failure: recorded with its reason, undone, exit 1; the process ends by the contract."""
    bare.up()
    put(bare, FAILING[case])
    before = bare.tree()
    told = answers(bare, {"plan": 1, "check": 3, "upgrade": 1, "history": 0}, as_process=case == "Ctrl-C")
    assert bare.tree() == before
    assert '"failed"' in told["history"]
    assert bare.history() == [("0001", "up", "applied"), ("0002", "up", "failed")]


def test_ctrl_c_stays_what_it_is_in_a_program_that_has_python_raise_it(bare: HostFolder) -> None:
    """Where no handler of ours is installed, as under Alembic's functions, it is a person's, and goes through."""
    bare.up()
    put(bare, FAILING["Ctrl-C"])
    before, handler = bare.tree(), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:  # a shell that runs the tests in the background has Python ignore the signal
        with pytest.raises(KeyboardInterrupt):
            bare.call("upgrade")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (bare.tree(), bare.version()) == (before, "0001")
