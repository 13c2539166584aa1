"""The line that revisions form, as values: where it ends, and what of it lies ahead of a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vvmigrate.engine.sources import Revision, Source
from vvmigrate.errors import UsageError


class Lineage:
    """Revisions in one line, each following the one before it.

    Args:
        package: the installed release's sources.
        recorded: sources of what the host has applied, by revision; they take the package's place.
        revisions: what each of them says of itself. They form a line: `Scripts.check_line` or `read` has seen to it.

    Attributes:
        package: the installed release's sources, by revision.
        sources: all of them, by revision.
        order: the revisions, the first one first.
    """

    def __init__(
        self, package: Mapping[str, Source], recorded: Mapping[str, Source], revisions: Iterable[Revision]
    ) -> None:
        """Put them in order."""
        self.package, self.sources = package, {**package, **recorded}
        after = {revision.follows: revision for revision in revisions}
        order: list[Revision] = []
        while (following := after.pop(order[-1].revision if order else "", None)) is not None:
            order.append(following)
        self.order = tuple(order)
        self._revisions = {revision.revision: revision for revision in order}

    @classmethod
    def read(cls, package: Mapping[str, Source], recorded: Mapping[str, Source]) -> Lineage | None:
        """The line by what the sources say as text; None where they have to be run to know, or to say what is wrong."""
        said = [source.said for source in {**package, **recorded}.values()]
        found = cls(package, recorded, filter(None, said))
        return found if len(found.order) == len(said) else None

    def head(self) -> str:
        """The last revision of the installed release; empty where it has none."""
        mine = [revision.revision for revision in self.order if revision.revision in self.package]
        return mine[-1] if mine else ""

    def revision(self, name: str) -> Revision:
        """One revision, by its full id.

        Raises:
            UsageError: there is none.
        """
        if name not in self._revisions:
            raise UsageError(f"no revision {name!r}", hint="vvmigrate history; vvmigrate heads")
        return self._revisions[name]

    def ahead(self, current: str, last: str) -> list[Revision]:
        """What lies between a host and a revision: all after the first up to the second, oldest first.

        Args:
            current: the revision that the host is at; empty for base.
            last: the last one that is wanted; empty for base.
        """
        names = ["", *self._revisions]
        return list(self.order[names.index(current) : names.index(last)])
