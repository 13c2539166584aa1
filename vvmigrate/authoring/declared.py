"""What the inputs of a release declare: plain values, read from its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vvmigrate.authoring.checkout import Checkout, Line
from vvmigrate.content import manifest
from vvmigrate.content.env.template import TEMPLATE, Template
from vvmigrate.errors import RefusedError
from vvmigrate.files import Place
from vvmigrate.operations import Fact, InstallAssets
from vvmigrate.operations.base import ASSET, DIRECTORY, KEY, MODEL
from vvmigrate.operations.directories import is_below_root
from vvmigrate.operations.env_names import pin
from vvmigrate.operations.generation import MANIFEST
from vvmigrate.operations.model import version_pin
from vvmigrate.settings import read_ini

ASSETS = ("fallback", "fallback")
"""The folder of the release, and that of the storage root, whose files are assets though no revision says so yet."""

_NUMBERS = re.compile(r"v?(\d+(?:\.\d+)*)", re.ASCII)


@dataclass(frozen=True)
class Declared:
    """What a release's inputs say.

    Attributes:
        facts: what is to hold on a host that has the release.
        folders: where assets come from: folder of the release by folder of the storage root.
        template: `.env.example`; None where there is none.
        metadata: where the orchestrator's tables are declared, as `module:attribute`; empty where nobody says.
    """

    facts: Mapping[Fact, str]
    folders: Mapping[str, str]
    template: Template | None = None
    metadata: str = ""


def read(checkout: Checkout, line: Line) -> Declared:
    """Read every input of a release.

    Args:
        line: its revisions say which folders hold assets.

    Raises:
        RefusedError: one of them is not what it should be.
    """
    ini, _ = read_ini(checkout.home)
    facts: dict[Fact, str] = {}
    for name in ini.get("directories", "").split():
        if not is_below_root(name):
            raise RefusedError(f"alembic.ini: directories: {name!r} is not a name below the storage root")
        facts[Fact(DIRECTORY, name)] = ""
    folders = _folders(line)
    for target, source in folders.items():
        facts |= _assets(checkout.tree / source, target)
    template = _template(checkout.tree / TEMPLATE)
    facts |= {Fact(KEY, key.name): pin(key) for key in (template.keys if template else ())}
    facts |= _models(checkout.tree / MANIFEST)
    return Declared(facts, folders, template, ini.get("metadata", ""))


def newest(versions: list[str]) -> str:
    """The highest of some version names: by their numbers, so that 1.10 follows 1.9; 2.0-rc1 comes before 2.0."""
    return max(versions, key=_rank)


def _rank(version: str) -> tuple[list[int], bool, str]:
    numbers = _NUMBERS.match(version)
    rest = version[numbers.end() :] if numbers else version
    return [int(part) for part in numbers[1].split(".")] if numbers else [], not rest, rest


def _folders(line: Line) -> dict[str, str]:
    used = {op.target: op.source for _, op in line.operations if isinstance(op, InstallAssets)}
    source, target = ASSETS
    return {target: source} | used


def _assets(folder: Place, target: str) -> dict[Fact, str]:
    """The files of a folder, but for hidden ones; subfolders hold other things."""
    found = {}
    for name in folder.names():
        place = folder / name
        if name.startswith(".") or place.identity()[0] != "file":
            continue
        if not name.isprintable():
            raise RefusedError(f"{folder.path}: {name!r} is no name for an asset", hint="rename it", path=folder.path)
        found[Fact(ASSET, f"{target}/{name}")] = place.entry().digest
    return found


def _template(place: Place) -> Template | None:
    return Template.parse(place.read(), name=TEMPLATE) if place.identity()[0] == "file" else None


def _models(place: Place) -> dict[Fact, str]:
    """The version of each model that is to be the current one, the highest, with the bytes of its variants."""
    if place.identity()[0] != "file":
        return {}
    found = {}
    for name, versions in manifest.parse(place.read(), name=MANIFEST).models.items():
        version = newest(list(versions))
        digests = {variant: artefact.sha256 for variant, artefact in versions[version].variants.items()}
        found[Fact(MODEL, name)] = version_pin(version, digests)
    return found
