"""`op.install_model`: a version of the manifest's model is the current one.

models/<name>                      -> .store/<name>-<version>-<sha12>      the current one, a relative link
models/.store/<name>-<version>-<sha12>/                                    a generation; stays until it is pruned
models/.store/<name>-<version>-<sha12>.json                                its entry in the information file
models/.current_model_info.json                                            what is current, for the summariser
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from alembic.operations import Operations

from vvmigrate.content import gguf, manifest
from vvmigrate.content.delivery import archive, download
from vvmigrate.content.delivery.http import HttpSettings, shown
from vvmigrate.content.manifest import Artefact
from vvmigrate.engine import state as st
from vvmigrate.engine.session import now
from vvmigrate.engine.state import Change, Download, Kept, Proposal
from vvmigrate.errors import ArchiveError, ManifestError, RefusedError
from vvmigrate.files import ABSENT, Entry, Owner, Place
from vvmigrate.operations.base import Operation, Situation, root

MANIFEST = "model_manifest.json"
MODELS, STORE, INFO = "models", "models/.store", "models/.current_model_info.json"
DIRECTORY_MODE, FILE_MODE = 0o755, 0o644


@Operations.register_operation("install_model")
@dataclass(frozen=True)
class InstallModel(Operation):
    """A version of a model is current.

    Attributes:
        name: the model's name in the manifest.
        version: the version.
        sha256: (variant, digest) pairs that the manifest must agree with; empty for no pin.
    """

    name: str
    version: str
    sha256: tuple[tuple[str, str], ...] = ()

    @classmethod
    def install_model(
        cls, operations: Operations, name: str, version: str, sha256: dict[str, str] | None = None
    ) -> None:
        """Let this version of the manifest's model be the current one, in the host's variant.

        Args:
            sha256: the artefact's SHA-256 by variant: pins what the manifest says.
        """
        operations.invoke(cls(name, version, tuple(sorted((sha256 or {}).items()))))

    def propose(self, situation: Situation) -> Proposal:
        """Fetch what the store lacks, switch the link, say so in the information file."""
        artefact = self._artefact(situation)
        later = [op for op in situation.upcoming if isinstance(op, InstallModel) and op.name == self.name]
        if later:
            text = f"{self.name} {self.version}: not fetched, {later[-1].version} follows in this run"
            return Proposal(skipped=(text,), superseded=True)
        return _Installation(self, artefact, situation).propose()

    def _artefact(self, situation: Situation) -> Artefact:
        place = situation.release() / MANIFEST
        if place.identity()[0] != "file":
            raise ManifestError(f"{place.path}: expected the manifest, found {place.identity()[0]}", path=place.path)
        found = manifest.parse(place.read(11 << 20), name=MANIFEST).artefact(self.name, self.version, situation.variant)
        pin = dict(self.sha256).get(situation.variant)
        if pin is not None and pin != found.sha256:
            raise ManifestError(
                f"{MANIFEST}: {self.name} {self.version} ({situation.variant}): the revision pins SHA-256 {pin}, "
                f"the manifest says {found.sha256}",
                path=place.path,
            )
        return found


@dataclass
class _Installation:
    """One model's installation on one host."""

    operation: InstallModel
    artefact: Artefact
    situation: Situation
    source: str = ""
    main_file: str = ""
    generation: str = field(init=False)

    def __post_init__(self) -> None:
        self.generation = f"{self.operation.name}-{self.operation.version}-{self.artefact.sha256[:12]}"

    def propose(self) -> Proposal:
        """The changes, in the order in which they may be seen: generation, link, information."""
        seen = self.situation.observer.entry(root(f"{MODELS}/{self.operation.name}"))
        if seen.kind in ("file", "other"):
            path = self.situation.host.path(root(f"{MODELS}/{self.operation.name}"))
            raise RefusedError(
                f"{path}: expected a model's folder, found a {seen.kind}", hint="move it away", path=path
            )
        if seen.kind == "dir" and self._verifies(f"{MODELS}/{self.operation.name}"):
            return self._adopt_folder(seen) + self._information()
        return self._store() + self._stored() + self._link(seen) + self._information()

    # ---- the store -----------------------------------------------------------------------------------------------

    def _store(self) -> Proposal:
        target = root(STORE)
        if self.situation.observer.entry(target).exists:
            return Proposal()
        return Proposal(
            (Change(st.MAKE_DIRECTORY, target, ABSENT, self._entry("dir"), lasting=True, detail="the store"),)
        )

    def _stored(self) -> Proposal:
        name = f"{STORE}/{self.generation}"
        target, path = root(name), self.situation.host.path(root(name))
        seen = self.situation.observer.entry(target)
        if seen.exists and self._verifies(name):
            adopted = Change(st.ADOPT, target, seen, seen, lasting=True, detail="in the store, verified")
            return Proposal((adopted,), skipped=(f"{path}: verified, nothing to download",))
        change = Change(
            st.PLACE_TREE,
            target,
            seen,
            self._entry("dir"),
            fill=self._deliver,
            lasting=True,
            detail=f"{self.operation.name} {self.operation.version} ({self.situation.variant})",
            size_bytes=self._installed_bytes() + self.artefact.size_bytes,
        )
        url = self.artefact.urls[0]
        fetched = Download(
            url if manifest.is_relative(url) else shown(url), self.artefact.size_bytes, self.artefact.sha256
        )
        kept = (Kept(path, "does not verify; set aside"),) if seen.exists else ()
        entry = Change(
            st.PLACE_FILE,
            root(name + ".json"),
            self.situation.observer.entry(root(name + ".json")),
            self._entry("file"),
            fill=lambda slot: slot.write(_as_json(self._described()), FILE_MODE, self._given()),
            lasting=True,
            detail="what the information file says of it",
        )
        return Proposal((change, entry), kept=kept, downloads=(fetched,), affects=frozenset({"model"}))

    def _deliver(self, slot: Place) -> None:
        """Download, verify and unpack into the slot."""
        situation, settings = self.situation, self.situation.settings
        partial = partial_place(situation, self.artefact.sha256)
        proxies = {name: url for name, url in settings.proxies.items() if name != "no"}
        web = HttpSettings(proxies, settings.proxies.get("no", ""), settings.ca_bundle or None, dict(settings.tokens))
        report = self._progress()
        self.source = download.fetch(
            self.artefact,
            partial,
            release=situation.release(),
            mirror=settings.mirror or None,
            settings=web,
            progress=report,
        )
        archive.extract(self.artefact, partial, slot, self._given(), report)
        self.main_file = self._find_main(slot)
        if self.artefact.content == "gguf":
            gguf.check_header(slot / self.main_file)

    def _progress(self) -> Callable[[download.Progress], None]:
        listener = self.situation.progress
        if listener is None:
            return lambda _: None
        return lambda p: listener(p.phase, p.done_bytes, p.total_bytes)

    def _find_main(self, folder: Place) -> str:
        """The file that the summariser loads: the raw one, or the archive's first GGUF file."""
        if self.artefact.format == "file":
            return self.artefact.filename
        names = [file.name for file in self.artefact.files] or folder.names()
        models = [name for name in names if name.endswith(".gguf")]
        if self.artefact.content == "gguf" and not models:
            raise ArchiveError(
                f"{self.artefact.filename}: expected a .gguf file in it, found {', '.join(names[:5]) or 'none'}"
            )
        return (models or names or [""])[0]

    def _verifies(self, name: str) -> bool:
        """Whether a folder holds exactly what the manifest promises."""
        wanted = {file.name: (file.sha256, file.size_bytes) for file in self.artefact.files}
        if self.artefact.format == "file":
            wanted = {self.artefact.filename: (self.artefact.sha256, self.artefact.size_bytes)}
        if not wanted:
            return self._recorded_whole(name)
        for file, (sha256, size_bytes) in wanted.items():
            seen = self.situation.observer.entry(root(f"{name}/{file}"))
            if (seen.kind, seen.digest, seen.size_bytes) != ("file", sha256, size_bytes):
                return False
        self.main_file = next((file for file in wanted if file.endswith(".gguf")), next(iter(wanted)))
        return True

    def _recorded_whole(self, name: str) -> bool:
        """Without a list of files only a tree that we recorded, and that still has its digest, can be trusted."""
        recorded = self.situation.recorded().get(root(name))
        digest = recorded[0].note.get("tree", "") if recorded else ""
        return bool(digest) and self.situation.host.place(root(name)).entry(tree=True).digest == digest

    # ---- what is current -----------------------------------------------------------------------------------------

    def _adopt_folder(self, seen: Entry) -> Proposal:
        target = root(f"{MODELS}/{self.operation.name}")
        path = self.situation.host.path(target)
        adopted = Change(st.ADOPT, target, seen, seen, detail="verified", note={"variant": self.situation.variant})
        return Proposal((adopted,), skipped=(f"{path}: verified, nothing to download",))

    def _link(self, seen: Entry) -> Proposal:
        target = root(f"{MODELS}/{self.operation.name}")
        wanted = Entry("link", 0, os.geteuid(), os.getegid(), target=f".store/{self.generation}")
        wanted = wanted.with_attributes(0, self._given())
        if seen.kind == "link" and seen.target == wanted.target:
            note = {"variant": self.situation.variant}
            return Proposal((Change(st.ADOPT, target, seen, seen, detail="is current", note=note),))
        path = self.situation.host.path(target)
        kept = (Kept(path, "another model was there; it is set aside for the way back"),) if seen.kind == "dir" else ()
        note = {"variant": self.situation.variant}
        change = Change(st.SWITCH_LINK, target, seen, wanted, detail=f"to {self.generation}", note=note)
        return Proposal((change,), kept=kept, affects=frozenset({"model"}))

    def _information(self) -> Proposal:
        target = root(INFO)
        seen = self.situation.observer.entry(target)
        current = self._current(seen)
        entry = self._stored_entry()
        if entry is not None and current.get("models", {}).get(self.operation.name) == entry:
            return Proposal((Change(st.ADOPT, target, seen, seen, detail="says so already"),))

        entries: dict[str, Any] = self.situation.memory.setdefault("models", {})  # of other models in this step too

        def fill(slot: Place) -> None:
            entries[self.operation.name] = self._stored_entry() or self._described()
            models = {**current.get("models", {}), **entries}
            slot.write(_as_json({"schema": 1, "models": models}), FILE_MODE, self._given())

        change = Change(st.PLACE_FILE, target, seen, self._entry("file"), fill=fill, detail="names the current model")
        return Proposal((change,), affects=frozenset({"model"}))

    def _current(self, seen: Entry) -> dict[str, Any]:
        """What the information file says of other models; one that cannot be read says nothing."""
        if seen.kind != "file":
            return {}
        try:
            value = json.loads(self.situation.observer.read(root(INFO)))
        except (ValueError, OSError):
            return {}
        return value if isinstance(value, dict) and isinstance(value.get("models"), dict) else {}

    def _stored_entry(self) -> dict[str, Any] | None:
        """The entry that came with the generation when it was first installed: it comes back unchanged with it."""
        place = root(f"{STORE}/{self.generation}.json")
        if self.situation.observer.entry(place).kind != "file":
            return None
        try:
            value = json.loads(self.situation.observer.read(place))
        except (ValueError, OSError):
            return None
        return value if isinstance(value, dict) else None

    def _described(self) -> dict[str, Any]:
        return {
            "model_name": self.operation.name,
            "model_version": self.operation.version,
            "variant": self.situation.variant,
            "sha256": self.artefact.sha256,
            "size_bytes": self.artefact.size_bytes,
            "path": f"{self.operation.name}/{self.main_file}",
            "license": self._license(),
            "source": self.source,
            "installed_at": self.situation.memory.setdefault("installed_at", now()),
        }

    def _license(self) -> str:
        data = (self.situation.release() / MANIFEST).read(11 << 20)
        return manifest.parse(data, name=MANIFEST).version(self.operation.name, self.operation.version).license

    # ---- small things --------------------------------------------------------------------------------------------

    def _installed_bytes(self) -> int:
        return sum(file.size_bytes for file in self.artefact.files) or self.artefact.size_bytes

    def _given(self) -> Owner | None:
        return self.situation.owner if os.geteuid() == 0 else None

    def _entry(self, kind: str) -> Entry:
        mode = DIRECTORY_MODE if kind == "dir" else FILE_MODE
        return Entry(kind, 0, os.geteuid(), os.getegid()).with_attributes(mode, self.situation.owner)


def partial_place(situation: Situation, sha256: str) -> Place:
    """Where an artefact's bytes are kept until the step that needs them is committed."""
    return situation.host.private / f"downloads/{sha256}.partial"


def _as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
