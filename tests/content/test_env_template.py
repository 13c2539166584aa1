"""A template says of each key what it is, whether it is needed, and whether it may be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from vvmigrate.content.env.document import readers_differ
from vvmigrate.content.env.template import Generate, Key, Template, problem
from vvmigrate.errors import EnvFileError

RELEASE = Path(__file__).parents[2] / ".env.example"


def parse(text: str) -> Template:
    """Parse text as a template."""
    return Template.parse(text.encode(), name=".env.example")


def key(comment: str, name: str = "K") -> Key:
    """Return the one key of a template with these comments."""
    return parse(f"{comment}\n{name}=\n").keys[0]


def test_a_key_has_the_comments_directly_above_it() -> None:
    """A blank line or a divider ends a block; decorators are no part of the description."""
    template = parse(
        "# head\n# @defaultSensitive=false\n# ---\n\n# lost\n\n# One\n# @required # why\n# two.\nA=1\n# ---\nB=\n"
    )
    first, second = template.keys
    assert (first.name, first.default, first.description) == ("A", "1", "One two.")
    assert first.required
    assert not first.sensitive
    assert first.block == b"# One\n# @required # why\n# two.\nA=1\n"
    assert (second.description, second.block) == ("", b"B=\n")


@pytest.mark.parametrize(
    ("header", "comment", "name", "sensitive", "required"),
    [
        ("", "", "K", True, False),
        ("", "# @sensitive=false @required", "K", False, True),
        ("", "# @public @required=false", "K", False, False),
        ("# @defaultSensitive=false @defaultRequired=true", "", "K", False, True),
        ("# @defaultSensitive=false @defaultRequired=true", "# @sensitive @optional", "K", True, False),
        ("# @defaultSensitive=inferFromPrefix(PUBLIC_)", "", "PUBLIC_K", False, False),
        ("# @defaultSensitive=inferFromPrefix(PUBLIC_)", "", "K", True, False),
        ("# @defaultRequired=infer", "", "K", True, False),
    ],
)
def test_sensitive_and_required_by_key_and_by_header(
    header: str,
    comment: str,
    name: str,
    sensitive: bool,
    required: bool,
) -> None:
    """The key's own word outranks the header's; without any a key is sensitive and not required."""
    found = parse(f"{header}\n# ---\n\n{comment}\n{name}=\n").keys[0]
    assert (found.sensitive, found.required) == (sensitive, required)


def test_infer_requires_keys_with_a_default() -> None:
    """As env-spec has it: a value in the template makes the key required."""
    template = parse("# @defaultRequired=infer\n# ---\nA=1\nB=\n")
    assert [found.required for found in template.keys] == [True, False]


def test_our_own_decorators() -> None:
    """`@generate` and `@was` are read."""
    found = key("# @generate=hex(32) @was=OLD_NAME")
    assert (found.generate, found.was) == (Generate(32), ("OLD_NAME",))
    assert key("# @was=any(OLD, OLDER)").was == ("OLD", "OLDER")


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("ip", ["10.0.0.1", "::1"], ["10.0.0.256", "dvr", "10.0.0.1/8"]),
        ("ip(version=4)", ["10.0.0.1"], ["::1"]),
        ("domain", ["a.example.com"], ["localhost", "10.0.0.1", "a b.com", "-a.com", "http://a.com"]),
        (
            "domain(allowIp=true, allowSingleLabel=true)",
            ["dvr", "10.0.0.1", "::1", "dvr.local"],
            ["10.0.0.256", "a/b", "a:1"],
        ),
        ("port", ["0", "65535"], ["65536", "-1", "80.5", "x"]),
        ("port(min=1024)", ["1024"], ["80"]),
        ("url", ["https://a.b/c?d", "http://[::1]:80/"], ["a.b/c", "https://", "https://a:99999/", "https://a b/"]),
        ("enum(DEBUG, INFO)", ["DEBUG"], ["debug", "DEBUG,"]),
        ("number", ["1", "-2.5", "1e3"], ["one", "nan", "inf", "1_000"]),
        ("number(isInt=true, min=1, max=9)", ["1", "9"], ["0", "10", "1.5"]),
        ("boolean", ["true", "0", "Yes"], ["maybe"]),
        ('string(minLength=2, startsWith="/", matches="a$")', ["/a"], ["a", "/b", "/"]),
        ("email", ["a@b.co"], ["a@b", "@b.co"]),
        ("semver", ["1.2.3-rc.1"], ["1.2"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123"]),
        ("isoDate", ["2024-03-20T15:30:00Z"], ["soon"]),
    ],
)
def test_types_accept_and_reject(kind: str, right: list[str], wrong: list[str]) -> None:
    """Each type by its rule; what is wrong is said without the value."""
    found = key(f"# @type={kind}")
    assert [problem(found, value) for value in right] == [None] * len(right)
    for value in wrong:
        said = problem(found, value)
        assert said is not None
        assert said.startswith("K must be ")


def test_an_empty_value_is_wrong_only_for_a_required_key() -> None:
    """Empty means: not set."""
    assert problem(key("# @type=port"), "") is None
    assert problem(key("# @required @type=port"), "") == "K needs a value"


def test_a_problem_does_not_repeat_the_value() -> None:
    """A secret that is of the wrong type is still a secret."""
    for kind in ("ip", "url", "port", "number", "enum(a)", "string(isLength=64)", "uuid"):
        assert "hunter2" not in str(problem(key(f"# @type={kind}"), "hunter2"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A=1\nB=2\nA=3\n", "A stands on lines 1 and 3"),
        ("A=1\n# @type=colour\nB=\n", "line 3: @type=colour"),
        ("# @type=enum\nA=\n", "no values"),
        ("# @type=port(low=1)\nA=\n", "no option low"),
        ("# @type=port(min=x)\nA=\n", "an option's value"),
        ("# @required=maybe\nA=\n", "neither true nor false"),
        ("# @required @optional\nA=\n", "both @required and @optional"),
        ("# @required @required\nA=\n", "given twice"),
        ("# @required stray\nA=\n", "no decorator: stray"),
        ("# @generate=uuid()\nA=\n", "@generate"),
        ("# @generate=hex(x)\nA=\n", "@generate"),
        ("# @was=A\nA=\n", "not another name"),
        ("# @was=any(B, A)\nA=\n", "not another name"),
        ("A=1 # @required\n", "comment behind the value"),
        ("# C:\\\nA=1\n", "ends in a backslash"),
        ("A-B=1\n", "not NAME=value"),
        ("A B=1\n", "not NAME=value"),
        ("A\n", "not NAME=value"),
    ],
)
def test_a_template_that_would_mislead_is_refused(text: str, words: str) -> None:
    """A release author's slip is an error with its line, never a key without protection."""
    with pytest.raises(EnvFileError, match=words):
        parse(text)


def test_the_release_template_is_sound() -> None:
    """Its defaults fit their types, every program reads its lines alike, and secrets have no default."""
    template = Template.parse(RELEASE.read_bytes(), name=RELEASE.name)
    assert template.document.to_bytes() == RELEASE.read_bytes()
    for found in template.keys:
        assert not found.default or problem(found, found.default) is None
        assert found.description
        assert not (found.sensitive and found.default)
    assert [readers_differ(binding) for binding in template.document.bindings] == [None] * len(template.keys)
    assert {found.name for found in template.keys if found.required} == {
        "VIDEO_STORAGE_ROOT",
        "DVR_IP",
        "HMAC_SECRET_KEY",
    }
    secret = template.get("HMAC_SECRET_KEY")
    assert secret is not None
    assert (secret.sensitive, secret.generate) == (True, Generate(32))
    assert template.is_sensitive("A_KEY_OF_THE_USERS")
