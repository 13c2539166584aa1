"""How the reports of commands that look are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from rich.markup import escape

from vvmigrate.progress import amount
from vvmigrate.text import trial
from vvmigrate.text.screen import STYLE, Screen, printable


def plan(screen: Screen, body: Mapping[str, Any]) -> None:
    """What would be done, step by step."""
    if not body["steps"] and body["error"] is None:
        screen.say(f"nothing to do: at {body['from'] or 'base'}")
    for step in body["steps"]:
        screen.say(f"[bold]{escape(step['revision'])}[/] {escape(step['title'])}")
        screen.changes(step["changes"])
        for item in step["downloads"]:
            screen.say(f"    download {amount(item['size_bytes'])} from {escape(printable(item['url']))}")
        notes(screen, step)
    if body["steps"]:
        disk = body["disk"]
        screen.say(f"disk: {amount(disk['needed_bytes'])} needed, {amount(disk['free_bytes'])} free")
    for item in body["held"]:
        if "user" in item:
            text = f"{item['revision']} was taken back by {item['user']} ({escape(item['reason'])})"
        else:
            text = f"{item['revision']}, so that it does not return by itself ({escape(item['reason'])})"
        screen.say(f"[yellow]held:[/] {text}")


def notes(screen: Screen, step: Mapping[str, Any]) -> None:
    """What a step has to say beside its changes."""
    if screen.verbose:
        for text in step["skipped"]:
            screen.say(f"    [dim]skipped: {escape(printable(text))}[/]")
    screen.kept(step["kept"])
    for text in step["warnings"]:
        screen.say(f"    [yellow]warning:[/] {escape(printable(text))}")
    if step["degraded"]:
        screen.say(f"    [yellow]degraded:[/] {escape(printable(step['degraded']))}")
    if step["required_missing"]:
        screen.say(f"    [yellow]no value for:[/] {', '.join(step['required_missing'])}")


def history(screen: Screen, body: Mapping[str, Any]) -> None:
    """Every attempt, newest first."""
    _proof(screen, body)
    if not body["entries"]:
        if body["error"] is None and body["attempts"]:
            screen.say(f"nothing in the history is as asked for; all {body['attempts']} attempts: vvmigrate history")
        elif body["error"] is None:
            screen.say("no history: nothing was done on this host yet")
        return
    if "effects" in body["entries"][0]:
        for entry in body["entries"]:
            _chapter(screen, entry)
    else:
        named = any(entry["release"] for entry in body["entries"])
        for release, entries in groupby(body["entries"], key=lambda entry: entry["release"]):
            if named:
                screen.say(f"[bold]release {escape(printable(release))}[/]" if release else "[bold]of no release[/]")
            _overview(screen, list(entries))
    if body["older"]:
        screen.say(f"{body['older']} older attempts are not shown: vvmigrate history --limit 0")


def _proof(screen: Screen, body: Mapping[str, Any]) -> None:
    """Whether the history tells the truth, if that was asked."""
    for text in body.get("problems", []):
        screen.say(f"[red]{escape(printable(text))}[/]")
    if body.get("problems") == []:
        screen.say("[green]the history holds: nothing in it was changed, removed or put in[/]")
    if count := body.get("not_verifiable"):
        screen.say(
            f"[yellow]rows 1 to {count} are older than this epoch: not verifiable, but as they were at its begin[/]"
        )


def _overview(screen: Screen, entries: list[Mapping[str, Any]]) -> None:
    rows = []
    for entry in entries:
        took = "" if entry["duration_s"] is None else f"{entry['duration_s']:.1f} s"
        style = STYLE.get(entry["result"], "")
        when = entry["finished_at"].replace("T", " ")[:19]
        result, title = f"[{style}]{entry['result']}[/]", escape(printable(entry["title"]))
        rows.append(
            [when, entry["revision"], entry["direction"], result, took, escape(printable(entry["user"])), title]
        )
    notes = [f"[red]{escape(printable(entry['error']))}[/]" if entry["error"] else "" for entry in entries]
    screen.table(["when (UTC)", "revision", "way", "result", "took", "who", "what"], rows, notes)


WAYS = {"up": "upgrade", "down": "downgrade", "repair": "repair", "adopt": "adopt", "epoch": "adopt"}
ITSELF = {
    **dict.fromkeys((("repair", "repaired"), ("up", "adopted"), ("adopt", "adopted")), ""),
    ("epoch", "adopted"): "a new epoch, ",
}
"""Where the result says which way it was: what stands before it."""


def _chapter(screen: Screen, entry: Mapping[str, Any]) -> None:
    """One attempt, as it is told: when, what became of it, who did it with what, what it changed, what it left."""
    when, style = entry["finished_at"].replace("T", " ")[:19], STYLE.get(entry["result"], "")
    took = "" if entry["duration_s"] is None else f" in {entry['duration_s']:.2f} s"
    revision = f"[bold]{entry['revision']}[/] " if entry["revision"] else ""
    screen.say(f"{when}  {revision}{escape(printable(entry['title']))}")
    who = escape(printable(f"{entry['user']} on {entry['host']}, vvmigrate {entry['tool_version']}"))
    way = ITSELF.get((entry["direction"], entry["result"]), f"{WAYS[entry['direction']]} ")
    screen.say(f"    {way}[{style}]{entry['result']}[/]{took}, by {who}")
    if entry["error"]:
        screen.say(f"    [red]{escape(printable(entry['error']))}[/]")
    screen.changes([effect for effect in entry["effects"] if effect["action"] != "adopt"])
    for effect in entry["effects"]:
        if effect["before_image"]:
            image = escape(printable(effect["before_image"]))
            screen.say(f"    [dim]what stood at {escape(printable(effect['path']))} lies in {image}[/]")
    screen.kept(entry["kept"])
    for text in entry["warnings"]:
        screen.say(f"    [yellow]warning:[/] {escape(printable(text))}")
    screen.say("")


def current(screen: Screen, body: Mapping[str, Any]) -> None:
    """The revision, in a line."""
    head = " (head)" if body["is_head"] else ""
    screen.say(f"{body['revision'] or 'base'}{head} {escape(body['title'] or '')}".rstrip())


def heads(screen: Screen, body: Mapping[str, Any]) -> None:
    """The release's last revision."""
    for head in body["heads"]:
        release = f", release {head['release']}" if head["release"] else ""
        screen.say(f"{head['revision']} (head{escape(release)}) {escape(head['title'] or '')}")


def show(screen: Screen, body: Mapping[str, Any]) -> None:
    """A revision, with its source."""
    screen.say(f"[bold]{escape(body['revision'])}[/] {escape(body['title'] or '')}")
    if body["release"]:
        screen.say(f"  of release {escape(printable(body['release']))}")
    screen.say(
        f"  follows {body['follows'] or 'nothing'}; {'applied' if body['applied'] else 'not applied'} on this host"
    )
    screen.say(f"  {escape(printable(body['path']))}\n  SHA-256 {body['sha256']}\n")
    screen.say(escape(printable(body["source"])))


def status(screen: Screen, body: Mapping[str, Any]) -> None:
    """Where the host stands, and what is wrong with it."""
    place = " (head)" if body["revision"] == body["head"] else f" of {body['head']}"
    place += escape(f", release {body['release']}") if body["release"] else ""
    screen.say(f"revision      {body['revision'] or 'base'}{place}")
    screen.say(f"home          {escape(printable(body['home']))}")
    screen.say(f"storage root  {escape(printable(body['storage_root']))}")
    screen.say(f"state         {body['state_digest'] or 'not for this user to tell'}")
    if run := body["last_run"]:
        code = "it was killed" if run["exit_code"] is None else f"exit {run['exit_code']}"
        screen.say(
            f"last run      {run['command']} by {run['user']}, {run['finished_at'][:19].replace('T', ' ')}, {code}"
        )
    if failure := body["last_failure"]:
        when = failure["finished_at"][:19].replace("T", " ")
        screen.say(f"last failure  {failure['revision']}, {when}: {escape(printable(failure['error']))}")
    if body["generations"]:
        screen.say(f"models        {', '.join(body['generations'])}")
    findings(screen, body)


def findings(screen: Screen, body: Mapping[str, Any]) -> None:
    """What needs attention, a line each."""
    for item in body["pending"]:
        screen.say(f"[yellow]pending:[/] {item['revision']} {escape(item['title'])}")
    for item in body["degraded"]:
        screen.say(f"[yellow]degraded:[/] {item['revision']}: {escape(printable(item['reason']))}")
    if (body["pending"] and not body["held"]) or body["degraded"]:
        screen.advise("vvmigrate upgrade head")
    for item in body["held"]:
        screen.say(f"[yellow]held:[/] {item['revision']}, by {item['user']} at {item['at']}: {escape(item['reason'])}")
        screen.advise("to let it return: vvmigrate upgrade head --release-hold")
    differing(screen, body["drift"])
    if body["journal"]:
        screen.say(f"[yellow]a step was interrupted:[/] {escape(printable(body['journal']))} waits: vvmigrate recover")
    if body["required_missing"]:
        screen.say(f"[yellow]no value in .env for:[/] {', '.join(body['required_missing'])}")
        screen.advise(set_command(body["required_missing"]))
    if other := body["other_variant"]:
        installed = ", ".join(other["installed"])
        screen.say(f"[yellow]model variant:[/] {escape(other['asked'])} is asked for, {escape(installed)} is installed")
    if body["untold"]:
        screen.say(f"[yellow]after_change was not told of:[/] {', '.join(body['untold'])}: vvmigrate upgrade head")
    trial.promised(screen, body["confirm"])


def set_command(names: Iterable[str]) -> str:
    """The command that gives required keys their values."""
    return f"vvmigrate upgrade head {' '.join(f'--set {name}=VALUE' for name in names)}"


def drift(screen: Screen, found: Iterable[Mapping[str, Any]], word: str = "drift", indent: str = "") -> None:
    """What differs, a line for each path."""
    for path, group in groupby(found, key=lambda item: item["path"]):
        items = list(group)
        facts = "; ".join(f"expected {item['expected']}, found {item['actual']}" for item in items)
        reason = f" ({items[0]['reason']})" if items[0].get("reason") else ""
        screen.say(f"{indent}[yellow]{word}:[/] {escape(printable(path))}: {escape(facts + printable(reason))}")


WHY = "why it differs: vvmigrate why PATH; "


def differing(screen: Screen, found: Iterable[Mapping[str, Any]], word: str = "drift", why: str = WHY) -> None:
    """What differs, and under it what mends it, which may be another thing for other paths."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for item in found:
        groups.setdefault(item["remedy"], []).append(item)
    for remedy, group in groups.items():
        drift(screen, group, word)
        lead = why if group[0]["kind"] != "schema" else ""  # of the database as a whole there is no life to tell
        screen.advise(f"{lead}to mend it: {remedy}")


def verify(screen: Screen, body: Mapping[str, Any]) -> None:
    """What differs, and how much was looked at."""
    differing(screen, body["drift"])
    count = body["checked"]
    if body["drift"]:
        paths = len({item["path"] for item in body["drift"]})
        screen.say(f"{paths} of {count} differ from what is recorded")
    elif body["error"] is None:
        some = "1 path or file is" if count == 1 else f"{count} paths and files are"
        some += " as recorded, as far as this user may look" if body.get("unseen") else " as recorded"
        screen.say(some if count else "nothing is recorded on this host yet")


def why(screen: Screen, body: Mapping[str, Any]) -> None:
    """The life of a path, oldest first, and how it stands now."""
    screen.say(f"[bold]{escape(printable(body['path']))}[/]")
    _standing(screen, body)
    if wanted := body["recorded"]:
        screen.say(f"  should be {escape(_entry(wanted))}")
    if artefact := body["artefact"]:
        model = f"{artefact.get('model_name')} {artefact.get('model_version')} ({artefact.get('variant')})"
        screen.say(f"  holds {escape(printable(model))} from {escape(printable(artefact.get('source')))}")
    for event in body["life"]:
        _event(screen, event)
    if body["drift"]:
        drift(screen, body["drift"], "not as it was left", "  ")
        screen.advise(f"to have it back: {body['remedy']}")
    elif body.get("unseen"):
        screen.say("  this user may not see whether it is as it was left")
    elif body["managed"] or body["release"]:
        screen.say("  [green]is as it was left[/]")
    elif body["life"] and not body["recorded"]:
        screen.say("  is not managed any more")


def _standing(screen: Screen, body: Mapping[str, Any]) -> None:
    """What a path is to us."""
    if body["release"]:
        screen.say("  is a file of the release, as vv-signature.json lists it")
    elif not body["life"]:
        screen.say("  is not managed: no step ever did anything to it")
    elif body["managed"] and body["part_of"]:
        screen.say(f"  is part of {escape(printable(body['part_of']))}")
    elif body["part_of"]:
        screen.say("  is not managed: no step ever did anything to it")
        screen.say(f"  its folder: {escape(printable(body['part_of']))}")


def _entry(entry: Mapping[str, Any]) -> str:
    if entry["kind"] == "absent":
        return "nothing"
    parts = [f"a {'directory' if entry['kind'] == 'dir' else entry['kind']}"]
    if "target" in entry:
        return f"a link to {printable(entry['target'])}"
    if entry.get("sha256"):
        parts.append(f"of {amount(entry['size_bytes'])}, SHA-256 {entry['sha256'][:12]}")
    return f"{' '.join(parts)}, mode {entry['mode']}, owner {entry['owner']}"


def _event(screen: Screen, event: Mapping[str, Any]) -> None:
    when = event["finished_at"][:19].replace("T", " ")
    user = event["user"] + (f" (sudo: {event['sudo_user']})" if event["sudo_user"] else "")
    style = STYLE.get(event["result"], "")
    title = escape(printable(event["title"]))
    screen.say(f"  {when}  [{style}]{event['result']}[/] {event['revision']} {title}, by {escape(user)}")
    said = f": {printable(event['detail'])}" if event["detail"] else ""
    source = f", from {printable(event['source'])}" if event["source"] else ""
    screen.say(f"      {event['action']}{escape(said + source)}")
    if event["before_image"]:
        screen.say(f"      what stood there lies in {escape(printable(event['before_image']))}")


def doctor(screen: Screen, body: Mapping[str, Any]) -> None:
    """A paragraph for each thing that looks wrong, with the command that mends it."""
    for item in body["findings"]:
        screen.say(f"[yellow]{escape(printable(item['what']))}[/]")
        screen.say(f"  {escape(printable(item['why']))}")
        if item["remedy"]:
            screen.advise(item["remedy"], style="bold")
        screen.say("")
    count = len(body["findings"])
    nothing = "nothing looks wrong, as far as this user may look" if body.get("unseen") else "nothing looks wrong"
    screen.say(f"{count} finding{'s' * (count > 1)}" if count else f"[green]{nothing}[/]")
