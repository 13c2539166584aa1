"""`revision`: the next revision's file, with what the release's inputs ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from vvmigrate import settings
from vvmigrate.authoring import fixed, inputs, writing
from vvmigrate.authoring.checkout import Checkout
from vvmigrate.authoring.difference import Section
from vvmigrate.authoring.inputs import Comparison
from vvmigrate.authoring.keys import Answers
from vvmigrate.errors import RefusedError, UsageError, VvmigrateError
from vvmigrate.report import Report, listed
from vvmigrate.runs.opening import Call
from vvmigrate.runs.trust import signed_only

REMOVED = "-"
"""The answer that a key has no new name. Nothing is no answer: that is also what the end of input says."""


def revision(call: Call, title: str) -> Report:
    """Write the next revision of the release that the call's home is; no host is needed.

    Args:
        call: its options `autogenerate`, `renamed` (OLD=NEW) and `removed` say what is written.
        title: what the revision is for, in a few words.

    Returns:
        The report of `revision`: `revision`, `title`, `follows`, `path`, `differences` (input, line, name, what,
        remedy), `advice`, `fixed` (revisions that may not be edited any more, since another one follows them). With
        --autogenerate, where nothing differs, no file is made and `path` is None.
    """
    report = Report(call.command)
    try:
        if not any(character.isalnum() for character in title):
            raise UsageError("expected a title, found none", hint='vvmigrate revision -m "what it is for"')
        home = settings.find_home(call.options.get("home"), call.environ, call.folder)
        with Checkout.open(home, signed_only(home, call.environ)) as checkout:
            _write(call, checkout, title, report)
    except VvmigrateError as error:
        report.fail(error)
    return report


def _write(call: Call, checkout: Checkout, title: str, report: Report) -> None:
    answers = _answers(call.options.get("renamed", ()), call.options.get("removed", ()))
    autogenerate = bool(call.options.get("autogenerate"))
    if not autogenerate and (answers.renamed or answers.removed):
        raise UsageError("--renamed and --removed are answers to --autogenerate")
    sections = _sections(call, checkout, answers) if autogenerate else []
    head = checkout.scripts.line.head()
    number = writing.next_number(head)
    report.body = {
        "revision": number,
        "title": title,
        "follows": head or None,
        "path": None,
        "fixed": [],
        "differences": listed(chain.from_iterable(section.differences for section in sections)),
        "advice": list(chain.from_iterable(section.advice for section in sections)),
    }
    if autogenerate and not any(section.operations for section in sections):
        report.body["revision"] = None
        return
    name, source = writing.file_name(checkout, number, title), writing.text(checkout, number, title, sections)
    report.body["path"] = writing.write(checkout, name, source).path
    report.body["fixed"] = fixed.record(checkout.tree / "", without=(number,))


def _sections(call: Call, checkout: Checkout, answers: Answers) -> list[Section]:
    comparison = inputs.compare(checkout)
    for text in comparison.unpinned:
        call.listener("warning", text=text)
    return comparison.sections(_decided(call, comparison, answers))


def _answers(renamed: Iterable[str], removed: Iterable[str]) -> Answers:
    pairs = [pair.partition("=") for pair in renamed]
    if any(not (old and new) for old, _, new in pairs):
        raise UsageError("--renamed: expected OLD=NEW")
    return Answers({old: new for old, _, new in pairs}, tuple(removed))


def _decided(call: Call, comparison: Comparison, answers: Answers) -> Answers:
    """Ask for each key that is gone what it is called now; where nobody answers, guess nothing.

    Raises:
        RefusedError: nobody answers.
    """
    while True:
        gone, new = comparison.undecided(answers)
        if not gone:
            return answers
        old, names = gone[0], ", ".join(new)
        question = f"{old} is gone from .env.example. Its new name: {names}; {REMOVED} for none"
        allowed = {*new, REMOVED}
        answer = call.ask and call.ask(
            old,
            question,
            False,  # noqa: FBT003 - not hidden
            lambda text, allowed=allowed: None if text in allowed else f"one of {', '.join(sorted(allowed))}",
        )
        if not answer:
            raise RefusedError(
                f".env.example: {', '.join(gone)} is gone, {names} is new: only you know what was renamed",
                hint=f"--renamed {old}={new[0]}, or --removed {old}",
            )
        if answer == REMOVED:
            answers = replace(answers, removed=(*answers.removed, old))
        else:
            answers = replace(answers, renamed={**answers.renamed, old: answer})
