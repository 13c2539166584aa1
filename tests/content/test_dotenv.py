"""A `.env` document keeps every byte and reads what python-dotenv reads."""

from __future__ import annotations

import io

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from vvmigrate.content.env.document import Document, readers_differ
from vvmigrate.content.env.readers import quote, read_compose, read_python, read_systemd
from vvmigrate.errors import EnvFileError

PIECES = st.sampled_from(
    [
        "A",
        "B",
        "=",
        " ",
        "\n",
        "\r\n",
        "\r",
        "'",
        '"',
        "\\",
        "#",
        "export ",
        "$",
        "{",
        "}",
        "x",
        "\t",
        "é",
        "\ufeff",
        "\x0c",
        "\x85",
    ]
)


def parse(text: str) -> Document:
    """Parse text as a file."""
    return Document.parse(text.encode("utf-8", "surrogateescape"), name=".env")


@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_accepted_text_round_trips_and_reads_as_python_dotenv_reads_it(text: str) -> None:
    """Bytes in are bytes out, and keys and values are python-dotenv's, which sees every line end as a line feed."""
    try:
        document = parse(text)
    except EnvFileError:
        return
    assert document.to_bytes() == text.encode()
    if not text.lstrip("\ufeff").startswith("\ufeff"):
        stream = io.StringIO(text.lstrip("\ufeff"), newline=None)
        expected = dotenv_values(stream=io.StringIO(stream.read()), interpolate=False)
        assert {key: document.get(key) for key in document.keys()} == dict(expected)  # noqa: SIM118


@given(st.binary(max_size=60))
def test_any_accepted_bytes_round_trip(data: bytes) -> None:
    """Bytes that are not UTF-8 survive."""
    try:
        document = Document.parse(data, name=".env")
    except EnvFileError:
        return
    assert document.to_bytes() == data


@given(
    st.sampled_from(
        ["K=old", "export K = 'old'  # note", 'K="old"# note', "K", "K=", "K= # note", "  K=o l d\r\n", "K=#x"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
)
def test_a_new_value_changes_only_its_token(line: str, value: str) -> None:
    """What stands before and behind the token stays, other lines too, and python-dotenv reads the new value."""
    document = parse(f"A=1\n{line}\nB=2\n")
    old = next(item for item in document.lines if item.key == "K")
    try:
        changed = document.with_value("K", value)
    except EnvFileError:
        return  # some values have no common form; what is then said is another test's matter
    new = next(item for item in changed.lines if item.key == "K")
    assert parse(changed.to_bytes().decode()).get("K") == value
    assert new.text.startswith(old.text[: old.token[0]])
    assert new.text.endswith(old.text[old.token[1] :])
    assert (changed.get("A"), changed.get("B")) == ("1", "2")


@pytest.mark.parametrize(
    ("line", "value", "expected"),
    [
        ("K='a b' # c", "d", "K='d' # c"),
        ('K="a"', "it's", 'K="it\'s"'),
        ("K='a'", "it's", 'K="it\'s"'),
        ("K=a", "b c", "K='b c'"),
        ("K= # c", "v", "K=v # c"),
        ("K=v # c", "", "K= # c"),
        ("export K = a", "b", "export K = b"),
        ("K", "v", "K=v"),
        ("K=1\nK=2", "3", "K=1\nK=3"),
    ],
)
def test_with_value_keeps_the_style_of_the_line(line: str, value: str, expected: str) -> None:
    """Quotes stay where they can; of two assignments the last one changes."""
    assert parse(line).with_value("K", value).to_bytes().decode() == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A=1\nB='x\nC=1\n", "line 2: a quote is opened"),
        ('A="x\nB="y"\n', "line 1: a quote is opened"),
        ('\n\r\nA="x', "line 3: a quote is opened"),
        ("A=1\nB=\0", "line 2: a NUL byte"),
    ],
)
def test_what_cannot_be_kept_safely_is_refused_with_its_line(text: str, words: str) -> None:
    """python-dotenv would skip these in silence."""
    with pytest.raises(EnvFileError, match=words) as caught:
        parse(text)
    assert caught.value.path == ".env"


def test_duplicates_are_named_with_their_lines() -> None:
    """The last one counts, and lines are counted also over values of several lines."""
    document = parse("A='x\ny'\n\nB=1\nA=2\n")
    assert document.duplicates() == {"A": (1, 5)}
    assert document.get("A") == "2"
    assert [(binding.key, binding.line) for binding in document.bindings] == [("A", 1), ("B", 4), ("A", 5)]


def test_lines_go_and_become_comments() -> None:
    """Only the assignments of the key are touched."""
    document = parse("# c\nA='x\ny'\nB=1\n")
    assert document.without("A").to_bytes() == b"# c\nB=1\n"
    assert document.commented("A").to_bytes() == b"# c\n# A='x\n# y'\nB=1\n"


@pytest.mark.parametrize(
    ("line", "python", "compose", "systemd"),
    [
        ("K=a", "a", "a", "a"),
        ("K=", "", "", ""),
        ("K = a b ", "a b", "a b", "a b"),
        ("K='a # b'", "a # b", "a # b", "a # b"),
        ("K=a # b", "a", "a", "a # b"),
        ("K=a#b", "a#b", "a#b", "a#b"),
        ("K= # b", "", "# b", "# b"),
        ("K='a' # b", "a", "a", "a# b"),
        ("K='it\\'s'", "it's", "it's", "it\\s'"),
        ('K="a\\nb"', "a\nb", "a\nb", "a\\nb"),
        ('K="a\\"b\\\\c"', 'a"b\\c', 'a"b\\c', 'a"b\\c'),
        ('K="a\\$b"', "a\\$b", "a$b", "a$b"),
        ("K='a\\b'", "a\\b", "a\\b", "a\\b"),
        ("K='a\\\\b'", "a\\b", "a\\\\b", "a\\\\b"),
        ("K=a\\b", "a\\b", "a\\b", "ab"),
        ("K=a$b", "a$b", None, "a$b"),
        ("K='a$b'", "a$b", "a$b", "a$b"),
        ("K='${b}'", None, "${b}", "${b}"),
        ("K=it's", "it's", "it's", "it's"),
        ("K='a\nb'", "a\nb", "a\nb", "a\nb"),
        ("export K=a", "a", "a", None),
        ("K.x=a", "a", "a", None),
    ],
)
def test_each_program_reads_by_its_own_rules(
    line: str, python: str | None, compose: str | None, systemd: str | None
) -> None:
    """The rules of the three, as their sources and manuals have them."""
    reads = [read(f"{line}\n") for read in (read_python, read_compose, read_systemd)]
    assert [None if found is None else found[1] for found in reads] == [python, compose, systemd]
    difference = readers_differ(parse(line).bindings[0])
    assert (difference is None) == (python is not None and python == compose == systemd)


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("", ""),
        ("/srv/videos", "/srv/videos"),
        ("a b", "'a b'"),
        ("it's", '"it\'s"'),
        ('a"b', "'a\"b'"),
        ("$5", "'$5'"),
        ("C:\\x", "'C:\\x'"),
        ("a\nb", "'a\nb'"),
        ("#x", "'#x'"),
        ("it's \\", '"it\'s \\\\"'),
    ],
)
def test_quote_writes_the_plainest_form_that_all_read_alike(value: str, token: str) -> None:
    """Bare where nothing needs a quote, else single quotes, else double."""
    assert quote(value) == token


@pytest.mark.parametrize("value", ["secret ${X}", "secret\r", "it's $secret", "secret\udcff", "secret\0"])
def test_quote_refuses_what_cannot_be_read_alike_without_saying_it(value: str) -> None:
    """The message gives the reason and the length only."""
    with pytest.raises(EnvFileError) as caught:
        quote(value)
    assert "secret" not in caught.value.message
