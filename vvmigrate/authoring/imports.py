"""Importing from a release folder: each module from its own bytes, once these were looked at, and without a trace.

Python would believe a bytecode cache beside a module, and take whatever else lies there under a name that is imported.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from vvmigrate.engine.roots import check_trust
from vvmigrate.engine.sources import Check
from vvmigrate.files import Tree

Look = Callable[[str, bytes], None]
"""Sees the path and the bytes of a module before it is run, and raises where it may not be."""


@contextmanager
def imports_from(home: Tree, may_run: Check) -> Iterator[None]:
    """Modules of the release can be imported in the block, and are forgotten with it; no bytecode is read or written.

    Args:
        may_run: sees the bytes of each module of the release before it is run.

    Raises:
        RefusedError: (from an import) the caller is root, and others may have written a module.
    """
    release = _Release(home, may_run)
    hook, known, path, writes = release.finder, set(sys.modules), list(sys.path), sys.dont_write_bytecode
    sys.path_hooks.insert(0, hook)
    sys.path.insert(0, str(home.path))
    sys.dont_write_bytecode = True
    release.forget_finders()
    try:
        yield
    finally:
        for name in [name for name in set(sys.modules) - known if release.has_module(sys.modules[name])]:
            del sys.modules[name]
        sys.path[:], sys.dont_write_bytecode = path, writes
        sys.path_hooks.remove(hook)
        release.forget_finders()


class _Release:
    """What of all that Python may import is the release's: all below its folder, but for the interpreter's libraries.

    These are below it where its virtual environment is.
    """

    def __init__(self, home: Tree, may_run: Check) -> None:
        self._home, self._may_run = home, may_run
        names = ("stdlib", "platstdlib", "purelib", "platlib")
        libraries = (Path(os.path.realpath(sysconfig.get_path(name))) for name in names)
        self._libraries = [library for library in libraries if home.path in library.parents]

    def name(self, path: str) -> str | None:
        """What a path is called in the release, by its spelling or by where it leads; None where it is not its own."""
        spelt, led = Path(os.path.abspath(path)), Path(os.path.realpath(path))
        if any(led.is_relative_to(library) for library in self._libraries):
            return None
        inside = (str(one.relative_to(self._home.path)) for one in (spelt, led) if one.is_relative_to(self._home.path))
        return next(inside, None)

    def finder(self, path: str) -> FileFinder:
        """A path hook (docs.python.org/3/reference/import.html): how a folder of the release is searched.

        Raises:
            ImportError: it is none of the release's; another hook knows it.
        """
        if self.name(path) is None:
            raise ImportError(path)
        extensions: Any = partial(_Extension, self.look), EXTENSION_SUFFIXES
        sources: Any = partial(_Source, self.look), SOURCE_SUFFIXES
        return FileFinder(path, extensions, sources)  # in Python's order, without bytecode

    def look(self, path: str, data: bytes) -> None:
        """See `Look`; a link may lead there, and must itself be of nobody else's making."""
        name = self.name(path) or path
        check_trust(Path(os.path.realpath(path)), [self._home.path / name, *(self._home.path / name).parents])
        self._may_run(self._home / name, data)

    def has_module(self, module: ModuleType) -> bool:
        """Whether it came from the release; a folder without `__init__.py` is a module without a file."""
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        return any(self.name(place) is not None for place in places if isinstance(place, str))

    def forget_finders(self) -> None:
        """Python keeps, for each folder, what searched it last."""
        for path in [path for path in sys.path_importer_cache if self.name(path) is not None]:
            del sys.path_importer_cache[path]


class _Source(SourceFileLoader):
    """A module as source: the bytes that were looked at are those that are compiled."""

    def __init__(self, look: Look, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._look = look

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        data = self.get_data(path)
        self._look(path, data)
        return self.source_to_code(data, path)


class _Extension(ExtensionFileLoader):
    """A module as machine code, which the system's loader reads again."""

    def __init__(self, look: Look, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._look = look

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self._look(self.path, Path(self.path).read_bytes())
        return super().create_module(spec)
