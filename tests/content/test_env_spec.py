"""The template is env-spec, as env-spec's own parser reads it: the npm package `@env-spec/parser`, under node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from vvmigrate.content.env.decorators import Call, read_decorators
from vvmigrate.content.env.lines import COMMENT
from vvmigrate.content.env.template import Template

RELEASE = Path(__file__).parents[2] / ".env.example"
PACKAGE, VERSION = "@env-spec/parser", "0.0.8"
SCRIPT = """
const { parseEnvSpecDotEnvFile } = require('@env-spec/parser');
const said = (d) => [d.name, d.value?.name ?? null, d.value?.simplifiedArgs ?? d.simplifiedValue];
const file = parseEnvSpecDotEnvFile(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify({
    header: file.decoratorsArray.map(said),
    keys: file.configItems.map((item) => [
        item.key, item.value?.unescapedValue ?? '', item.description, item.decoratorsArray.map(said),
    ]),
}));
"""
OURS = b"""\
# @defaultRequired=false
# ---

# Has been called otherwise.
# @was=any(OLD, OLDER) @type=enum(a, b) # why
NEW=a

# @was=FORMER @generate=hex(8)
MADE=
"""


@pytest.fixture(scope="module")
def modules() -> Path:
    """Where the package is: in the user's cache, brought by npm where it is not yet."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vvmigrate-tests"
    place = cache / f"env-spec-parser-{VERSION}"
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=cache))
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{PACKAGE}@{VERSION}"]
        done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(fresh)
            pytest.skip(f"npm cannot bring {PACKAGE}: {done.stderr.strip()[:200]}")
        with suppress(OSError):  # another run was faster
            fresh.rename(place)
    return place / "node_modules"


def by_env_spec(modules: Path, data: bytes) -> Any:
    """Read a template with env-spec's parser, which throws where it has anything to complain of."""
    environ = {**os.environ, "NODE_PATH": str(modules)}
    done = subprocess.run(["node", "-e", SCRIPT], input=data, env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def plain(call: Call, word: str | None) -> Any:
    """One of our decorators as env-spec's parser says it."""
    values = {name: _typed(value) for name, value in call.options.items()}
    listed = values or [_typed(value) for value in call.arguments]
    return [call.name, listed] if word is not None else [None, _typed(call.name)]


def _typed(text: str) -> Any:
    with suppress(ValueError):
        return float(text)
    return {"true": True, "false": False}.get(text, text)


@pytest.mark.parametrize("data", [RELEASE.read_bytes(), OURS], ids=["the release's", "our own words"])
def test_env_spec_reads_our_template_as_we_do(modules: Path, data: bytes) -> None:
    """Without a complaint: the same keys, defaults, descriptions, and decorators with the same arguments."""
    found, template = by_env_spec(modules, data), Template.parse(data, name=RELEASE.name)
    assert {name for name, _, _ in found["header"]} <= {"defaultRequired", "defaultSensitive"}
    assert [name for name, *_ in found["keys"]] == [key.name for key in template.keys]
    for key, (_, value, description, decorators) in zip(template.keys, found["keys"], strict=True):
        assert value == _typed(key.default)
        assert description.split() == key.description.split()
        ours = read_decorators([line.text for line in key.lines if line.kind == COMMENT])
        assert [name for name, _, _ in decorators] == [*ours]
        for name, word, arguments in decorators:
            assert [word, arguments] == plain(ours[name], word), (key.name, name)
