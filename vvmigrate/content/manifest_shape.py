"""What the published schema says about model_manifest.json, as sentences.

The library's own messages quote what they refuse, which may be a URL with a password in it, and print whole schemas.
So the words come from the schema's descriptions, and values are shown only when they are small and harmless.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vvmigrate.content.strict_json import MAX_PROBLEMS, Problem, shown

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

SCHEMA_PATH = Path(__file__).with_name("model_manifest.schema.json")
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "object": "an object",
    "string": "text",
}


def problems(document: Any) -> Iterator[Problem]:
    """Yield every place where the document has another shape than the schema's.

    Args:
        document: any JSON value.
    """
    errors = list(islice(_validator().iter_errors(document), MAX_PROBLEMS))
    # A value of the wrong type also misses its `const` or `enum`: one sentence is enough.
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    for error in errors:
        if error.validator == "type" or tuple(error.absolute_path) not in mistyped:
            yield from _explain(error)


def _validator() -> Validator:
    """Return a validator for which 1.0 is no whole number; JSON Schema lets it pass as one."""
    # Imported here: it costs more than the rest of a run that has nothing to do.
    from jsonschema import Draft202012Validator, validators

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    strict: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]  # the stubs leave it out
        Draft202012Validator, type_checker=checker
    )
    return strict(json.loads(SCHEMA_PATH.read_bytes()))


def _explain(error: ValidationError) -> Iterator[Problem]:
    """Turn one of the library's errors into problems, each at the field that it is about."""
    schema: Any = error.schema
    found: Any = error.instance
    where, rule = tuple(error.absolute_path), error.validator
    if "propertyNames" in error.absolute_schema_path:
        yield Problem((*where, found), f"this name is refused: expected {schema['description']}")
    elif rule == "additionalProperties":
        known = ", ".join(schema["properties"])
        unknown = (name for name in found if name not in schema["properties"])
        yield from (Problem((*where, name), f"unknown field; known here: {known}") for name in unknown)
    elif rule == "required":
        missing = (name for name in schema["required"] if name not in found)
        yield from (Problem((*where, name), "this field is missing") for name in missing)
    elif rule == "dependentRequired":
        for name, others in schema["dependentRequired"].items():
            lonely = (other for other in others if name in found and other not in found)
            yield from (Problem((*where, other), f"this field is missing: {name} needs it") for other in lonely)
    else:
        yield Problem(where, f"expected {_expected(rule, schema)}, found {shown(found)}")


def _expected(rule: object, schema: dict[str, Any]) -> str:
    """Return what one rule of the schema asks for."""
    if rule == "type":
        return _TYPES[schema["type"]]
    if rule == "enum":
        return "one of " + ", ".join(schema["enum"])
    return str(schema["description"])
