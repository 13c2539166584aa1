"""One model's generation in the store: whether it is there, how it comes there, and what makes it the current one.

models/<name>                      -> .store/<name>-<version>-<sha12>      the current one, a relative link
models/.store/<name>-<version>-<sha12>/                                    a generation; stays until it is pruned
models/.store/<name>-<version>-<sha12>.json                                its entry in the information file
models/.current_model_info.json                                            what is current, for the summariser
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from vvmigrate.content import gguf, manifest
from vvmigrate.content.manifest import Artefact, Manifest
from vvmigrate.content.store import INFO, MODELS, STORE
from vvmigrate.engine import state as st
from vvmigrate.engine.actor import now
from vvmigrate.engine.effects import CONTENT, EARLIER, ONCE, noted_of_tree
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.state import Change, Kept, Proposal, Target
from vvmigrate.errors import ArchiveError, ChecksumError, DeliveryError, ManifestError, RefusedError
from vvmigrate.files import ABSENT, Entry, Owner, Place
from vvmigrate.operations import information, supply
from vvmigrate.operations.base import Situation, root
from vvmigrate.operations.information import entry_of

MANIFEST = "model_manifest.json"
DIRECTORY_MODE, FILE_MODE = 0o755, 0o644
STORE_DIGITS = 12  # of the SHA-256, in a generation's name


@dataclass
class Installation:
    """One model's installation on one host.

    Attributes:
        name, version, variant: as the manifest has them.
    """

    name: str
    version: str
    variant: str
    artefact: Artefact
    situation: Situation
    source: str = ""
    main_file: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def generation(self) -> str:
        """Its name in the store."""
        return generation_of(self.name, self.version, self.artefact)

    def propose(self) -> Proposal:
        """The changes, in the order in which they may be seen: generation, link, information."""
        seen = self.situation.observer.entry(root(f"{MODELS}/{self.name}"))
        if seen.kind in ("file", "other"):
            path = self.situation.host.path(root(f"{MODELS}/{self.name}"))
            raise RefusedError(
                f"{path}: expected a model's folder, found a {seen.kind}", hint="move it away", path=path
            )
        if seen.kind == "dir" and self._verifies(f"{MODELS}/{self.name}"):
            return self._adopt_folder(seen) + self._information()
        if self._is_theirs(seen):
            path = self.situation.host.path(root(f"{MODELS}/{self.name}"))
            return Proposal(kept=(Kept(path, "was changed since it was put there"),))
        stored = self._stored()
        if stored is None:
            if reason := self.lacking():
                return Proposal(degraded=reason)
            stored = self.delivery()
        return stored + self._link(seen) + self._information()

    def _is_theirs(self, seen: Entry) -> bool:
        """Whether somebody has put another model in the place of the one that this applied revision is about."""
        target, ledger = root(f"{MODELS}/{self.name}"), self.situation.ledger
        if not self.situation.again or ledger is None or not seen.exists or target in self.situation.planned:
            return False
        life = ledger.life(target)
        return bool(life) and not any(map(seen.same_content, (life[-1][1].after, *ledger.left(target))))

    # ---- the store -----------------------------------------------------------------------------------------------

    def _store(self) -> Proposal:
        target = root(STORE)
        if self.situation.observer.entry(target).exists:
            return Proposal()
        return Proposal(
            (Change(st.MAKE_DIRECTORY, target, ABSENT, self._entry("dir"), lasting=True, detail="the store"),)
        )

    def _stored(self) -> Proposal | None:
        """The generation as it stands in the store; None where it has to be delivered."""
        target = root(f"{STORE}/{self.generation}")
        seen = self.situation.observer.entry(target)
        if not seen.exists or not self._verifies(target.name):
            return None
        note = noted_of_tree(self.situation.host.place(target), self.digests)
        adopted = Change(st.ADOPT, target, seen, seen, lasting=True, detail="in the store, verified", note=note)
        path = self.situation.host.path(target)
        around = (self._there(root(STORE)), adopted, self._there(entry_of(target)) or self._entry_file())
        return Proposal(tuple(filter(None, around)), skipped=(f"{path}: verified, nothing to download",))

    def _there(self, target: Target) -> Change | None:
        """Something of the store's that a revision which was taken back has left; None where there is nothing."""
        seen = self.situation.observer.entry(target)
        return self._as_it_is(target, seen, "in the store", lasting=True) if seen.exists else None

    def _as_it_is(self, target: Target, seen: Entry, detail: str, *, lasting: bool = False) -> Change:
        """What stands there already, with the text that was noted of it: it can be had again as before."""
        known = self.situation.recorded().get(target)
        noted = known[0].note if known is not None and known[0].after.same_content(seen) else {}
        note = {CONTENT: noted[CONTENT]} if CONTENT in noted else {}
        return Change(st.ADOPT, target, seen, seen, lasting=lasting, detail=detail, note=note)

    def delivery(self) -> Proposal:
        """Deliver the generation, with its entry beside it.

        Raises:
            RefusedError: the mirror is of a kind that is not known.
        """
        supply.sources(self.situation, self.artefact)  # refused now, before the first write
        name = f"{STORE}/{self.generation}"
        seen = self.situation.observer.entry(root(name))
        change = Change(
            st.PLACE_TREE,
            root(name),
            seen,
            self._entry("dir"),
            fill=self._deliver,
            lasting=True,
            detail=f"{self.name} {self.version} ({self.variant})",
            size_bytes=self._installed_bytes()
            - (supply.already(self.situation, self.artefact) if self._is_linked() else 0),
            inodes=max(len(self.artefact.files), 1),
        )
        kept = (Kept(self.situation.host.path(root(name)), "does not verify; set aside"),) if seen.exists else ()
        affects = frozenset({"model"})
        return self._store() + Proposal(
            (change, self._entry_file()), kept=kept, downloads=(self._download(),), affects=affects
        )

    def _entry_file(self) -> Change:
        target = entry_of(root(f"{STORE}/{self.generation}"))
        return Change(
            st.PLACE_FILE,
            target,
            self.situation.observer.entry(target),
            self._entry("file"),
            fill=lambda slot: slot.write(information.as_json(self._described()), FILE_MODE, self._given()),
            lasting=True,
            detail="what the information file says of it",
        )

    def _download(self) -> supply.ModelDownload:
        return supply.wanted(
            self.situation, self.name, self.version, self.variant, self.artefact, linked=self._is_linked()
        )

    def _is_linked(self) -> bool:
        """Whether the received file gets a second name in the store, which costs no room."""
        tree = self.situation.host.tree(ROOT)
        if self.artefact.format != "file" or tree is None:
            return self.artefact.format == "file"
        store = tree / STORE
        while store.name and store.identity()[0] != "dir":
            store = store.parent
        return store.mount() == (tree / "").mount()

    def lacking(self) -> str:
        """Why the step happens without this model; empty where it is to be had.

        Raises:
            RefusedError: it would need the network, which may not be asked, and the step needs it: a repair mends the
                rest without.
        """
        lacking: dict[str, str] = self.situation.memory.setdefault("lacking", {})
        if self.situation.settings.offline and not supply.is_here(self.situation, self.artefact):
            error = supply.not_here(self._download())
            if not self.situation.mending and not self._may_be_lacking():
                raise error
            lacking.setdefault(self.generation, error.message)
        return lacking.get(self.generation, "")

    def _may_be_lacking(self) -> bool:
        return self.situation.settings.allow_degraded or self.situation.retry or not self._version().required

    def _deliver(self, slot: Place) -> Mapping[str, str]:
        """Download, verify and unpack into the slot; the digests of what was unpacked."""
        try:
            self.source, digests = supply.install(self.situation, self.artefact, slot, self._given())
            self.main_file = self._find_main(slot)
            if self.artefact.content == "gguf":
                gguf.check_header(slot / self.main_file)
        except (DeliveryError, ChecksumError, ArchiveError) as error:
            if not self._may_be_lacking():
                raise
            reason = f"{self.name} {self.version}: {error.message}"
            self.situation.memory.setdefault("lacking", {})[self.generation] = reason
            raise st.WithoutError(reason, hint=error.hint, path=error.path) from error
        return digests

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
        self.digests = {file: sha256 for file, (sha256, _) in wanted.items()}
        return True

    def _recorded_whole(self, name: str) -> bool:
        """Without a list of files only a tree that we recorded, and that still has its digest, can be trusted."""
        recorded = self.situation.recorded().get(root(name))
        digest = recorded[0].note.get("tree", "") if recorded else ""
        return bool(digest) and self.situation.host.place(root(name)).entry(tree=True).digest == digest

    # ---- what is current -----------------------------------------------------------------------------------------

    def _adopt_folder(self, seen: Entry) -> Proposal:
        target = root(f"{MODELS}/{self.name}")
        path = self.situation.host.path(target)
        note = {"variant": self.variant, **noted_of_tree(self.situation.host.place(target), self.digests)}
        adopted = Change(st.ADOPT, target, seen, seen, detail="verified", note=note)
        return Proposal((adopted,), skipped=(f"{path}: verified, nothing to download",))

    def _link(self, seen: Entry) -> Proposal:
        target = root(f"{MODELS}/{self.name}")
        wanted = Entry("link", 0, os.geteuid(), os.getegid(), target=f".store/{self.generation}")
        wanted = wanted.with_attributes(0, self._given())
        note: dict[str, Any] = {"variant": self.variant}
        if seen.kind == "link" and seen.target == wanted.target:
            return Proposal((Change(st.ADOPT, target, seen, seen, detail="is current", note=note),))
        path = self.situation.host.path(target)
        kept = (Kept(path, "another model was there; it is set aside for the way back"),) if seen.kind == "dir" else ()
        known = self.situation.recorded().get(target)
        earlier = {key: value for key, value in (known[0].note if known else {}).items() if key == "variant"}
        if earlier:
            note[ONCE] = {EARLIER: earlier}
        change = Change(st.SWITCH_LINK, target, seen, wanted, detail=f"to {self.generation}", note=note)
        return Proposal((change,), kept=kept, affects=frozenset({"model"}))

    def _information(self) -> Proposal:
        target = root(INFO)
        seen = self.situation.observer.entry(target)
        entry, found = self._stored_entry(), information.current(self.situation)
        current = information.recorded(self.situation) if found is None else found
        if entry is not None and found is not None and current.get(self.name) == entry:
            return Proposal((self._as_it_is(target, seen, "says so already"),))

        entries: dict[str, Any] = self.situation.memory.setdefault("models", {})  # of other models in this step too

        def fill(slot: Place) -> None:
            entries[self.name] = self._stored_entry() or self._described()
            slot.write(information.written({**current, **entries}), FILE_MODE, self._given())

        change = Change(st.PLACE_FILE, target, seen, self._entry("file"), fill=fill, detail="names the current model")
        return Proposal((change,), affects=frozenset({"model"}))

    def _stored_entry(self) -> dict[str, Any] | None:
        """Comes back unchanged with the generation."""
        return information.beside(self.situation, root(f"{STORE}/{self.generation}"))

    def _described(self) -> dict[str, Any]:
        return {
            "model_name": self.name,
            "model_version": self.version,
            "variant": self.variant,
            "sha256": self.artefact.sha256,
            "size_bytes": self.artefact.size_bytes,
            "path": f"{self.name}/{self.main_file}",
            "license": self._version().license,
            "source": self.source,
            "installed_at": self.situation.memory.setdefault("installed_at", now()),
        }

    def _version(self) -> manifest.Version:
        return read_manifest(self.situation).version(self.name, self.version)

    # ---- small things --------------------------------------------------------------------------------------------

    def _installed_bytes(self) -> int:
        return sum(file.size_bytes for file in self.artefact.files) or self.artefact.size_bytes

    def _given(self) -> Owner | None:
        return self.situation.owner if os.geteuid() == 0 else None

    def _entry(self, kind: str) -> Entry:
        mode = DIRECTORY_MODE if kind == "dir" else FILE_MODE
        return Entry(kind, 0, os.geteuid(), os.getegid()).with_attributes(mode, self.situation.owner)


def read_manifest(situation: Situation) -> Manifest:
    """The installed release's manifest; read once a run.

    Raises:
        ManifestError: it is missing, or is none.
    """
    if "manifest" not in situation.memory:
        place = situation.release() / MANIFEST
        if place.identity()[0] != "file":
            raise ManifestError(f"{place.path}: expected the manifest, found {place.identity()[0]}", path=place.path)
        situation.memory["manifest"] = manifest.parse(situation.read_release(place, 11 << 20), name=MANIFEST)
    return cast("Manifest", situation.memory["manifest"])


def find_generation(situation: Situation, name: str) -> Installation | None:
    """The generation of that name, if the installed release's manifest still knows it.

    Raises:
        ManifestError: there is no manifest to ask.
    """
    for model, version, variant, artefact in read_manifest(situation).artefacts():
        if generation_of(model, version, artefact) == name:
            return Installation(model, version, variant, artefact, situation)
    return None


def generation_of(model: str, version: str, artefact: Artefact) -> str:
    """The name under which an artefact stands in the store."""
    return f"{model}-{version}-{artefact.sha256[:STORE_DIGITS]}"
