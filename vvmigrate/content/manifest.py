"""model_manifest.json: which models a release can install, and what each must be.

Pure: bytes in, values out. Whatever is wrong is found in one go, before anything is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar

from vvmigrate.content import manifest_rules, manifest_shape, strict_json
from vvmigrate.errors import ManifestError

MANIFEST_VERSION = 1
MAX_SHOWN_PROBLEMS = 200

Format: TypeAlias = Literal["file", "tar.gz", "tar.zst", "zip"]
Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Limits:
    """What an archive may grow to while it is unpacked.

    The defaults are wide for a model (weights hardly compress) and narrow for a bomb.

    Args:
        max_files: the most files and folders.
        max_bytes: the most bytes of all files together.
        max_ratio: how many times larger than the download the files may be.
        max_depth: the most parts in a file's relative path; a file at the top has one.
    """

    max_files: int = 10_000
    max_bytes: int = 16 * 1024**3
    max_ratio: int = 200
    max_depth: int = 16


@dataclass(frozen=True)
class InstalledFile:
    """One file in a model's installed folder.

    Args:
        name: its path relative to that folder, with `/` between the parts.
        sha256: 64 lower-case hexadecimal digits.
        size_bytes: its exact size, which may be 0.
    """

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Artefact:
    """What is downloaded for one variant of a model.

    Args:
        urls: places that hold the same bytes, in the order to try them: http(s) URLs, or files of the release as
            relative paths (`is_relative` tells which).
        format: how the bytes become files.
        filename: the name of a raw file in the installed folder; of an archive, only the download's name.
        size_bytes: the exact size of the download.
        sha256: of the download, 64 lower-case hexadecimal digits.
        content: "gguf" asks for a check of the header.
        files: what stands in the installed folder, sorted by name; empty where the manifest does not say.
        chunk_sha256: of each `chunk_bytes` of the download; empty where the manifest does not say.
        chunk_bytes: the size of a chunk, None where there are no chunks.
        limits: what an archive may grow to.
    """

    urls: tuple[str, ...]
    format: Format
    filename: str
    size_bytes: int
    sha256: str
    content: Literal["gguf"] | None = None
    files: tuple[InstalledFile, ...] = ()
    chunk_sha256: tuple[str, ...] = ()
    chunk_bytes: int | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Args:
        license: as an SPDX identifier where there is one.
        required: whether the host is not up without it.
        variants: its forms by name, of which a host installs one.
    """

    license: str
    required: bool
    variants: Mapping[str, Artefact]


@dataclass(frozen=True)
class Manifest:
    """All models of a release.

    Args:
        models: versions by model and version name.
        name: what messages call the file.
    """

    models: Mapping[str, Mapping[str, Version]]
    name: str = "model_manifest.json"

    def version(self, model: str, version: str) -> Version:
        """Return one version of a model.

        Raises:
            ManifestError: there is no such model or version; says which there are.
        """
        versions = _pick(self.models, model, "model", self.name)
        return _pick(versions, version, f"version of {strict_json.shown(model)}", self.name)

    def artefact(self, model: str, version: str, variant: str) -> Artefact:
        """Return what is downloaded for one variant.

        Raises:
            ManifestError: there is no such model, version or variant; says which there are.
        """
        variants = self.version(model, version).variants
        hint = f"vvmigrate upgrade head --set VV_MODEL_VARIANT={min(variants)}" if variants else ""
        return _pick(variants, variant, f"variant of {strict_json.shown(model)} {version}", self.name, hint)

    def artefacts(self) -> Iterator[tuple[str, str, str, Artefact]]:
        """Model, version and variant of everything that can be downloaded, and what that is."""
        for model, versions in self.models.items():
            for version, body in versions.items():
                for variant, artefact in body.variants.items():
                    yield model, version, variant, artefact


def is_relative(url: str) -> bool:
    """Tell a file of the release (a relative path, taken literally) from an http(s) URL."""
    return manifest_rules.is_relative(url)


def parse(data: bytes, *, name: str) -> Manifest:
    """Read a manifest.

    Args:
        data: the file's bytes.
        name: what messages call the file.

    Raises:
        ManifestError: the bytes are not a manifest, or one for a newer vvmigrate; lists every problem with its JSON
            pointer, and quotes no URL.
    """
    try:
        document, problems = strict_json.load(data)
    except ValueError as error:
        raise _refused(name, str(error)) from None
    _refuse_newer(document, name)
    rules = manifest_rules.problems(document, asdict(Limits()))
    for source in (manifest_shape.problems(document), rules):
        problems.extend(islice(source, strict_json.MAX_PROBLEMS))
    if problems:
        raise _refused(name, _listed(problems))
    return _manifest(document, name)


def _pick(choices: Mapping[str, Choice], wanted: str, kind: str, name: str, hint: str = "") -> Choice:
    """Return one of the choices, or say which there are."""
    if wanted not in choices:
        there_are = ", ".join(choices) or "none"
        what = f"no {kind} is called {strict_json.shown(wanted)}; there are: {there_are}"
        raise ManifestError(f"{name}: {what}", hint=hint, path=name)
    return choices[wanted]


def _refuse_newer(document: object, name: str) -> None:
    """Say one thing about a manifest from the future, not what else is new in it."""
    found = document.get("manifest_version") if isinstance(document, dict) else None
    if type(found) is int and found > MANIFEST_VERSION:
        raise ManifestError(
            f"{name}: /manifest_version: made for a newer vvmigrate: expected at most {MANIFEST_VERSION}, "
            f"found {strict_json.shown(found)}",
            hint="update vvmigrate, or use the manifest of the release that this vvmigrate came with",
            path=name,
        )


def _refused(name: str, what: str) -> ManifestError:
    """Return the error for a file that is no manifest."""
    hint = f"correct {name}, or restore the release's own copy; nothing was downloaded or changed"
    return ManifestError(f"{name}: {what}", hint=hint, path=name)


def _listed(problems: Sequence[strict_json.Problem]) -> str:
    """Return the problems in order of their place, one a line."""
    lines = sorted({str(problem) for problem in problems})
    more = len(lines) - MAX_SHOWN_PROBLEMS
    least = "at least " if len(problems) >= strict_json.MAX_PROBLEMS else ""
    rest = [f"and {least}{more} more"] if more > 0 else []
    count = "1 problem" if len(lines) == 1 else f"{least}{len(lines)} problems"
    return "\n  ".join([f"{count}:", *lines[:MAX_SHOWN_PROBLEMS], *rest])


def _manifest(document: Any, name: str) -> Manifest:
    """Build the values from a document that passed every check."""
    models = {
        model: MappingProxyType({version: _version(body) for version, body in versions.items()})
        for model, versions in document["models"].items()
    }
    return Manifest(MappingProxyType(models), name)


def _version(body: dict[str, Any]) -> Version:
    """Build one version of a model."""
    variants = {variant: _artefact(artefact) for variant, artefact in body["variants"].items()}
    return Version(body["license"], body["required"], MappingProxyType(variants))


def _artefact(body: dict[str, Any]) -> Artefact:
    """Build one variant, with what the manifest leaves open filled in."""
    files = (InstalledFile(name, file["sha256"], file["size_bytes"]) for name, file in body.get("files", {}).items())
    return Artefact(
        urls=tuple(body["urls"]),
        format=body["format"],
        filename=body.get("filename", manifest_rules.default_filename(body["urls"][0])),
        size_bytes=body["size_bytes"],
        sha256=body["sha256"],
        content=body.get("content"),
        files=tuple(sorted(files, key=lambda file: file.name)),
        chunk_sha256=tuple(body.get("chunk_sha256", ())),
        chunk_bytes=body.get("chunk_bytes"),
        limits=Limits(**body.get("limits", {})),
    )
