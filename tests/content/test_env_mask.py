"""What is shown of a `.env` file to people holds no secret."""

from __future__ import annotations

import pytest

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.mask import describe, masked_diff
from vvmigrate.content.env.template import Template
from vvmigrate.content.env.warnings import unclear_lines

CANARY = "s3cr3t-canary-value"
PASTED = "MIIEvQIBADANBgkqhkiG9w0B"
"""What a line of a key looks like; where it was pasted without quotes, it is read as a name."""
TEMPLATE = b"# @sensitive=false\nROOT=\n# Signs the log.\nSECRET=\n# @sensitive=false\nLEVEL=INFO\n"


def template() -> Template:
    """Return a template with a secret and two harmless keys."""
    return Template.parse(TEMPLATE, name=".env.example")


def test_describe_shows_only_the_length_of_a_secret() -> None:
    """The three forms of a masked value."""
    assert [describe(value, True) for value in (None, "", "x", "x" * 64)] == [  # noqa: FBT003
        "not set",
        "empty",
        "set, 1 character",
        "set, 64 characters",
    ]
    assert describe("300", False) == "300"  # noqa: FBT003


@pytest.mark.parametrize(
    "line",
    [
        f"SECRET={CANARY}",
        f"UNKNOWN='{CANARY}\n{CANARY}'",
        f"# SECRET={CANARY}",
        f"# UNKNOWN='x\n# {CANARY}'",
        f"# my password is {CANARY}",
        f"not a line {CANARY}",
        f"export {CANARY}",
        f"LEVEL=INFO # {CANARY}",
        f"SECRET=x # {CANARY}",
        f"{PASTED}\n{PASTED}/+==",
        f"{PASTED}=\n{PASTED}==",
        f"# {PASTED}==",
        f"export {PASTED}",
        f'LEVEL="INFO\nSECRET={CANARY}\n"',
    ],
)
def test_a_diff_never_shows_a_secret(line: str) -> None:
    """Values, commented values, comments and broken lines of the user's show only their length."""
    data = f"ROOT=/a\n{line}\n".encode()
    for before, after in ((data, b"ROOT=/b\n"), (None, data), (data, None), (data, data + b"Z=1\n")):
        shown = masked_diff(before, after, template())
        assert CANARY not in shown
        assert PASTED not in shown
        assert "ROOT" in shown


def test_a_line_of_a_pasted_key_is_no_name() -> None:
    """It stands on a line of its own, and the last one ends in `=`: neither warnings nor diffs show it."""
    pasted = "MIIEvQIBADANBgkq"
    data = f"KEY=-----BEGIN KEY-----\n{pasted}\nx/{pasted}==\n{pasted}==\n{pasted}\n# {pasted}=\n".encode()
    said = [*unclear_lines(Document.parse(data, name=".env"), template())]
    assert pasted not in "".join(said)
    assert [text.partition(": ")[2][:17] for text in said if "line " in text] == ["what stands there"] * 3
    assert pasted not in masked_diff(None, data, template())


def test_a_diff_shows_that_a_secret_was_replaced_by_one_as_long() -> None:
    """Two masked values look alike, but the change must be seen; and harmless values are readable."""
    shown = masked_diff(b"SECRET=aaaa\nLEVEL=INFO\n", b"SECRET=bbbb\nLEVEL=DEBUG\n", template())
    assert "-SECRET=(set, 4 characters)" in shown
    assert "+SECRET=(set, 4 characters, another one than before)" in shown
    assert "+LEVEL=DEBUG" in shown
