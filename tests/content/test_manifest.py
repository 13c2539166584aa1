"""model_manifest.json: what is read from a good one, and that a bad one is refused with all its faults at once."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from vvmigrate.content.manifest import Artefact, InstalledFile, Limits, is_relative, parse
from vvmigrate.content.manifest_shape import SCHEMA_PATH
from vvmigrate.errors import ManifestError

NAME = "model_manifest.json"
RELEASE = Path(__file__).parents[2]
VARIANTS = "/models/bitnet_summarizer/1.0.0/variants"
FULL: dict[str, Any] = {
    "urls": ["https://example.org/files/ggml-model.gguf?download=true"],
    "format": "file",
    "size_bytes": 100_000,
    "sha256": "0" * 64,
    "content": "gguf",
}
DEMO: dict[str, Any] = {
    "urls": ["fallback/models/demo.tar.gz", "https://example.org/demo.tar.gz"],
    "format": "tar.gz",
    "size_bytes": 1000,
    "sha256": "1" * 64,
    "files": {
        "ggml-model.gguf": {"sha256": "2" * 64, "size_bytes": 900},
        "README.txt": {"sha256": "3" * 64, "size_bytes": 90},
    },
    "limits": {"max_files": 8},
}
GOOD: dict[str, Any] = {
    "manifest_version": 1,
    "models": {
        "bitnet_summarizer": {
            "1.0.0": {"license": "MIT", "required": True, "variants": {"full": FULL, "demo": DEMO}},
        },
    },
}


def _cases() -> list[Any]:
    """Return every case of the directory, called by its file and its sentence."""
    return [
        pytest.param(case, id=f"{path.stem}: {case['case']}")
        for path in sorted(Path(__file__).with_name("manifest_cases").glob("*.json"))
        for case in json.loads(path.read_text("utf-8"))
    ]


def _whole(pointer: str) -> str:
    """Return a pointer without the cases' abbreviations."""
    return pointer.replace("@", f"{VARIANTS}/", 1) if pointer.startswith("@") else pointer


def _data(case: dict[str, Any]) -> bytes:
    """Return the manifest that a case describes."""
    if "text" in case:
        return str(case["text"]).encode()
    if "base64" in case:
        return base64.b64decode(case["base64"])
    document = copy.deepcopy(GOOD)
    edits = [(pointer, True) for pointer in case.get("set", ())] + [(p, False) for p in case.get("remove", ())]
    for pointer, is_set in edits:
        *above, last = (part.replace("~1", "/").replace("~0", "~") for part in _whole(pointer).split("/")[1:])
        target = document
        for part in above:
            target = target[part]
        if is_set:
            target[last] = case["set"][pointer]
        else:
            target.pop(last, None)
    return json.dumps(document).encode()


def _refusal(data: bytes) -> ManifestError:
    """Return the error that a manifest causes."""
    with pytest.raises(ManifestError) as caught:
        parse(data, name=NAME)
    return caught.value


@pytest.mark.parametrize("case", _cases())
def test_case(case: dict[str, Any]) -> None:
    """A manifest of the directory of cases causes exactly the problems that are written beside it."""
    if "expect" not in case and "fatal" not in case:
        parse(_data(case), name=NAME)
        return
    message = _refusal(_data(case)).message
    assert "s3cret" not in message
    first, *lines = message.split("\n")
    if "fatal" in case:
        assert case["fatal"] in first
        assert not lines
        return
    # Blanks at the end of an expected pointer only keep the cases' keys apart.
    for pointer, words in case["expect"].items():
        start = f"  {_whole(pointer).rstrip() or '/'}: "
        assert any(line.startswith(start) and words in line for line in lines), (start, words, lines)
    assert len(lines) == len(case["expect"]), lines


def test_a_good_manifest_is_read_whole() -> None:
    """Every field of the manifest arrives, and what it leaves open has its default."""
    manifest = parse(json.dumps(GOOD).encode(), name=NAME)
    version = manifest.version("bitnet_summarizer", "1.0.0")
    assert (version.license, version.required, list(version.variants)) == ("MIT", True, ["full", "demo"])
    assert manifest.artefact("bitnet_summarizer", "1.0.0", "full") == Artefact(
        urls=("https://example.org/files/ggml-model.gguf?download=true",),
        format="file",
        filename="ggml-model.gguf",
        size_bytes=100_000,
        sha256="0" * 64,
        content="gguf",
    )
    assert manifest.artefact("bitnet_summarizer", "1.0.0", "demo") == Artefact(
        urls=("fallback/models/demo.tar.gz", "https://example.org/demo.tar.gz"),
        format="tar.gz",
        filename="demo.tar.gz",
        size_bytes=1000,
        sha256="1" * 64,
        files=(InstalledFile("README.txt", "3" * 64, 90), InstalledFile("ggml-model.gguf", "2" * 64, 900)),
        limits=Limits(max_files=8),
    )


def test_a_manifest_cannot_be_changed() -> None:
    """What was checked stays as it was: neither a field nor a mapping can be replaced."""
    manifest = parse(json.dumps(GOOD).encode(), name=NAME)
    artefact = manifest.artefact("bitnet_summarizer", "1.0.0", "demo")
    with pytest.raises(dataclasses.FrozenInstanceError):
        artefact.sha256 = "f" * 64  # type: ignore[misc]
    with pytest.raises(TypeError):
        manifest.models["bitnet_summarizer"]["1.0.0"] = None  # type: ignore[index]
    assert hash(artefact) == hash(dataclasses.replace(artefact))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (("yolo", "1.0.0", "full"), "no model is called 'yolo'; there are: bitnet_summarizer"),
        (("bitnet_summarizer", "9", "full"), "no version of 'bitnet_summarizer' is called '9'; there are: 1.0.0"),
        (("bitnet_summarizer", "1.0.0", "x"), "no variant of 'bitnet_summarizer' 1.0.0 is called 'x'; there are: full"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(wanted: tuple[str, str, str], words: str) -> None:
    """Asking for an unknown model, version or variant names the known ones."""
    manifest = parse(json.dumps(GOOD).encode(), name=NAME)
    with pytest.raises(ManifestError, match=re.escape(words)):
        manifest.artefact(*wanted)


def test_a_file_of_the_release_is_told_from_a_url() -> None:
    """A relative path is taken literally; whatever begins with a scheme is a URL."""
    assert is_relative("fallback/models/bitnet_demo.tar.gz")
    assert not is_relative("https://example.org/x")


def test_the_default_name_is_decoded() -> None:
    """A file name comes from the URL's path without its percent signs and its query."""
    document = copy.deepcopy(GOOD)
    document["models"]["bitnet_summarizer"]["1.0.0"]["variants"]["full"]["urls"] = ["https://example.org/a/b%20c?d=/e"]
    artefact = parse(json.dumps(document).encode(), name=NAME).artefact("bitnet_summarizer", "1.0.0", "full")
    assert artefact.filename == "b c"


def test_more_than_ten_megabytes_are_not_even_parsed() -> None:
    """A file over the limit is refused by its size, whatever is in it; one byte less is read."""
    limit = 10 * 1024 * 1024
    good = json.dumps(GOOD).encode()
    assert f"larger than {limit} bytes" in _refusal(good.ljust(limit + 1)).message
    parse(good.ljust(limit), name=NAME)


@pytest.mark.parametrize("depth", [33, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth: int, opening: str, closing: str) -> None:
    """Nesting that would exhaust the stack ends in a sentence, not in a RecursionError."""
    text = opening * depth + "1" + closing * depth
    assert "nested deeper than 32 levels" in _refusal(text.encode()).message


@pytest.mark.parametrize(("number", "total", "rest"), [(500, "500", "300"), (100_000, "at least 1000", "at least 800")])
def test_hundreds_of_problems_are_counted_and_not_all_printed(number: int, total: str, rest: str) -> None:
    """A file that is wrong everywhere gives a list that a person can read, and the number of the rest."""
    document = {"manifest_version": 1, "models": {}, **{f"x{index}": 1 for index in range(number)}}
    lines = _refusal(json.dumps(document).encode()).message.split("\n")
    assert f": {total} problems" in lines[0]
    assert (len(lines), lines[-1]) == (202, f"  and {rest} more")


def test_a_path_of_a_million_parts_is_refused_without_building_them() -> None:
    """What is refused for its length is not compared with the others, which would take all memory."""
    document = copy.deepcopy(GOOD)
    demo = document["models"]["bitnet_summarizer"]["1.0.0"]["variants"]["demo"]
    demo["files"] = {"a/" * 1_000_000 + "a": {"sha256": "0" * 64, "size_bytes": 1}}
    assert "longer than 1024 bytes" in _refusal(json.dumps(document).encode()).message


def test_more_files_than_a_person_could_have_meant_are_refused() -> None:
    """A list of more than 10,000 installed files is refused, as the schema says."""
    document = copy.deepcopy(GOOD)
    demo = document["models"]["bitnet_summarizer"]["1.0.0"]["variants"]["demo"]
    demo["files"] = {f"{index}": {"sha256": "0" * 64, "size_bytes": 1} for index in range(10_001)}
    demo["limits"] = {"max_files": 20_000}
    assert "from 1 to 10000, found an object" in _refusal(json.dumps(document).encode()).message


def test_a_refusal_says_the_file_and_what_to_do() -> None:
    """The error holds the file's name, a hint and the exit code of a refusal."""
    error = _refusal(b"")
    assert (error.path, error.exit_code) == (NAME, 6)
    assert error.hint is not None
    assert "nothing was downloaded" in error.hint


def test_every_field_of_the_schema_is_described() -> None:
    """The published schema explains each of its fields and definitions in words; messages are made of them."""
    schema = json.loads(SCHEMA_PATH.read_text("utf-8"))
    fields = dict(schema["$defs"])
    for definition in [schema, *schema["$defs"].values()]:
        fields.update(definition.get("properties", {}))
    assert len(fields) > 20
    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_the_schema_is_itself_valid() -> None:
    """Editors and other validators can use the published schema as it is."""
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(json.loads(SCHEMA_PATH.read_text("utf-8")))


def test_the_default_limits_are_those_that_the_schema_promises() -> None:
    """The figures in the schema's descriptions are the ones in the code."""
    described = json.loads(SCHEMA_PATH.read_text("utf-8"))["$defs"]["limits"]["properties"]
    promised = {name: field["description"] for name, field in described.items()}
    limits = Limits()
    assert f"{limits.max_files} unless said" in promised["max_files"]
    assert f"{limits.max_bytes // 1024**3} GiB unless said" in promised["max_bytes"]
    assert f"{limits.max_ratio} unless said" in promised["max_ratio"]
    assert f"{limits.max_depth} unless said" in promised["max_depth"]


def test_importing_the_module_does_not_import_the_validator() -> None:
    """A command that reads no manifest does not pay for jsonschema."""
    code = "import sys, vvmigrate.content.manifest; sys.exit('jsonschema' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=RELEASE).returncode == 0


def test_the_release_ships_what_its_manifest_promises() -> None:
    """The demonstration model has the size, digest and files of the manifest, which pins the full one by revision."""
    manifest = parse((RELEASE / NAME).read_bytes(), name=NAME)
    demo = manifest.artefact("bitnet_summarizer", "1.0.0", "demo")
    archive = RELEASE / demo.urls[0]
    data = archive.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (demo.size_bytes, demo.sha256)
    with tarfile.open(archive) as unpacked:
        members = {member.name: unpacked.extractfile(member) for member in unpacked.getmembers()}
        inside = {name: stream.read() for name, stream in members.items() if stream is not None}
    found = tuple(InstalledFile(n, hashlib.sha256(d).hexdigest(), len(d)) for n, d in sorted(inside.items()))
    assert found == demo.files
    assert inside["ggml-model-i2_s.gguf"].startswith(b"GGUF\x03\0\0\0")
    assert b"bitnet-b1.58" in inside["ggml-model-i2_s.gguf"][:200]
    full = manifest.artefact("bitnet_summarizer", "1.0.0", "full")
    assert re.search(r"/resolve/[0-9a-f]{40}/", full.urls[0])
