"""`op.write_signature`: `vv-signature.json` describes the installation as it is on this host."""

from __future__ import annotations

import os
from dataclasses import dataclass

from alembic.operations import Operations

from vvmigrate import __version__
from vvmigrate.content import signature
from vvmigrate.engine import state as st
from vvmigrate.engine.actor import now
from vvmigrate.engine.state import Change, Proposal
from vvmigrate.errors import RefusedError
from vvmigrate.files import Entry
from vvmigrate.operations.base import Operation, Situation, home
from vvmigrate.operations.env_file import settings_files

MODE = 0o644


@Operations.register_operation("write_signature")
@dataclass(frozen=True)
class WriteSignature(Operation):
    """The integrity manifest, computed when it is applied."""

    @classmethod
    def write_signature(cls, operations: Operations) -> None:
        """Write `vv-signature.json`: SHA-256, size and mode of every file of the installation."""
        operations.invoke(cls())

    def propose(self, situation: Situation) -> Proposal:
        """Made anew when a file differs from what it says; an old one is kept for the way back.

        Its text is kept too: a repair that made the list anew would call right what was changed since.
        """
        release = situation.release()
        private = settings_files(situation)  # where a link leads; a digest would tell of secrets
        places = signature.installed_files(release / "", situation.storage_root)
        files = {place.name: place.entry() for place in places if home(place.name) not in private}
        data = signature.render(files, situation.memory.setdefault("signed_at", now()), __version__)
        target = home(signature.NAME)
        seen = situation.observer.entry(target)
        if seen.kind not in ("file", "absent"):
            raise RefusedError(f"{signature.NAME}: expected a file, found a {seen.kind}", path=signature.NAME)
        known = situation.observer.read(target) if seen.exists else None
        if known is not None and signature.same_files(known, data):
            adopted = Change(st.ADOPT, target, seen, seen, detail="still true", text=known)
            return Proposal((adopted,), skipped=(f"{signature.NAME}: lists the same files",))
        wanted = Entry("file", 0, os.geteuid(), os.getegid(), len(data)).with_attributes(MODE, situation.owner)
        change = Change(st.PLACE_FILE, target, seen, wanted, content=data, size_bytes=len(data), text=data)
        return Proposal((change._replace(detail=f"{len(files)} files"),))
