"""The report of a candidate beside the live version: from the shadow's own records, or from a replay of the log.

<output>/comparison.json    the figures
<output>/comparison.html    the same with pictures
<output>/pairs/             the rows that were compared, as Parquet
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.audit.operate import contracts_in, open_log
from twinscore.audit.pairs import answered_rows, join_shadow, main_version, shadow_rows
from twinscore.audit.window import pieces_of, read_piece
from twinscore.batch.checkpoint import write_whole
from twinscore.comparison.page import comparison_page
from twinscore.comparison.report import Side, compare
from twinscore.errors import InputEmpty, SettingsInvalid, near
from twinscore.wiring import bundle_store, load_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from twinscore.audit.window import Window
    from twinscore.bundle.files import Bundle
    from twinscore.settings import Settings

__all__ = ["ShadowReport", "shadow_report"]

_LATE_S = 3600.0
"""How much later than the answer a shadow's record may stand."""


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """A comparison that was made, and where it is."""

    folder: Path
    report: dict[str, Any]

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / "comparison.html"


def shadow_report(
    settings: Settings,
    model: str,
    version: str,
    output: Path,
    *,
    window: Window,
    replay: bool = False,
    against: str | None = None,
    segments: Sequence[str] = (),
) -> ShadowReport:
    """Compare a candidate with the live version on the requests of a window, and write the report.

    Args:
        version: the candidate's number, or `@ALIAS`.
        output: folder of the report; an older report in it is replaced, other files stay.
        window: of the answers' arrival.
        replay: score the window with the candidate now, on Ray Data, instead of reading what its shadow recorded.
        against: number of the live version; None takes the one that answered most rows.
        segments: columns to divide the rows by, beside the groups of the model card.

    Raises:
        ModelNotFound: there is no such version, or no audit log of the model.
        SettingsInvalid: a segment is no column of the contract.
        InputEmpty: no row of the window can be compared; the message says why.
        FileUnreadable, PredictFailed: the log cannot be replayed.
    """
    found, candidate = load_version(settings, f"{model}{version}" if version.startswith("@") else f"{model}/{version}")
    log = open_log(settings.lake, model)
    names = [column.name for column in candidate.contract.columns]
    for name in segments:
        if name not in names:
            message = f"The contract of {found.ref} has no column {name!r} to divide by. {near(name, names)}"
            raise SettingsInvalid(message, column=name)
    columns = tuple(dict.fromkeys([*segments, *candidate.card.groups]))
    (output / "pairs").mkdir(parents=True, exist_ok=True)
    _clear(output / "pairs")
    if replay:
        pairs, left_out = _replayed(settings, log, candidate, output / "pairs", window, columns)
    else:
        pairs, left_out = _logged(settings, log, candidate, window, columns)
    digest = _digest_of(pairs, against)
    if digest is None:
        why = "; ".join(f"{what}: {count}" for what, count in left_out.items()) or "the window has no answered row"
        message = f"There is nothing to compare {found.ref} with ({why})."
        raise InputEmpty(message, model=model, version=found.version, left_out=left_out)
    others = pairs.filter(pc.field("live_digest") != digest).num_rows
    if others:
        left_out["answered by another version than the one compared with"] = others
    pairs = pairs.filter(pc.field("live_digest") == digest)
    _clear(output / "pairs")
    pq.write_table(pairs, output / "pairs" / "pairs.parquet", compression="zstd")
    absent = [name for name in columns if f"feature_{name}" not in pairs.column_names]
    left_out |= {f"segment {name}": "the log does not have the column" for name in absent}
    live = _bundle(settings, digest)
    live_version = pairs["live_version"][0].as_py()
    facts = {
        "model": model,
        "source": "replay" if replay else "shadow",
        "since": None if window.since is None else window.since.isoformat(),
        "until": None if window.until is None else window.until.isoformat(),
        "left_out": {what: str(count) for what, count in left_out.items() if count},
    }
    report = compare(
        pairs,
        _side(live_version, digest, live),
        _side(found.version, candidate.digest, candidate),
        score_profile=None if live is None else live.profile.get("score"),
        positive=candidate.card.positive,
        segments=[name for name in segments if name not in absent],
        groups=[name for name in candidate.card.groups if name not in absent],
        facts=facts,
    )
    content = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    write_whole(output / "comparison.json", content.encode() + b"\n")
    write_whole(output / "comparison.html", comparison_page(report).encode())
    return ShadowReport(output, report)


def _logged(
    settings: Settings, log: Path, candidate: Bundle, window: Window, columns: Sequence[str]
) -> tuple[pa.Table, dict[str, Any]]:
    """Pair the live version's records with those of the shadow."""
    bundles = bundle_store(settings)
    contract_of = contracts_in(bundles.path, bundles.digests)
    lives, shadows, damaged = [], [], []
    for piece in pieces_of(log):
        tables = read_piece(
            log, piece, contract_of, window=window.later(_LATE_S), roles=["live", "shadow"],
            on_damage=lambda found: damaged.append(found.message),
        )  # fmt: skip
        for rows in tables:
            mine = pc.field("role") == "shadow"
            shadow = rows.filter(mine & (pc.field("bundle_digest") == candidate.digest))
            first, end = window.bounds
            arrived = (pc.field("received_at") >= first) & (pc.field("received_at") < end)
            live = rows.filter(~mine & arrived & pc.field("score").is_valid())
            if shadow.num_rows:
                shadows.append(shadow_rows(shadow))
            for digest in dict.fromkeys(live["bundle_digest"].to_pylist()):
                part = live.filter(pc.field("bundle_digest") == digest)
                lives.append(answered_rows(part, contract_of(digest).key, columns))
    left_out: dict[str, Any] = {"damaged segments": len(damaged)}
    if not shadows or not lives:
        left_out["rows that the shadow recorded"] = "none"
        return pa.table({"live_digest": pa.array([], pa.string())}), left_out
    live, shadow = (pa.concat_tables(some, promote_options="default") for some in (lives, shadows))
    pairs = join_shadow(live, shadow)
    left_out["answered, and not recorded by the shadow (not sampled, dropped or failed)"] = (
        live.num_rows - pairs.num_rows
    )
    left_out["refused by the candidate's contract"] = pairs["candidate_score"].null_count
    return pairs.filter(pc.field("candidate_score").is_valid()), left_out


def _replayed(
    settings: Settings, log: Path, candidate: Bundle, output: Path, window: Window, columns: tuple[str, ...]
) -> tuple[pa.Table, dict[str, Any]]:
    """Score the window with the candidate."""
    from twinscore.batch.replay_shadow import ReplayJob, replay_pieces

    store = str(bundle_store(settings).path(candidate.digest).parent)
    job = ReplayJob(str(log), store, candidate.digest, str(output), window, columns)
    done = replay_pieces(settings, pieces_of(log), job)
    left_out: dict[str, Any] = {
        "refused by the candidate's contract": done["counts"]["refused"],
        "answered from a batch run": done["counts"]["cached"],
        "damaged segments": len(done["damaged"]),
        **done["unable"],
    }
    tables = [pq.read_table(path) for path in sorted(output.glob("pairs-*.parquet"))]
    if not tables:
        return pa.table({"live_digest": pa.array([], pa.string())}), left_out
    return pa.concat_tables(tables, promote_options="default"), left_out


def _digest_of(pairs: pa.Table, against: str | None) -> str | None:
    """Return the digest of the live version that is compared with, or None without one."""
    if against is None or not pairs.num_rows:
        return main_version(pairs)
    chosen = pairs.filter(pc.field("live_version") == against)
    if not chosen.num_rows:
        known = sorted(set(pairs["live_version"].to_pylist()))
        message = f"Version {against} answered no row of the window; {', '.join(known)} did."
        raise SettingsInvalid(message, against=against)
    return main_version(chosen)


def _bundle(settings: Settings, digest: str) -> Bundle | None:
    from twinscore.bundle.files import read_bundle

    store = bundle_store(settings)
    return read_bundle(store.path(digest)) if store.has(digest) else None


def _clear(folder: Path) -> None:
    """Remove the pairs of an earlier report, or those of pieces."""
    for path in folder.glob("pairs*.parquet"):
        path.unlink()


def _side(version: str, digest: str, bundle: Bundle | None) -> Side:
    decides = bundle is not None and len(bundle.card.classes) == 2
    return Side(version, digest, bundle.card.threshold if bundle is not None and decides else None)
