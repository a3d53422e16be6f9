"""How old a dataset is against its input: what changed there since, from the footers alone; knows no Ray.

A dataset is as old as the newest thing that it knows: the newest event time of the files that it read, or, where there
is none, the moment at which it looked at them.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from twinscore.batch.find import find_inputs
from twinscore.batch.footer import read_footer, read_footer_at
from twinscore.errors import FileUnreadable, InputEmpty, TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    import pyarrow.parquet as pq

    from twinscore.batch.place import Found, Place
    from twinscore.batch.read import CommittedRun
    from twinscore.batch.spec_parts import FreshnessSpec

__all__ = ["Freshness", "check_freshness", "compare_files"]

_THREADS = 8
_SHOWN = 3


class Changes(NamedTuple):
    """Names of files of an input, against those that a run read."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    vanished: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What a look at the input said."""

    verdict: Literal["fresh", "stale", "unknown"]
    reason: str
    run_id: str
    run_age: timedelta
    """Since the run looked at its input."""
    data_age: timedelta
    """Since the newest thing that the dataset knows."""
    newest_in_run: datetime | None = None
    """Newest event time of the files that the run read; None when nobody can tell any more."""
    newest_in_input: datetime | None = None
    """Newest event time there now, or else the newest modification time."""
    newest_by: Literal["event time", "modification time", "nothing"] = "nothing"
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    rows_then: int = 0
    rows_now: int | None = None
    rows_waiting: int | None = None
    """Rows of new and changed files, whole files; None when the input could not be looked at."""

    @property
    def is_current(self) -> bool:
        """Whether the input is what the run read; False when it could not be looked at."""
        return self.rows_now is not None and not (self.new or self.changed or self.vanished)

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it: ages in seconds, times in ISO 8601."""
        plain = asdict(self)
        for name, value in plain.items():
            if isinstance(value, timedelta):
                plain[name] = value.total_seconds()
            elif isinstance(value, datetime):
                plain[name] = value.isoformat()
        return plain


class _Seen(NamedTuple):
    """One file of the input as it is now."""

    name: str
    size: int
    rows: int
    footer: str
    newest: datetime | None
    modified: datetime | None

    @property
    def content(self) -> tuple[int, str]:
        return self.size, self.footer


def check_freshness(
    run: CommittedRun,
    spec: FreshnessSpec | None = None,
    *,
    now: datetime | None = None,
    time_column: str | None = None,
    source: str | Sequence[str] | None = None,
) -> Freshness:
    """Hold a run against its input as it is now.

    With a largest age, the dataset is stale when it is older, whatever its input did. Without one, it is stale as soon
    as the input differs from what it read. It is unknown when the input cannot be looked at.

    Args:
        spec: the largest age.
        now: the time to reckon from; a time without a zone is UTC.
        time_column: column of the files with the event time, as the contract calls it.
        source: where the input is; needed when a store wants options, which manifests do not keep.
    """
    manifest = run.manifest
    moment = _utc(now or datetime.now(UTC))
    began = datetime.fromisoformat(manifest["started_at"])
    then: list[Mapping[str, Any]] = manifest["input"]["files"]
    rows_then = sum(file["rows"] for file in then)
    aside: list[Mapping[str, Any]] = manifest["input"].get("set_aside", [])
    shown = source or manifest["input"]["path"]
    locations = (shown,) if isinstance(shown, str) else tuple(shown)
    column = manifest["input"].get("columns", {}).get(time_column, time_column)
    run_age = max(moment - began, timedelta())
    try:
        files = _look(locations, column, {file["name"] for file in aside})
    except TwinscoreError as error:
        reason = f"The input cannot be looked at: {error.message}"
        return Freshness(
            verdict="unknown", reason=reason, run_id=manifest["run_id"], run_age=run_age, data_age=run_age,
            rows_then=rows_then,
        )  # fmt: skip
    changes = compare_files(
        {file["name"]: (file["bytes"], file["footer_sha256"] or "") for file in (*then, *aside)},
        {file.name: file.content for file in files},
    )
    read = {(file["bytes"], file["footer_sha256"]) for file in then}
    # Times of a file that is gone, or another by now, are lost: what the run knew is told only when all are there.
    whole = not (changes.changed or changes.vanished)
    known = max((file.newest for file in files if file.newest and file.content in read), default=None)
    known = known if whole else None
    events = max((file.newest for file in files if file.newest), default=None)
    modified = max((file.modified for file in files if file.modified), default=None)
    data_age = max(moment - (known or began), timedelta())
    verdict, reason = _judged(changes, data_age, spec, by="event time" if known else "look at the input")
    return Freshness(
        verdict=verdict, reason=reason, run_id=manifest["run_id"], run_age=run_age, data_age=data_age,
        newest_in_run=known, newest_in_input=events or modified,
        newest_by="event time" if events else "modification time" if modified else "nothing",
        new=changes.new, changed=changes.changed, vanished=changes.vanished,
        rows_then=rows_then, rows_now=sum(file.rows for file in files),
        rows_waiting=sum(file.rows for file in files if file.name in {*changes.new, *changes.changed}),
    )  # fmt: skip


def compare_files(then: Mapping[str, tuple[int, str]], now: Mapping[str, tuple[int, str]]) -> Changes:
    """Name what is new, changed and vanished; a file that only moved is none of these.

    Args:
        then, now: name to size and digest of the footer.

    >>> compare_files({"a": (1, "x"), "b": (2, "y")}, {"a": (1, "z"), "moved/b": (2, "y"), "c": (3, "w")})
    Changes(new=('c',), changed=('a',), vanished=())
    """
    changed = [name for name in then if name in now and then[name] != now[name]]
    new = [name for name in now if name not in then]
    vanished = [name for name in then if name not in now]
    moved = Counter(now[name] for name in new) & Counter(then[name] for name in vanished)
    new, vanished = _without(new, now, Counter(moved)), _without(vanished, then, Counter(moved))
    return Changes(tuple(sorted(new)), tuple(sorted(changed)), tuple(sorted(vanished)))


def _without(names: list[str], contents: Mapping[str, tuple[int, str]], moved: Counter[tuple[int, str]]) -> list[str]:
    kept = []
    for name in names:
        if moved[contents[name]]:
            moved[contents[name]] -= 1
        else:
            kept.append(name)
    return kept


def _judged(
    changes: Changes, age: timedelta, spec: FreshnessSpec | None, *, by: str
) -> tuple[Literal["fresh", "stale"], str]:
    counts = [f"{len(names)} {word} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
              for word, names in zip(("new", "changed", "vanished"), changes, strict=True) if names]  # fmt: skip
    differs = f"The input has other files than the run read: {'; '.join(counts)}." if counts else ""
    same = "The input is what the run read."
    if spec is None:
        return ("stale", f"{differs} Score it again.") if differs else ("fresh", same)
    told = f"The newest {by} that the dataset knows is {_told(age)} old; at most {spec.max_age} is allowed."
    if age <= spec.limit:
        return "fresh", f"{told} {differs or same}"
    todo = "Score it again." if differs else "Nothing newer came in: ask where the input comes from."
    return "stale", f"{told} {differs or same} {todo}"


def _look(locations: tuple[str, ...], column: str | None, aside: Set[str]) -> list[_Seen]:
    """Read every footer of the input; that of a file which was set aside may still be broken.

    Raises:
        FileUnreadable, StoreUnavailable, SettingsInvalid: it cannot be read.
    """
    try:
        place, found = find_inputs(locations)
    except InputEmpty as error:
        # A folder that is there and holds nothing is an answer: all its files vanished.
        if any(Path(location).is_dir() for location in locations):
            return []
        raise error from None
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(lambda file: _seen_or_aside(place, file, column, aside), found))


def _seen_or_aside(place: Place, file: Found, column: str | None, aside: Set[str]) -> _Seen:
    try:
        return _seen(place, file.name, column)
    except FileUnreadable:
        if file.name not in aside:
            raise
        size = Path(place.shown(file.name)).stat().st_size if place.is_local else file.size
        return _Seen(file.name, size or 0, 0, "", None, None)


def _seen(place: Place, name: str, column: str | None) -> _Seen:
    shown = place.shown(name)
    modified = None
    if place.is_local:
        size, digest, metadata = read_footer(shown)
        modified = datetime.fromtimestamp(Path(shown).stat().st_mtime, UTC)
    else:
        size, digest, metadata, file = read_footer_at(place, name)
        file.close()
    newest = _newest(metadata, column) if column is not None else None
    return _Seen(name, size, metadata.num_rows, digest, newest, modified)


def _newest(metadata: pq.FileMetaData, column: str) -> datetime | None:
    """Return the largest time of a column by the statistics of all row groups; None when one has none."""
    places = [at for at in range(metadata.num_columns) if metadata.schema.column(at).path == column]
    if len(places) != 1:
        return None
    newest: list[datetime] = []
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group)
        if not chunk.num_rows:
            continue
        statistics = chunk.column(places[0]).statistics
        if statistics is None:
            return None
        if not statistics.has_min_max:
            if statistics.has_null_count and statistics.null_count == chunk.num_rows:
                continue
            return None
        value = statistics.max
        if isinstance(value, datetime):
            newest.append(_utc(value))
        elif isinstance(value, date):
            newest.append(datetime.combine(value, time(), UTC))
        else:
            return None
    return max(newest, default=None)


def _told(age: timedelta) -> str:
    """Return an age as a person tells it.

    >>> _told(timedelta(hours=30)), _told(timedelta(minutes=5)), _told(timedelta(days=9))
    ('30 h', '5 min', '9 days')
    """
    seconds = age.total_seconds()
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 3 * 86_400 else f"{seconds / 86_400:.0f} days"


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
