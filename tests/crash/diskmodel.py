"""A disk in memory: a recorded run as changes on numbered nodes, of which a power loss keeps some."""

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from . import trees


class ReplayError(AssertionError):
    """The record does not explain the disk: a change went past the shim, or the model is wrong."""


@dataclass
class Node:
    """One inode. ``kind`` is the file type's bits, ``names`` what a directory holds."""

    kind: int
    mode: int
    uid: int
    gid: int
    link: str = ""
    data: bytearray = field(default_factory=bytearray)
    names: dict[str, int] = field(default_factory=dict)
    xattrs: dict[str, bytes] = field(default_factory=dict)

    def copy(self) -> "Node":
        """Return an independent copy."""
        return Node(
            self.kind, self.mode, self.uid, self.gid, self.link, bytearray(self.data), dict(self.names),
            dict(self.xattrs),
        )  # fmt: skip


Nodes = list[Node]


class Change(Protocol):
    """One change of one call. A subclass says what must be synced for it to be safe, and how to apply it."""

    @property
    def n(self) -> int:
        """The call that made it."""

    @property
    def nodes(self) -> Sequence[int]:
        """The nodes any of which must be synced afterwards."""

    def apply(self, nodes: Nodes) -> None:
        """Carry it out."""


@dataclass(frozen=True)
class Sync:
    """Everything of a node up to here is safe; of all nodes if node is -1; contents only after fdatasync."""

    n: int
    node: int
    whole: bool


@dataclass(frozen=True)
class Data:
    """Bytes of a file."""

    n: int
    node: int
    offset: int
    data: bytes

    @property
    def nodes(self) -> Sequence[int]:
        """The file."""
        return (self.node,)

    def apply(self, nodes: Nodes) -> None:
        """Write; a gap before it reads as zeros."""
        content = nodes[self.node].data
        content.extend(bytes(max(0, self.offset - len(content))))
        content[self.offset : self.offset + len(self.data)] = self.data


@dataclass(frozen=True)
class Size:
    """The size of a file, by truncate, fallocate or O_TRUNC."""

    n: int
    node: int
    size: int

    @property
    def nodes(self) -> Sequence[int]:
        """The file."""
        return (self.node,)

    def apply(self, nodes: Nodes) -> None:
        """Cut or extend with zeros."""
        content = nodes[self.node].data
        del content[self.size :]
        content.extend(bytes(self.size - len(content)))


@dataclass(frozen=True)
class Attributes:
    """Mode and owner, or one extended attribute (None: removed)."""

    n: int
    node: int
    mode: int
    uid: int
    gid: int
    xattr: tuple[str, bytes | None] | None = None

    @property
    def nodes(self) -> Sequence[int]:
        """The inode."""
        return (self.node,)

    def apply(self, nodes: Nodes) -> None:
        """Set them."""
        node = nodes[self.node]
        if self.xattr is None:
            node.mode, node.uid, node.gid = self.mode, self.uid, self.gid
        elif self.xattr[1] is None:
            node.xattrs.pop(self.xattr[0], None)
        else:
            node.xattrs[self.xattr[0]] = self.xattr[1]


@dataclass(frozen=True)
class Names:
    """Names that change at once: (directory, name, node or -1 for gone).

    A rename is one such change with two places, an exchange too: no power loss shows half of it. What a directory
    holds below itself goes with it, as the names point at nodes.
    """

    n: int
    places: Sequence[tuple[int, str, int]]

    @property
    def nodes(self) -> Sequence[int]:
        """The directories; the change is one, so syncing either saves it."""
        return tuple(directory for directory, _, _ in self.places)

    def apply(self, nodes: Nodes) -> None:
        """Set and remove the names."""
        moved = {child for _, _, child in self.places}
        for directory, name, child in self.places:
            names = nodes[directory].names
            if child == -1:
                # The source of a rename whose own creation was lost holds somebody else, or nothing.
                if len(self.places) == 1 or names.get(name) in moved:
                    names.pop(name, None)
            else:
                if stat.S_ISDIR(nodes[child].kind):
                    _unhook(nodes, child)  # a directory has one name only, also where an earlier rename was lost
                names[name] = child


def _unhook(nodes: Nodes, child: int) -> None:
    for node in nodes:
        for name in [name for name, at in node.names.items() if at == child]:
            del node.names[name]


def load(root: Path) -> tuple[Nodes, dict[int, int]]:
    """Read a tree from disk; returns its nodes, the root first, and which inode is which node."""
    nodes: Nodes = []
    inodes: dict[int, int] = {}

    def read(path: str) -> int:
        st = os.lstat(path)
        if st.st_ino in inodes:
            return inodes[st.st_ino]
        node = Node(stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid)
        me = inodes[st.st_ino] = len(nodes)
        nodes.append(node)
        node.xattrs = dict(trees.attributes(path))
        if stat.S_ISLNK(st.st_mode):
            node.link = os.readlink(path)
        elif stat.S_ISREG(st.st_mode):
            node.data = bytearray(Path(path).read_bytes())
        elif stat.S_ISDIR(st.st_mode):
            node.names = {name: read(f"{path}/{name}") for name in sorted(os.listdir(path))}
        return me

    read(str(root))
    return nodes, inodes


def apply(base: Nodes, kept: Iterable[Change]) -> Nodes:
    """Return the disk that has only the changes kept; a file that none of them touches is the very node of the base."""
    kept = list(kept)
    touched = {at for change in kept for at in change.nodes}
    nodes = [node.copy() if at in touched or stat.S_ISDIR(node.kind) else node for at, node in enumerate(base)]
    for change in kept:
        change.apply(nodes)
    return nodes


def digest(nodes: Nodes, known: dict[int, bytes]) -> bytes:
    """Return a hash of what can be reached from the root; hard links to one node count as one.

    Args:
        nodes: The disk.
        known: Hashes of the contents of nodes that no change touches, by their id().
    """
    hasher = hashlib.sha256()
    seen: set[int] = set()

    def visit(at: int, path: str) -> None:
        node = nodes[at]
        about = f"{path}\0{at if at in seen else ''}\0{node.kind}\0{node.mode}\0{node.uid}\0{node.gid}\0{node.link}\0"
        hasher.update(about.encode("utf-8", "surrogateescape"))
        content = known.get(id(node)) or hashlib.sha256(node.data).digest()
        hasher.update(content + repr(sorted(node.xattrs.items())).encode())
        if at in seen:
            return
        seen.add(at)
        for name, child in sorted(node.names.items()):
            visit(child, f"{path}/{name}")

    visit(0, "")
    return hasher.digest()


def build(nodes: Nodes, root: Path) -> None:
    """Make root on disk what the model says."""
    trees.clear(root)
    made: dict[int, str] = {}

    def put(at: int, path: str) -> None:
        node = nodes[at]
        if at in made:
            if not stat.S_ISDIR(node.kind):
                os.link(made[at], path, follow_symlinks=False)
            return
        made[at] = path
        _make(node, path)
        for name, child in sorted(node.names.items()):
            put(child, f"{path}/{name}")
        if not stat.S_ISLNK(node.kind):
            os.chmod(path, node.mode)

    put(0, str(root))


def _make(node: Node, path: str) -> None:
    if stat.S_ISDIR(node.kind):
        os.makedirs(path, exist_ok=True)
    elif stat.S_ISLNK(node.kind):
        os.symlink(node.link, path)
    elif stat.S_ISREG(node.kind):
        Path(path).write_bytes(node.data)
    else:
        os.mknod(path, node.kind | node.mode)
    st = os.lstat(path)
    if (st.st_uid, st.st_gid) != (node.uid, node.gid):
        os.lchown(path, node.uid, node.gid)
    for name, value in node.xattrs.items():
        os.setxattr(path, name, value, follow_symlinks=False)
