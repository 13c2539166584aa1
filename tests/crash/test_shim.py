"""The shim sees what it claims to see, the replay explains it, and what cannot be seen does not pass silently."""

import errno
import sys
from pathlib import Path

import pytest

from . import odd_calls, sample
from .crashstates import explore, record
from .diskmodel import ReplayError
from .killpoints import Harness
from .scenario import Outcome, Scenario
from .shim import HarnessError, Mode

HERE = Path(__file__).parent


def odd(program: str, shim: Path, jobs: int = 1) -> Harness:
    """Return a harness for one of the odd programs."""
    scenario = Scenario(
        odd_calls.setup, [program, "{root}"], ["recover", "{root}"], lambda _: "", app="odd_calls:main",
        import_path=[HERE],
    )  # fmt: skip
    return Harness(scenario, shim=shim, jobs=jobs)


def test_replay_of_every_kind_of_call_gives_the_real_disk(shim: Path) -> None:
    """Exchange, NOREPLACE, nameless files, subtrees that move, copies in the kernel, attributes: byte for byte."""
    with odd("everything", shim) as harness:
        replay = record(harness.workers[0])
        names = {c.name for c in harness.calls}
    assert {"renameat2", "linkat", "unlinkat", "sync_file_range", "fdatasync", "copy_file_range", "syncfs"} <= names
    assert len(replay.changes) >= 40


def test_flags_of_renameat2_are_recorded(shim: Path) -> None:
    """Exchange and NOREPLACE are told apart, also through syscall(), and a refused one shows its result."""
    with odd("everything", shim) as harness:
        seen = [(c.argument, c.result) for c in harness.calls if c.name == "renameat2"]
    assert seen == [(2, 0), (1, -1), (1, 0), (2, 0), (2, 0)]


@pytest.mark.parametrize("profile", ["posix", "journaled"])
def test_every_legal_state_of_the_odd_calls_can_be_built(shim: Path, profile: str) -> None:
    """Each disk of the model can be made, also where renames of directories were lost."""
    with odd("everything", shim) as harness:
        explore(harness, "posix" if profile == "posix" else "journaled", subsets=3, sample=150).assert_clean()


def test_a_call_that_goes_past_the_shim_is_an_error(shim: Path) -> None:
    """CDLL("libc.so.6").renameat2 cannot be interposed; the replay notices that the disk is another one."""
    with odd("bypass", shim) as harness, pytest.raises(ReplayError, match="went past the shim"):
        record(harness.workers[0])


def test_calls_that_differ_from_run_to_run_are_an_error(shim: Path) -> None:
    """A point has to mean the same in every run."""
    with pytest.raises(HarnessError, match="differ from run to run"), odd("moody", shim):
        pass


def sampled(shim: Path, **more: object) -> Harness:
    """Return a harness for the sample updater with one worker."""
    scenario = Scenario(
        sample.setup, ["upgrade", "{root}"], ["recover", "{root}"], app="sample:main", import_path=[HERE], **more  # type: ignore[arg-type]
    )  # fmt: skip
    return Harness(scenario, shim=shim, jobs=1)


def test_a_point_that_is_never_reached_is_a_failure(shim: Path) -> None:
    """A fault beyond the last call strikes nothing, and proves nothing."""
    with sampled(shim) as harness:
        report = harness.strike(["kill"], points=[len(harness.calls) + 1])
    assert [s.verdict for s in report.strikes] == ["missed"]
    with pytest.raises(AssertionError, match="not proved"):
        report.assert_clean()


def test_striking_nothing_is_a_failure(shim: Path) -> None:
    """An empty list of points must not look like success."""
    with sampled(shim) as harness, pytest.raises(AssertionError, match="0 of 0"):
        harness.strike(["kill"], points=[]).assert_clean()


@pytest.mark.parametrize(
    ("mode", "refused"),
    [
        ("sticky:ENOSPC", ["write", "open new", "rename new", "mkdir"]),
        ("full:ENOSPC", ["open new", "rename new"]),  # mkdir has the room of "old"
        ("sticky:EIO", ["write", "open new", "rename new", "rename over", "exchange", "unlink", "chmod", "mkdir"]),
    ],
)
def test_a_full_disk_refuses_only_what_needs_space(shim: Path, tmp_path: Path, mode: str, refused: list[str]) -> None:
    """Deleting, exchanging and replacing go through; in "full" what was deleted can be used again."""
    program = tmp_path / "probe.py"
    program.write_text(PROBE, "utf-8")

    def check(outcome: Outcome) -> str:
        said = outcome.output.splitlines()[0].split(",")
        return "" if said == refused else f"refused: {said}"

    scenario = Scenario(
        odd_calls.setup, [sys.executable, str(program)], ["true"], check, env={"MODE": mode.partition(":")[0]}
    )  # fmt: skip
    with Harness(scenario, shim=shim, jobs=1) as harness:
        harness.strike([mode], points=[2]).assert_clean()


#: Tries each kind of call and prints those that were refused.
PROBE = """
import ctypes, os
libc = ctypes.CDLL(None)
fd = os.open("old", os.O_WRONLY)
def attempt(name, call):
    try:
        if call() == -1: refused.append(name)
    except OSError:
        refused.append(name)
refused = []
if os.environ["MODE"] == "full":
    os.unlink("b/deep/file")
    os.close(os.open("b/room", os.O_WRONLY | os.O_CREAT))
else:
    attempt("write", lambda: os.write(fd, b"x"))
attempt("open new", lambda: os.open("new", os.O_WRONLY | os.O_CREAT))
attempt("rename new", lambda: os.rename("a/deep/file", "a/file"))
if os.environ["MODE"] != "full":
    attempt("rename over", lambda: os.rename("a/deep/file", "b/deep/file"))
attempt("exchange", lambda: libc.renameat2(-100, b"a", -100, b"b", 2))
attempt("unlink", lambda: os.unlink("old"))
attempt("chmod", lambda: os.chmod("a", 0o700))
attempt("mkdir", lambda: os.mkdir("more"))
print(",".join(refused), flush=True)
"""


@pytest.mark.parametrize("label", ["kil", "errno", "errno:NOTHING", "kill:EIO", "count"])
def test_unknown_modes_are_refused(label: str) -> None:
    """A misspelt mode must not strike something else."""
    with pytest.raises(HarnessError, match="unknown mode"):
        Mode.parse(label)


def test_modes_know_their_errno() -> None:
    """The name of an error becomes its number."""
    assert Mode.parse("sticky:ENOSPC") == Mode("sticky:ENOSPC", "sticky", errno.ENOSPC)


@pytest.mark.usefixtures("shim")
def test_the_command_line_strikes_a_program_without_a_fork_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The thin command line does what the library does, with programs instead of functions."""
    from . import killpoints

    updater = f"{sys.executable} {HERE / 'sample.py'}"
    setup = f"{updater} setup {{root}}"
    line = [
        "killpoints", "--setup", setup, "--run", f"{updater} upgrade {{root}}", "--recover",
        f"{updater} recover {{root}}", "--points", "25-26,41", "--modes", "kill,errno:EIO", "--jobs", "1",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", line)
    assert killpoints.main() == 0
    assert "6 points" in capsys.readouterr().out
