"""Directories, models and assets: what the inputs declare for the storage root, against what revisions bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vvmigrate.authoring.declared import Declared
from vvmigrate.authoring.difference import Difference, Section
from vvmigrate.operations import Fact, InstallAssets, InstallModel, MakeDirectories, RemoveAssets
from vvmigrate.operations.base import ASSET, DIRECTORY, MODEL
from vvmigrate.operations.generation import MANIFEST

Produced = Mapping[Fact, str]
"""What the revisions bring, by pins."""

INI = "alembic.ini"


def directories(declared: Declared, produced: Produced) -> Section:
    """New directories, and those that must hold them. One that is listed no more stays: it holds a user's files."""
    wanted = [name for listed in _names(declared.facts, DIRECTORY) for name in _with_parents(listed)]
    new = sorted({name for name in wanted if Fact(DIRECTORY, name) not in produced})
    if not new:
        return Section()
    found = tuple(Difference(INI, name, f"new directory {name}") for name in new)
    return Section(found, (MakeDirectories(tuple(new)),))


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts) + 1))


def models(declared: Declared, produced: Produced) -> Section:
    """Another version of a model, or other bytes; one that the manifest has no more cannot be taken from hosts."""
    found: list[Difference] = []
    operations: list[InstallModel] = []
    for name in _names(declared.facts, MODEL):
        fact = Fact(MODEL, name)
        pin, before = declared.facts[fact], produced.get(fact)
        if pin != before:
            version, *digests = pin.split(" ")
            found.append(Difference(MANIFEST, name, f"{name} {version}: {_news(version, before)}"))
            pairs = tuple((variant, sha256) for variant, _, sha256 in (part.rpartition("=") for part in digests))
            operations.append(InstallModel(name, version, pairs))
    for name in _names(produced, MODEL):
        if Fact(MODEL, name) not in declared.facts:
            remedy = "put it back: revisions install it, and a new host could not come up without"
            found.append(Difference(MANIFEST, name, f"{name} is gone", remedy))
    return Section(tuple(found), tuple(operations))


def _news(version: str, before: str | None) -> str:
    if before is None:
        return "new model"
    was = before.split(" ")[0]
    return "other bytes or variants" if was == version else f"new version, {was} before"


def assets(declared: Declared, produced: Produced) -> Section:
    """New and changed files are installed, those that are gone removed; both by content."""
    sections = [_folder(source, target, declared, produced) for target, source in sorted(declared.folders.items())]
    return Section(
        tuple(difference for section in sections for difference in section.differences),
        tuple(operation for section in sections for operation in section.operations),
    )


def _folder(source: str, target: str, declared: Declared, produced: Produced) -> Section:
    wanted, there = _in_folder(declared.facts, target), _in_folder(produced, target)
    fresh = {name: pin for name, pin in wanted.items() if there.get(name) != pin}
    gone = {name: pin for name, pin in there.items() if name not in wanted}
    news = {name: "changed asset" if name in there else "new asset" for name in fresh} | dict.fromkeys(gone, "gone")
    found = [Difference(f"{source}/{name}", name, what) for name, what in news.items()]
    operations: list[InstallAssets | RemoveAssets] = []
    if fresh:
        operations.append(InstallAssets(source, target, tuple(fresh.items())))
    if gone:
        operations.append(RemoveAssets(target, tuple(gone.items())))
    return Section(tuple(found), tuple(operations))


def _in_folder(facts: Mapping[Fact, str], target: str) -> dict[str, str]:
    split = {name: name.rpartition("/") for name in _names(facts, ASSET)}
    return {parts[2]: facts[Fact(ASSET, name)] for name, parts in split.items() if parts[0] == target}


def _names(facts: Mapping[Fact, str], kind: str) -> list[str]:
    return sorted(fact.name for fact in facts if fact.kind == kind)
