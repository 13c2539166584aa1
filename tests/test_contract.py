"""The pages that people and programs go by name what there is: every verb and option, and none that does not exist."""

from __future__ import annotations

import re

import click
import pytest

from tests.conftest import REPOSITORY
from vvmigrate.cli import cli
from vvmigrate.options import Verb

CONTRACT = (REPOSITORY / "docs/cli.md").read_text()
VERBS = {name: command for name, command in cli.commands.items() if isinstance(command, Verb)}
ALEMBICS = {"--sql"}
INSTALL = set(re.findall(r"--[a-z-]+", (REPOSITORY / "install.sh").read_text()))
TESTS = {"--full"}


def options(command: click.Command) -> set[str]:
    """How a command's options are written, the long way."""
    named = [parameter.opts for parameter in command.params if isinstance(parameter, click.Option)]
    return {name for names in named for name in names if name.startswith("--")} - {"--version"}


KNOWN = set().union(*map(options, VERBS.values()), options(cli))


@pytest.mark.parametrize("name", VERBS)
def test_the_contract_has_every_verb_and_its_options(name: str) -> None:
    """Who writes a playbook looks there, and nowhere else."""
    assert re.search(rf"`{name}\b", CONTRACT)
    missing = {option for option in options(VERBS[name]) if not re.search(rf"{option}(?![a-z-])", CONTRACT)}
    assert not missing


@pytest.mark.parametrize("page", ["README.md", "docs/cli.md", "docs/crash-safety.md", "docs/architecture.md"])
def test_a_page_names_no_verb_and_no_option_that_does_not_exist(page: str) -> None:
    """What a page tells somebody to type is understood."""
    text = (REPOSITORY / page).read_text()
    said = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
    assert said <= KNOWN | {"--version", "--help"} | ALEMBICS | INSTALL | TESTS
    typed = set(re.findall(r"vvmigrate(?: --[a-z-]+)* ([a-z]+)", "\n".join(re.findall(r"`[^`\n]+`", text))))
    assert typed <= VERBS.keys() | {"stamp"}
