"""Whatever we write into `.env`, the three programs that read it read the same: the whole file, by their rules."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.content.env_programs import GENERATOR, compose, real_systemd, systemd
from vvmigrate.content.env.merge import merge
from vvmigrate.content.env.template import Template
from vvmigrate.errors import EnvFileError

TEMPLATE = b'# Folder.\nROOT=\n\n# Who\'s there; a "word" for it = x\nNAME=\n\n# @was=OLD\nFRESH=\nPLAIN=5\n'
VALUES = (
    *(
        "a b",
        "it's",
        'say "hi"',
        "#x",
        "a # b",
        "a#b",
        "C:\\new\\",
        "it's \\",
        "two\nlines",
        "\ttab ",
        " blank ",
        "ünï",
    ),
    *(
        "$5",
        "a$b",
        "x=y",
        "`id`",
        ";x",
        "!x",
        "%s",
        "'quoted'",
        '"quoted"',
        "a\\'b",
        "\\n",
        "\\$",
        "[x]",
        "*",
        "é" * 300,
    ),
)
FILES = (
    b"",
    b"ROOT=/a\nMINE=it's # theirs\nOLD='x y'\n",
    b"MINE=C:\\videos\\",
    b"ROOT=/a\nMINE=C:\\videos\\\nOLD=1\n",
    b"NAME=\n# a comment of theirs \\\n",
    b"ROOT=\nNAME=\nFRESH=1\nPLAIN=C:\\videos\\",
    b"ROOT=\nNAME=\nFRESH=1\nPLAIN=1\n# a comment of theirs \\\n",
    b"export MINE='two\nlines'\nPLAIN=7",
    b"OLD=a\\\n",
)
WRITTEN = ("ROOT", "NAME", "EXTRA")


def written(theirs: bytes, value: str) -> str:
    """The file that a merge makes, with a value in a new line, in one that stands in the template, and at the end."""
    given = dict.fromkeys(WRITTEN, value)
    return merge(theirs, Template.parse(TEMPLATE, name=".env.example"), explicit=given).data.decode()


@pytest.mark.parametrize("theirs", FILES)
def test_our_lines_are_read_alike_in_the_whole_file(theirs: bytes) -> None:
    """Beside lines of the user's on which the programs differ, also where one of those goes on over a line's end."""
    for value in VALUES:
        try:
            text = written(theirs, value)
        except EnvFileError:
            continue
        for name, found in (
            ("python-dotenv", dotenv_values(stream=io.StringIO(text))),
            ("Docker Compose", compose(text)),
            ("systemd", systemd(text)),
        ):
            assert {key: found.get(key) for key in WRITTEN} == dict.fromkeys(WRITTEN, value), (name, text)


def test_few_values_cannot_be_written() -> None:
    """What is refused is known, and little: a value of nearly any shape has a form that all read alike."""
    refused = set()
    for value in VALUES:
        try:
            written(b"", value)
        except EnvFileError:
            refused.add(value)
    assert refused == set()


@pytest.mark.skipif(not GENERATOR.exists(), reason="needs systemd's generator for user sessions")
def test_systemd_itself_reads_what_we_write(tmp_path: Path) -> None:
    """The program, not our reading of its source; but for `$`, which this way of asking it expands."""
    values = [value for value in VALUES if "$" not in value and "`" not in value]
    for theirs, value in [*((FILES[0], value) for value in values), *((theirs, values[0]) for theirs in FILES)]:
        text = written(theirs, value)
        found = real_systemd(text, tmp_path)
        assert {key: found.get(key) for key in WRITTEN} == dict.fromkeys(WRITTEN, value), text
        assert {key: value for key, value in systemd(text).items() if value and key in found}.items() <= found.items()
