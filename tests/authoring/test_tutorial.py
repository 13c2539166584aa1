"""docs/authoring.md, typed: each command is run, each edit made, in order; what is printed is what the page says."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, HostFolder, copy_release
from tests.transcript import Block, blocks, edited, printed_as_told, sessions

PAGE = REPOSITORY / "docs/authoring.md"
PROMPT = r"(?:appliance\$|device#)"
PROGRAM = f"""#!/bin/sh
PYTHONPATH='{REPOSITORY}' exec '{sys.executable}' "$@"
"""
PERSON = {f"GIT_{role}_{what}": "author@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@dataclass
class Desk:
    """The author's checkout, and a device, side by side in one folder.

    Attributes:
        environ: of the shells.
    """

    folder: Path
    environ: dict[str, str]

    @classmethod
    def make(cls, folder: Path) -> Desk:
        """Both have had 1.0 for a while, and the device has a video."""
        device = HostFolder(copy_release(folder).home.rename(folder / "device"), folder / "videos")
        checkout = HostFolder(folder / "appliance", folder / "appliance/storage")
        shutil.copytree(device.home, checkout.home)
        shutil.copy2(REPOSITORY / ".gitignore", checkout.home)
        shutil.copy2(REPOSITORY / ".gitattributes", checkout.home)
        (checkout.home / "tests").mkdir()
        for host in (device, checkout):
            host.up(values={"DVR_IP": "192.168.1.20"})
        device.sql("INSERT INTO processed_videos (sha256, file_name, status, first_seen) VALUES ('x', 'a', 'done', '')")
        (folder / "bin").mkdir()
        for name, program in (("python", PROGRAM), ("vvmigrate", PROGRAM.replace('"$@"', '-m vvmigrate "$@"'))):
            (folder / "bin" / name).write_text(program)
            (folder / "bin" / name).chmod(0o755)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("VV_", "VIDEO_", "GIT_"))}
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        desk = cls(
            folder,
            {
                **clean,
                **PERSON,
                "PATH": path,
                "GIT_CONFIG_GLOBAL": os.devnull,
                "VV_MODEL_VARIANT": "demo",
                "VV_APP_USER": getpass.getuser(),
            },
        )
        desk.type("appliance$", "git init --quiet && git add --all && git commit --quiet -m 1.0 && git tag 1.0")
        return desk

    def type(self, prompt: str, command: str) -> str:
        """Type a command where its prompt says; what a terminal shows of it."""
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.folder / prompt[:-1], env=self.environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout)
        return done.stdout

    def follow(self, block: Block) -> None:
        """Do what a block of the page says."""
        if block.language == "console":
            for prompt, command, told in sessions(block.text, PROMPT):
                printed = self.type(prompt, command)
                assert printed_as_told(told, printed), f"{command}\nprints\n{printed}\nand the page says\n{told}"
        elif block.language == "diff":
            header, _, edit = block.text.partition("\n")
            path = self.folder / header.removeprefix("--- ")
            path.write_text(edited(path.read_text(), edit))
        else:
            path = self.folder / block.name
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text)


@pytest.mark.parametrize(
    "until", [pytest.param("\n## 5. Test it\n", id="proved"), pytest.param("", id="to the end", marks=pytest.mark.full)]
)
def test_an_author_who_does_what_the_page_says_sees_what_it_says(tmp_path: Path, until: str) -> None:
    """From an edited `.env.example` to a rehearsed revision; with --full also shipped, taken back, and the next one."""
    page = PAGE.read_text()
    assert until in page
    desk = Desk.make(tmp_path)
    for block in blocks(page.partition(until)[0] if until else page):
        desk.follow(block)


def test_the_page_knows_every_verb_of_a_releases_life() -> None:
    """None of them is left out, and what is no command of the tool is not called so."""
    typed = [said.command for block in blocks(PAGE.read_text()) for said in sessions(block.text, PROMPT)]
    verbs = {match for command in typed for match in re.findall(r"\bvvmigrate (\w+)", command)}
    assert verbs >= {"revision", "check", "plan", "rehearse", "keygen", "sign", "upgrade", "confirm", "downgrade"}


@pytest.mark.parametrize("edit", [" a\n-c\n+x\n", "-b\n+x\n", "-z\n+x\n"], ids=["not together", "twice", "nowhere"])
def test_an_edit_that_does_not_fit_is_no_edit(edit: str) -> None:
    """Old lines that are not there, or there twice, are told: no edit of the page happens by chance."""
    with pytest.raises(AssertionError):
        edited("a\nb\nb\nc\n", edit)


def test_what_is_printed_must_be_all_that_is_told() -> None:
    """A line more, a line less and another word are seen; `...` stands for what differs."""
    assert printed_as_told("a ... c\n...\nd\n", "a b c\n1\n2\nd\n")
    assert printed_as_told("", "")
    for told, printed in [("", "a\n"), ("a\n", ""), ("a\n", "a\nb\n"), ("a\nb\n", "a\n"), ("a ... c\n", "a b d\n")]:
        assert not printed_as_told(told, printed)
