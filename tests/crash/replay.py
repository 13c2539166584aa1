"""Read the record of a run as changes of the disk model, checking at every call that both agree."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .diskmodel import Attributes, Change, Data, Names, Node, Nodes, ReplayError, Size, Sync, load
from .shim import Call

WRITES = ("write", "pwrite", "sendfile", "copy_file_range")
RENAME_EXCHANGE = 2
#: Change nothing that the comparison looks at, or promise nothing: sync_file_range writes neither size nor names.
WITHOUT_EFFECT = ("utime", "futime", "sync_file_range")


class Replay:
    """The disk before the run, and the run's changes and syncs in order."""

    def __init__(self, root: Path, calls: Sequence[Call], base: tuple[Nodes, dict[int, int]]) -> None:
        """Translate a record.

        Args:
            root: Where the run took place.
            calls: Its record, with data.
            base: What ``load(root)`` returned right before the run.

        Raises:
            ReplayError: A call speaks of something that the calls before it do not explain.
        """
        self._root = str(root)
        self.base, self._inodes = base
        self._live = [dict(node.names) for node in self.base]
        self.changes: list[Change] = []
        self.syncs: list[Sync] = []
        for call in calls:
            if call.result >= 0:
                self._read(call)

    def _read(self, call: Call) -> None:
        name = call.name
        if call.fresh or name.startswith(("mkdir", "symlink", "mknod", "mkfifo")):
            self._create(call)
        elif name.startswith("open"):
            if call.argument & os.O_TRUNC:
                self.changes.append(Size(call.n, self._node(call), 0))
        elif "truncate" in name or "fallocate" in name:
            self.changes.append(Size(call.n, self._node(call), call.argument))
        elif name.startswith(WRITES):
            self.changes.append(Data(call.n, self._node(call), call.argument, call.data))
        elif name in ("fsync", "fdatasync", "syncfs"):
            # Names are a directory's content, and fdatasync is how SQLite saves them.
            whole = name != "fdatasync" or stat.S_ISDIR(call.mode)
            self.syncs.append(Sync(call.n, -1 if name == "syncfs" else self._node(call), whole))
        elif "chmod" in name or "chown" in name or "xattr" in name:
            self._attributes(call)
        else:
            self._read_names(call)

    def _read_names(self, call: Call) -> None:
        if call.name.startswith("rename"):
            self._rename(call)
        elif call.name.startswith("link"):
            directory, last = self._parent(call, call.other)
            self._names(call, (directory, last, self._node(call)))
        elif call.name in ("unlink", "unlinkat", "rmdir", "remove"):
            self._names(call, (*self._parent(call, call.path), -1))
        elif not call.name.startswith(WITHOUT_EFFECT):
            self._disagree(call, "is a call that the model does not know")

    def _create(self, call: Call) -> None:
        kind = stat.S_IFMT(call.mode)
        self.base.append(
            Node(kind, stat.S_IMODE(call.mode), call.uid, call.gid, call.other if stat.S_ISLNK(kind) else "")
        )
        self._live.append({})
        # Numbers of inodes are used again after an unlink: the newest owner counts.
        self._inodes[call.inode] = len(self.base) - 1
        if not (call.name.startswith("open") and (call.argument & os.O_TMPFILE) == os.O_TMPFILE):
            self._names(call, (*self._parent(call, call.path), len(self.base) - 1))

    def _attributes(self, call: Call) -> None:
        xattr = None
        if "xattr" in call.name:
            xattr = (call.other, call.data if "set" in call.name else None)
        mode = stat.S_IMODE(call.mode)
        self.changes.append(Attributes(call.n, self._node(call), mode, call.uid, call.gid, xattr))

    def _rename(self, call: Call) -> None:
        (a, old), (b, new) = self._parent(call, call.path), self._parent(call, call.other)
        moved, there = self._live[a].get(old, -1), self._live[b].get(new, -1)
        if moved != self._node(call):
            self._disagree(call, "renames something else than the model holds there")
        if call.name == "renameat2" and call.argument & RENAME_EXCHANGE:
            self._names(call, (a, old, there), (b, new, moved))
        elif moved != there:  # renaming one hard link onto another of the same file does nothing
            self._names(call, (a, old, -1), (b, new, moved))

    def _names(self, call: Call, *places: tuple[int, str, int]) -> None:
        for directory, name, child in places:
            if child == -1:
                self._live[directory].pop(name, None)
            else:
                self._live[directory][name] = child
        self.changes.append(Names(call.n, places))

    def _node(self, call: Call) -> int:
        if call.inode not in self._inodes:
            self._disagree(call, "touches a file that no call made")
        return self._inodes[call.inode]

    def _parent(self, call: Call, path: str) -> tuple[int, str]:
        at = 0
        folder, last = os.path.split(path)
        for part in os.path.relpath(folder, self._root).split("/"):
            if part != ".":
                if part not in self._live[at]:
                    self._disagree(call, f"goes through {part!r}, which no call made")
                at = self._live[at][part]
        return at, last

    def _disagree(self, call: Call, what: str) -> NoReturn:
        msg = f"call {call.n}, {call.about(Path(self._root))}, {what}: did a change go past the shim?"
        raise ReplayError(msg)


__all__ = ["Replay", "load"]
