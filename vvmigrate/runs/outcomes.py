"""What became of a step, as the reports of upgrade, downgrade and repair show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vvmigrate.engine.state import ADOPT
from vvmigrate.engine.step import Outcome
from vvmigrate.report import error_as_json, listed


def outcome_as_json(outcome: Outcome, paths: Mapping[str, str]) -> dict[str, Any]:
    """A step as the reports of upgrade and downgrade show it."""
    changes = [
        {"action": effect.action, "path": f"{paths[effect.target.area]}/{effect.target.name}", "detail": effect.detail}
        for effect in outcome.changes
        if effect.action != ADOPT
    ]
    changes += [{"action": "sql", "path": paths["database"], "detail": one.text} for one in outcome.statements]
    kept = {(item.path, item.reason): item for item in (*outcome.kept, *outcome.proposal.kept)}
    return {
        "revision": outcome.revision,
        "title": outcome.title,
        "direction": outcome.direction,
        "result": outcome.result,
        "duration_s": outcome.duration_s,
        "changes": changes,
        "kept": listed(kept.values()),
        "skipped": list(outcome.proposal.skipped),
        "warnings": list(outcome.proposal.warnings),
        "degraded": outcome.proposal.degraded or None,
        "required_missing": list(outcome.proposal.required_missing),
        "error": error_as_json(outcome.error),
    }
