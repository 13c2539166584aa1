"""How the reports of keygen and sign are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from vvmigrate.text.screen import Screen, printable


def keygen(screen: Screen, body: Mapping[str, Any]) -> None:
    """Where the keys are, and what hosts have to be told."""
    if body["error"] is None:
        screen.say(
            f"secret key: {escape(printable(body['secret_key']))} (keep it away from everybody, and a copy of it)"
        )
        screen.say(f"public key: {escape(printable(body['public_key_file']))}, id {body['key_id']}")
        screen.say(f"hosts trust it by: VV_TRUSTED_KEYS={escape(body['public_key'])}")


def sign(screen: Screen, body: Mapping[str, Any]) -> None:
    """What was signed, and how anybody can check it."""
    if body["error"] is None:
        screen.say(f"{body['files']} files listed in {escape(printable(body['release']))}, signed by {body['key_id']}")
        screen.say(f"  minisign -Vm {escape(printable(body['release']))} -P {escape(body['public_key'])}")
