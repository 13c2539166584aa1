"""Whatever a user keeps on a host: up then down is the identity, and settings read as they did."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import HostFolder, copy_release

FOLDERS = ("input", "raw", "fallback", "models", "loglines", "orchestrator_data", "models/.store", "mine")
FEW = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

names = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/"), min_size=1, max_size=12)
file_names = names.filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200 and not name.startswith("orchestrator_db")
)
files = st.dictionaries(st.tuples(st.sampled_from(FOLDERS), file_names), st.binary(max_size=40), max_size=6)
keys = st.one_of(
    st.sampled_from(["LOG_LEVEL", "DVR_IP", "HMAC_SECRET_KEY", "GRAFANA_PORT", "VV_EXTRA", "KEY_ID"]),
    st.from_regex(r"\A[A-Z][A-Z0-9_]{0,8}\Z"),
).filter(lambda key: key not in ("VIDEO_STORAGE_ROOT", "VV_MODEL_VARIANT"))
lines = st.one_of(
    st.tuples(keys, st.from_regex(r"\A[a-zA-Z0-9_./:-]{0,12}\Z")).map(lambda pair: f"{pair[0]}={pair[1]}"),
    st.tuples(keys, st.from_regex(r"\A[a-zA-Z0-9 #$=]{0,12}\Z")).map(lambda pair: f"{pair[0]}='{pair[1]}'"),
    st.tuples(keys, st.from_regex(r"\A[a-zA-Z0-9 #=]{0,12}\Z")).map(lambda pair: f'export {pair[0]}="{pair[1]}"'),
    st.from_regex(r"\A# ?[a-zA-Z0-9 =@]{0,16}\Z"),
    st.just(""),
)
env_files = st.builds(
    lambda body, newline, ended: newline.join(body) + (newline if ended and body else ""),
    st.lists(lines, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
moves = st.lists(st.sampled_from(["up", "down", "base", "0004", "update", "set"]), min_size=1, max_size=5)


@contextmanager
def fresh_host() -> Iterator[HostFolder]:
    folder = Path(tempfile.mkdtemp(prefix="vv-"))
    try:
        yield copy_release(folder)
    finally:
        shutil.rmtree(folder)


def read(text: bytes) -> dict[str, str | None]:
    return dict(dotenv_values(stream=io.StringIO(text.decode(), newline=""), interpolate=False))


def ours(path: str) -> bool:
    """What stays after downgrade base by design: generations in the store, and the database's folder."""
    return path.startswith("storage/models/.store/bitnet_summarizer-") or path in (
        "storage/orchestrator_data",
        "storage/models",
        "storage/models/.store",
    )


@FEW
@given(files, st.one_of(st.none(), env_files))
def test_up_then_down_is_the_identity(tree: dict[tuple[str, str], bytes], env: str | None) -> None:
    """Random files of the user's in managed directories, and any .env, are byte by byte and mode by mode as before."""
    with fresh_host() as host:
        for (folder, name), content in tree.items():
            (host.root / folder).mkdir(parents=True, exist_ok=True)
            (host.root / folder / name).write_bytes(content)
        if env is not None:
            (host.home / ".env").write_bytes(env.encode())
        before = host.tree()
        host.up()
        during = host.tree()
        kept = {path: found for path, found in before.items() if found[0] == "file" and path != "home/.env"}
        assets = {"storage/fallback/placeholder.png", "storage/fallback/loop_silencioso.mp4"}
        assert {path: during[path] for path in kept if path not in assets} == {
            path: found for path, found in kept.items() if path not in assets
        }
        host.down("base")
        after = host.tree()
        assert {path: found for path, found in after.items() if path in before or not ours(path)} == before


@FEW
@given(env_files, moves)
def test_the_users_settings_read_alike_all_the_while(env: str, sequence: list[str]) -> None:
    """python-dotenv reads the same values for all of the user's keys before and after any sequence of up and down."""
    with fresh_host() as host:
        path = host.home / ".env"
        path.write_bytes(env.encode())
        wanted = read(env.encode())
        host.environ["VV_DATABASE_TIMEOUT"] = "30"
        for path_of in (host.home / "migrations/versions").glob("000[56]*"):
            path_of.unlink()
        for move in sequence:
            if move == "up":
                host.up(release_hold=True)
            elif move == "update":
                host.up(update_env=True, release_hold=True)
            elif move == "set":
                host.up(values={"TELEGRAM_CHAT_ID": "42"}, release_hold=True)
            elif move == "0004":
                host.call("downgrade", "0004")
            elif host.version():
                host.down("-1" if move == "down" else "base")
            found = read(path.read_bytes())
            assert {key: found.get(key, "gone") for key in wanted if key != "TELEGRAM_CHAT_ID"} == {
                key: value for key, value in wanted.items() if key != "TELEGRAM_CHAT_ID"
            }, move
