"""The only way to the file system: `Tree` and `Place` change it, `Look`, `Folder` and `Entry` say what is there."""

from vvmigrate.files.entry import ABSENT, Entry, Owner
from vvmigrate.files.folder import CHUNK_BYTES, Folder, leads_nowhere
from vvmigrate.files.place import UNFINISHED, Place, Tree, WriteBehind, prepare_to_write

__all__ = [
    "ABSENT",
    "CHUNK_BYTES",
    "UNFINISHED",
    "Entry",
    "Folder",
    "Owner",
    "Place",
    "Tree",
    "WriteBehind",
    "leads_nowhere",
    "prepare_to_write",
]
