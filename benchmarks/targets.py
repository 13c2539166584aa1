"""What the delivery must reach, as ratios within one run of the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import contenders as who

MB = 1_000_000
Medians = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Verdict:
    """One target.

    Attributes:
        name: in words.
        limit: what it must be, with the side.
        measured: what it is; None where a part of it was not measured.
        met: whether that is good enough.
    """

    name: str
    limit: str
    measured: float | None
    unit: str
    met: bool | None


def verdicts(
    medians: Medians, gigabit: Medians, added_bytes: Mapping[str, float], switch_s: Mapping[str, float]
) -> list[Verdict]:
    """Judge every target.

    Args:
        medians: seconds by contender and format, at full speed.
        gigabit: the same at 1 Gbit/s.
        added_bytes: memory, by what was delivered.
        switch_s: the way back, by the size of the model.
    """
    found = [*_stages(medians), *_peers(medians)]
    found += [
        _at_most(f"{name} at 1 Gbit/s / network alone", 1.10, _ratio(gigabit, (who.OURS, form), (who.NETWORK, form)))
        for name, form in (("tar.gz", "tar.gz"), ("tar.zst", "tar.zst"), ("raw", "file"))
    ]
    found.append(_at_most("re-hash / hashlib alone", 1.05, _ratio(medians, (who.REHASH, "file"), (who.BARE, "file"))))
    found += [_at_most(f"memory added, {name}", 48, value / MB, "MB") for name, value in added_bytes.items()]
    found += [_at_most(f"switch back, {name}", 1.0, value, "s") for name, value in switch_s.items()]
    return found


def slowest_stage(medians: Medians, form: str) -> float | None:
    """Seconds of the stage that sets the pace of a format, if all were measured."""
    unpack = {"tar.gz": [(who.GUNZIP, form)], "tar.zst": [(who.UNZSTD, form)]}.get(form, [])
    keys = [(who.SHA256, form), (who.NETWORK, form), (who.WRITE, "file"), *unpack]
    return max(medians[key] for key in keys) if all(key in medians for key in keys) else None


def _stages(medians: Medians) -> Iterator[Verdict]:
    gunzip = medians.get((who.GUNZIP, "tar.gz"))
    slowest = slowest_stage(medians, "tar.zst")
    yield _at_most("tar.gz / isal alone", 1.65, _over(medians.get((who.OURS, "tar.gz")), gunzip))
    yield _at_most("tar.gz --no-resume / isal alone", 1.25, _over(medians.get((who.NO_RESUME, "tar.gz")), gunzip))
    yield _at_most("tar.zst / its slowest stage", 2.2, _over(medians.get((who.OURS, "tar.zst")), slowest))
    yield _at_most("raw / SHA-256 alone", 2.0, _ratio(medians, (who.OURS, "file"), (who.SHA256, "file")))


def _peers(medians: Medians) -> Iterator[Verdict]:
    for peer, form, limit in (
        (who.IGZIP_PIPE, "tar.gz", 1.8),
        (who.HUB, "file", 2.0),
        (who.ARIA2, "tar.gz", 3.0),
        (who.POOCH, "tar.gz", 4.0),
        (who.POOCH, "file", 4.0),
    ):
        measured = _ratio(medians, (peer, form), (who.NO_RESUME, form))
        yield _at_least(f"{peer} / ours --no-resume, {'raw' if form == 'file' else form}", limit, measured)


def _ratio(medians: Medians, one: tuple[str, str], other: tuple[str, str]) -> float | None:
    return _over(medians.get(one), medians.get(other))


def _over(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _judge(word: str, good: Callable[[float, float], bool]) -> Callable[..., Verdict]:
    def verdict(name: str, limit: float, measured: float | None, unit: str = "times") -> Verdict:
        met = None if measured is None else good(measured, limit)
        return Verdict(name, f"{word} {limit:g}", measured, unit, met)

    return verdict


_at_most = _judge("at most", lambda measured, limit: measured <= limit)
_at_least = _judge("at least", lambda measured, limit: measured >= limit)
