"""Merging a template into `.env`, and taking it back: nothing of the user's is lost."""

from __future__ import annotations

import io
import time

import pytest
from dotenv import dotenv_values
from hypothesis import assume, given
from hypothesis import strategies as st

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.merge import Merged, merge
from vvmigrate.content.env.readers import read_alike
from vvmigrate.content.env.revert import CHANGED, SUPPLIED, revert
from vvmigrate.content.env.template import Template
from vvmigrate.errors import EnvFileError

TEMPLATE = b"""\
# Settings of the system.
# @defaultRequired=false
# ---

# Folder of the videos.
# @required @sensitive=false
ROOT=

# Address of the recorder.
# @required @sensitive=false @type=domain(allowIp=true, allowSingleLabel=true)
DVR_IP=

# Seconds between two runs.
# @sensitive=false @type=number(min=1)
INTERVAL=300

# Signs the log.
# @required @generate=hex(32)
SECRET=

# @sensitive=false
LEVEL=INFO
"""
CANARY = "s3cr3t-canary-value"


def template(data: bytes = TEMPLATE) -> Template:
    """Parse a template."""
    return Template.parse(data, name=".env.example")


def values(data: bytes) -> dict[str, str | None]:
    """Read a file as the application does, without interpolation."""
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return dict(dotenv_values(stream=io.StringIO(text, newline=None), interpolate=False))


def there_and_back(theirs: bytes | None, merged: Merged) -> bytes | None:
    """Take a merge back by key, without the short cut for a file that nobody touched."""
    touched = merged.data + b"# a note of the user's\n"
    reverted = revert(touched, before=theirs, after=merged.data, renamed=dict(merged.renamed)).data
    return None if reverted is None else reverted.replace(b"# a note of the user's\n", b"")


def test_a_missing_file_becomes_a_copy_of_the_template() -> None:
    """Without a file the result is the template byte for byte, but for the values that are filled in."""
    merged = merge(None, template(), fill={"SECRET": "ab" * 32, "ROOT": "/srv/my videos"})
    expected = TEMPLATE.replace(b"SECRET=", b"SECRET=" + b"ab" * 32).replace(b"ROOT=", b"ROOT='/srv/my videos'")
    assert merged.data == expected
    assert merged.missing_required == ("DVR_IP",)
    assert merged.warnings == ()


def test_a_missing_key_comes_in_at_its_place_with_its_comments() -> None:
    """INTERVAL stands behind DVR_IP as in the template, and the user's lines are as they were."""
    theirs = b"# mine\nROOT = /srv # here\nDVR_IP=10.0.0.1\nSECRET='x y'\nLEVEL=INFO\nMINE=1"
    merged = merge(theirs, template())
    assert merged.added == ("INTERVAL",)
    block = b"\n# Seconds between two runs.\n# @sensitive=false @type=number(min=1)\nINTERVAL=300\n\n"
    assert merged.data == theirs.replace(b"SECRET", block + b"SECRET")
    assert "INTERVAL was missing and is added: 300" in merged.warnings


def test_line_ends_and_byte_order_mark_of_the_file_are_kept() -> None:
    """What is added to a file with CRLF and a BOM has CRLF, and a last line without end gets one first."""
    merged = merge(
        b"\xef\xbb\xbfROOT=/a\r\nDVR_IP=b\r\nINTERVAL=1\r\nSECRET=x\r\nMINE=1", template(), explicit={"NEW": "v"}
    )
    assert merged.data.startswith(b"\xef\xbb\xbfROOT=/a\r\n")
    assert merged.data.endswith(b"MINE=1\r\nNEW=v\r\n")
    assert b"\n" not in merged.data.replace(b"\r\n", b"")


def test_only_an_explicit_value_replaces_one_that_is_there() -> None:
    """A fill leaves an existing value alone, even an empty one; an explicit value changes its token only."""
    theirs = b'export DVR_IP="old"   # hall\nSECRET=\nROOT=/a\nINTERVAL=7\nLEVEL=INFO\n'
    merged = merge(theirs, template(), fill={"SECRET": "f" * 64, "DVR_IP": "no"}, explicit={"DVR_IP": "new one"})
    assert merged.data == theirs.replace(b'"old"', b'"new one"')
    assert merged.replaced == ("DVR_IP",)
    assert merged.missing_required == ("SECRET",)


def test_a_deleted_key_stays_deleted_unless_it_is_required() -> None:
    """INTERVAL was ours once and is gone: it stays out; ROOT is required and returns."""
    merged = merge(b"DVR_IP=a\nSECRET=x\nLEVEL=INFO\n", template(), once_recorded=frozenset({"INTERVAL", "ROOT"}))
    assert merged.added == ("ROOT",)
    assert merged.left_out == ("INTERVAL",)


def test_a_key_comes_in_beside_one_that_it_was_split_off_from() -> None:
    """NEW says that it was OLD, and OLD is still a key: nobody deleted NEW, and the value of OLD stays where it is."""
    both = template(b"OLD=1\n# @was=OLD\nNEW=2\n")
    merged = merge(b"OLD=5\n", both, base=b"OLD=1\n", once_recorded=frozenset({"OLD"}))
    assert values(merged.data) == {"OLD": "5", "NEW": "2"}
    assert (merged.renamed, merged.left_out) == ((), ())


def test_of_two_keys_with_one_former_name_the_second_comes_in() -> None:
    """The first takes over name and value; nobody deleted the second, and merging again changes nothing."""
    split = template(b"# @was=OLD\nONE=1\n# @was=OLD\nTWO=2\n")
    merged = merge(b"OLD=5\n", split, base=b"OLD=1\n", once_recorded=frozenset({"OLD"}))
    assert values(merged.data) == {"ONE": "5", "TWO": "2"}
    assert (merged.renamed, merged.left_out) == ((("OLD", "ONE"),), ())


def test_a_renamed_key_keeps_its_value_and_its_line() -> None:
    """`@was` renames where the line stands, with quotes and comment, and the way back restores the bytes."""
    renamed = template(b"# @was=OLD\nNEW=1\n")
    theirs = b"A=1\nexport OLD='x y'  # mine\nB=2\n"
    merged = merge(theirs, renamed)
    assert merged.data == b"A=1\nexport NEW='x y'  # mine\nB=2\n"
    assert merged.renamed == (("OLD", "NEW"),)
    assert merged.added == ()
    assert revert(merged.data + b"Z=1\n", before=theirs, after=merged.data).data == theirs + b"Z=1\n"
    assert there_and_back(theirs, merged) == theirs


def test_going_back_gives_an_older_release_its_name_with_the_users_new_value() -> None:
    """A value that was changed under the new name is the user's: it goes back under the old one."""
    merged = merge(b"OLD=1\n", template(b"# @was=OLD\nNEW=9\n"))
    reverted = revert(b"NEW=5\n", before=b"OLD=1\n", after=merged.data)
    assert reverted.data == b"OLD=5\n"
    assert reverted.kept == (("OLD", CHANGED),)


@pytest.mark.parametrize("theirs", [b"A=1\nGONE='x\ny'\nB=2\n", b"GONE=\nA=1", b"# GONE=\nGONE=\nA=1\n", b"A=1\nGONE="])
def test_a_key_that_the_template_dropped_becomes_a_comment(theirs: bytes) -> None:
    """It is commented and not deleted, also over several lines, and comes back byte for byte."""
    merged = merge(theirs, template(b"A=\nN=\nB=2\n"), base=b"A=\nGONE=\n")
    assert "GONE" not in values(merged.data)
    assert b"# GONE=" in merged.data
    assert merged.commented == ("GONE",)
    assert there_and_back(theirs, merged) == theirs or not theirs.endswith(b"\n")
    assert revert(merged.data, before=theirs, after=merged.data).data == theirs


def test_a_changed_default_is_reported_and_not_applied() -> None:
    """The new default is named, the file stays as it is; a secret's default is not shown."""
    base = TEMPLATE.replace(b"300", b"60").replace(b"SECRET=", b"SECRET=" + CANARY.encode())
    theirs = b"ROOT=/a\nDVR_IP=b\nINTERVAL=60\nSECRET=x\nLEVEL=INFO\n"
    merged = merge(theirs, template(), base=base)
    assert merged.data == theirs
    assert any("INTERVAL" in warning and "300" in warning and "60" in warning for warning in merged.warnings)
    assert CANARY not in str(merged.warnings)


def test_warnings_name_doubtful_lines_and_no_secret() -> None:
    """Duplicates with both lines, lines that cannot be read, lines that programs read differently, wrong values."""
    theirs = f"SECRET={CANARY}\nSECRET={CANARY} # {CANARY}\n{CANARY} {CANARY}\nINTERVAL=soon\n".encode()
    warnings = "\n".join(merge(theirs, template()).warnings)
    assert "SECRET stands on lines 1 and 2" in warnings
    assert "line 3: not KEY=value" in warnings
    assert "line 2: SECRET is read differently" in warnings
    assert "INTERVAL must be a number" in warnings
    assert "line 2: a comment that ends in a backslash" in merge(b"LEVEL=\n# x \\\n", template()).warnings[0]
    assert CANARY not in warnings


def test_a_pasted_key_is_warned_of_and_not_repeated() -> None:
    """The lines of a key without quotes are names to python-dotenv, and yet no names; an own setting's is told."""
    pasted = "MIIEvQIBADANBgkqhkiG9w0B"
    theirs = f"SECRET=-----BEGIN KEY-----\n{pasted}\n{pasted}+/==\n{pasted}=\n{pasted}\nexport MINE=x\n".encode()
    warnings = "\n".join(merge(theirs, template()).warnings)
    assert pasted not in warnings
    assert "the same stands on lines 2 and" in warnings
    assert "line 2: what stands there is read differently" in warnings
    assert "line 6: MINE is read differently" in warnings


def test_a_value_that_cannot_be_written_alike_is_refused_or_left_out() -> None:
    """A person's value is refused without being repeated; a value that the tool would fill in stays empty."""
    with pytest.raises(EnvFileError) as caught:
        merge(b"ROOT=\n", template(), explicit={"ROOT": f"{CANARY}${{X}}"})
    assert CANARY not in caught.value.message
    merged = merge(b"", template(), fill={"ROOT": "/srv/\udcff"})
    assert values(merged.data)["ROOT"] == ""
    assert any(warning.startswith("ROOT is left empty") for warning in merged.warnings)


@pytest.mark.parametrize("theirs", [b"A='x\n", b"A=\0\n", b'A="x\nB="y"\n'])
def test_an_unreadable_file_is_refused(theirs: bytes) -> None:
    """Nothing is written over a file whose meaning is not certain."""
    with pytest.raises(EnvFileError):
        merge(theirs, template())


def test_going_back_keeps_what_became_the_users() -> None:
    """A changed value, a supplied value, a new key and a comment stay; what is still ours goes with its comments."""
    merged = merge(b"MINE=1\n", template(), fill={"SECRET": "ab"})
    current = (
        merged.data.replace(b"DVR_IP=", b"DVR_IP=10.0.0.9").replace(b"INTERVAL=300", b"INTERVAL=5") + b"# note\nZ=1\n"
    )
    reverted = revert(current, before=b"MINE=1\n", after=merged.data, keep=frozenset({"DVR_IP"}))
    assert reverted.data is not None
    assert values(reverted.data) == {"MINE": "1", "DVR_IP": "10.0.0.9", "INTERVAL": "5", "Z": "1"}
    assert reverted.kept == (("DVR_IP", SUPPLIED), ("INTERVAL", CHANGED))
    assert b"# note" in reverted.data
    assert b"Folder of the videos" not in reverted.data
    assert b"Seconds between two runs" in reverted.data


def test_a_file_that_we_made_goes_when_nothing_of_the_users_is_in_it() -> None:
    """Also when the user only deleted from it; a comment of his keeps it."""
    made = merge(None, template())
    assert revert(made.data, before=None, after=made.data).data is None
    assert revert(made.data.replace(b"LEVEL=INFO\n", b""), before=None, after=made.data).data is None
    assert b"# mine" in (revert(made.data + b"# mine\n", before=None, after=made.data).data or b"")
    assert revert(None, before=None, after=made.data).data is None


def test_a_renamed_key_with_an_explicit_value_goes_back_by_its_recorded_name() -> None:
    """With the names that the merge told, name and value of before return, and a supplied value stays beside them."""
    before = b"A=1\nOLD=1 # x\n"
    merged = merge(before, template(b"A=\n# @was=OLD\nNEW=9\n"), explicit={"NEW": "5"})
    assert merged.data == b"A=1\nNEW=5 # x\n"
    names = dict(merged.renamed)
    assert revert(merged.data + b"Z=1\n", before=before, after=merged.data, renamed=names).data == before + b"Z=1\n"
    kept = revert(merged.data, before=before, after=merged.data, renamed=names, keep=frozenset({"NEW"}))
    assert kept.data == b"A=1\nOLD=1 # x\nNEW=5 # x\n"


def test_a_replaced_value_returns_byte_for_byte_unless_it_was_changed_since() -> None:
    """The token of before comes back with its own quotes; another value than ours is the user's."""
    before = b'LEVEL="INFO" # x\n'
    after = merge(before, template(b"LEVEL=\n"), explicit={"LEVEL": "DEBUG"}).data
    assert revert(after + b"Z=1\n", before=before, after=after).data == before + b"Z=1\n"
    edited = after.replace(b"DEBUG", b"ERROR")
    assert revert(edited, before=before, after=after).data == edited
    assert revert(after, before=before, after=after, keep=frozenset({"LEVEL"})).data == after


def test_a_file_that_does_not_come_from_the_other_loses_nothing() -> None:
    """When before and after do not belong together, nothing is taken for ours, and that is said."""
    reverted = revert(b"B=1\nC=1\n", before=b"A=1\nX=1\n", after=b"B=1\n")
    assert (reverted.data, reverted.told) == (b"B=1\nC=1\n", False)


KEYS = ["ROOT", "DVR_IP", "INTERVAL", "SECRET", "LEVEL", "OLD", "GONE", "MINE", "OTHER"]
LINES = st.one_of(
    st.builds(
        "{}{}{}{}{}".format,
        st.sampled_from(["", "export ", "  "]),
        st.sampled_from(KEYS),
        st.sampled_from(["=", " = ", "= "]),
        st.sampled_from(["", "1", "'a b'", '"x\\"y"', "a#b", "${HOME}", "'two\nlines'", "ü", "\udcff", "back\\"]),
        st.sampled_from(["", " # note", "  "]),
    ),
    st.sampled_from(["", "# comment", "# OLD=1", "  ", "not a line", "=x", "OTHER"]),
)
FILES = st.builds(
    lambda lines, end, bom, last: (bom + end.join(lines) + (end if last else "")).encode("utf-8", "surrogateescape"),
    st.lists(LINES, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
    st.booleans(),
)
RELEASES = [
    TEMPLATE,
    b"# @was=OLD @sensitive=false\nFRESH=\nROOT=/x\nLEVEL=INFO\nMORE=1\n",
    b"LEVEL=DEBUG\r\n\r\n# text\r\nINTERVAL=1\r\n",
]


@given(FILES, st.sampled_from(RELEASES), st.sampled_from([None, *RELEASES, b"GONE=\nMINE=\n"]), st.booleans())
def test_nothing_of_the_users_changes_up_and_back(data: bytes, release: bytes, base: bytes | None, fill: bool) -> None:
    """For any file: values stay as python-dotenv reads them, a second merge does nothing, and the way back is exact."""
    target = template(release)
    merged = merge(data, target, base=base, fill={"SECRET": "f" * 64} if fill else {})
    was, now = values(data), values(merged.data)
    names = dict(merged.renamed)
    untouched = {names.get(key, key): value for key, value in was.items() if key not in merged.commented}
    assert {key: now.get(key) for key in untouched} == untouched
    assert set(now) == {*untouched, *merged.added}
    assert merge(merged.data, target, base=release).data == merged.data
    assert revert(merged.data, before=data, after=merged.data).data == data
    if data.endswith(b"\n"):
        assert there_and_back(data, merged) == data


@given(FILES, st.sampled_from(RELEASES))
def test_a_way_back_is_taken_back_beside_what_was_saved_meanwhile(data: bytes, release: bytes) -> None:
    """What came out comes in again with the same values and in the same order; whatever is in the file stays."""
    merged = merge(data, template(release))
    assume(not merged.renamed)
    current = data.rstrip(b"\r\n \\") + b"\n\nSAVED='u'\n"
    again = revert(current, before=merged.data, after=data).data or b""
    now, then = values(again), values(merged.data)
    assert {key: now[key] for key in merged.added} == {key: then[key] for key in merged.added}
    assert [key for key in now if key in merged.added] == [key for key in then if key in merged.added]
    assert {key: now[key] for key in values(current)} == values(current)
    assert revert(again, before=merged.data, after=data).data == again


@given(FILES, st.sampled_from(RELEASES), FILES)
def test_going_back_never_loses_a_value_that_the_user_wrote(data: bytes, release: bytes, extra: bytes) -> None:
    """Whatever the user appends after our merge is read the same after going back, and again after going up."""
    merged = merge(data, template(release))
    wrote = {key: value for key, value in values(extra).items() if key not in values(merged.data)}
    text = "".join(f"{key}='u'\n" for key in wrote if key.isidentifier())
    current = merged.data.rstrip(b"\r\n \\") + b"\n\n" + text.encode()
    back = revert(current, before=data, after=merged.data).data or b""
    assert set(text.split("='u'\n")) - {""} <= set(values(back))
    up = merge(back, template(release))
    names = dict(up.renamed)
    assert all(values(up.data)[names.get(key, key)] == "u" for key in values(text.encode()))


@given(st.text(st.characters(exclude_characters="\0"), max_size=12))
def test_what_we_write_is_read_alike_by_all_three(value: str) -> None:
    """A line that we write is read as the same value by all programs, or it is refused."""
    try:
        data = merge(b"", template(b"LEVEL=\n"), explicit={"LEVEL": value}).data
    except EnvFileError:
        return
    assert read_alike(data.decode(), ("LEVEL", value))
    assert Document.parse(data, name=".env").get("LEVEL") == value


def seconds(count: int) -> tuple[float, float]:
    """Return the processor time of adding every second one of `count` keys, and of taking that back."""
    lines = [b"# about\nKEY_%d=%d\n\n" % (number, number) for number in range(count)]
    half, whole = b"".join(lines[::2]), template(b"".join(lines))
    start = time.process_time()
    merged = merge(half, whole)
    middle = time.process_time()
    assert len(merged.added) == count // 2
    assert revert(merged.data + b"Z=1\n", before=half, after=merged.data).data == half + b"Z=1\n"
    return middle - start, time.process_time() - middle


def test_the_work_grows_with_the_keys_and_not_with_their_square() -> None:
    """Ten times the keys take about ten times as long, where a square would take a hundred times; 5,000 are no wait."""
    few, many = seconds(500), seconds(5000)
    assert all(longer < 40 * shorter for shorter, longer in zip(few, many, strict=True))
    assert max(many) < 5
