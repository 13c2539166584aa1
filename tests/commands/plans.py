"""A plan, and what is done a moment later: whether they say the same."""

from __future__ import annotations

from typing import Any

from vvmigrate.report import Report

Line = tuple[str, ...]


def changes(report: Report) -> list[Line]:
    """Every change of every step: revision, action, path, detail; but what is only taken over."""
    return sorted(
        (step["revision"], change["action"], change["path"], change["detail"])
        for step in report.body["steps"]
        for change in step["changes"]
        if change["action"] != "adopt"
    )


def statements(report: Report) -> list[Line]:
    """The SQL of every step."""
    return [line for line in changes(report) if line[1] == "sql"]


def words(report: Report, name: str) -> list[tuple[str, list[str]]]:
    """What each step says under a name."""
    return [(step["revision"], sorted(step[name])) for step in report.body["steps"]]


def kept(report: Report) -> list[Line]:
    """Every revision and path of which something is kept, with the reason."""
    steps = report.body["steps"]
    return sorted((step["revision"], item["path"], item["reason"]) for step in steps for item in step["kept"])


def agree(plan: Report, done: Report) -> None:
    """The plan said what was done: each step, each change, each word, no more and no less."""
    assert (plan.error, done.error) == (None, None)
    assert changes(plan) == changes(done)
    assert kept(plan) == kept(done)
    for name in ("skipped", "warnings", "required_missing"):
        assert words(plan, name) == words(done, name), name
    assert (plan.body["to"], plan.body["held"]) == (done.body["to"], done.body["held"])


def same_end(plan: Report, done: Report) -> None:
    """What was done was refused, and so was the plan, with the same words."""
    assert done.error is not None
    assert (plan.exit_code, str(plan.error)) == (done.exit_code, str(done.error))


def warnings(told: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What a screen would show as warnings."""
    return [facts["text"] for event, facts in told if event == "warning"]
