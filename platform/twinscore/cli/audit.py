"""Commands that look into the audit log, prove it whole, compact it, remove old days, and score again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from twinscore.audit.reader import Entry
    from twinscore.audit.replay import Replayed
    from twinscore.errors import AuditDamaged

__all__ = ["audit_app"]

audit_app = typer.Typer(
    help="The durable record of every answered request: look, prove, compact, replay, expire.", no_args_is_help=True
)

_Model = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@audit_app.command("verify")
def verify_command(
    model: _Model,
    known: Annotated[
        Path | None, typer.Option(help="What an earlier `verify --json` printed: shows ends that were removed.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Hold every stream against its hash chain and signatures; name the first record that was touched."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from twinscore.audit.head import load_secret
    from twinscore.audit.operate import audit_key, load_known, open_log
    from twinscore.audit.verify import verify_model
    from twinscore.settings import load_settings

    settings = load_settings()
    key = load_secret(audit_key(settings.home))
    states = verify_model(open_log(settings.lake, model), key, known=load_known(known) if known else None)
    if json_:
        typer.echo(json.dumps([asdict(state) for state in states], indent=1))
    else:
        console = Console()
        for state in states:
            verdict = "[red]damaged[/]" if state.faults else "[green]whole[/]"
            console.print(
                f"{verdict} {state.stream}: {state.records:,} records in {state.segments:,} segments"
                + (f", {state.removed_rows:,} rows removed on purpose" if state.removed_rows else ""),
                highlight=False,
            )
            for fault in state.faults:
                console.print(f"  {fault}", markup=False, highlight=False, soft_wrap=True)
    if any(state.faults for state in states):
        raise typer.Exit(1)


@audit_app.command("compact")
def compact_command(model: _Model, json_: _Json = False) -> None:
    """Turn sealed segments into Parquet, one typed row per scored row; remove a segment when its rows are there."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from twinscore.audit.compaction import compact_model
    from twinscore.audit.head import load_secret
    from twinscore.audit.operate import audit_key, contracts_in, open_log
    from twinscore.settings import load_settings
    from twinscore.wiring import bundle_store

    settings = load_settings()
    bundles = bundle_store(settings)
    contract_of = contracts_in(bundles.path, bundles.digests)
    done = compact_model(open_log(settings.lake, model), load_secret(audit_key(settings.home)), contract_of)
    if json_:
        typer.echo(json.dumps(asdict(done), indent=1))
    else:
        console = Console()
        console.print(
            f"[green]Compacted[/] {done.segments:,} segments to {done.rows:,} rows ({done.collapsed:,} were there from "
            "the same request sent again)",
            highlight=False,
            soft_wrap=True,
        )
        for title, lines in (
            ("two different answers", done.conflicts), ("set aside", done.damaged), ("waiting", done.waiting)
        ):  # fmt: skip
            for line in lines:
                console.print(f"  {title}: {line}", markup=False, highlight=False, soft_wrap=True)
    if done.conflicts or done.damaged or done.waiting:
        raise typer.Exit(1)


@audit_app.command("expire")
def expire_command(
    model: _Model,
    spec: Annotated[
        Path | None, typer.Option(help="Deployment file with `audit.keep`. Default: deployments/MODEL.yaml.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    by: Annotated[str | None, typer.Option(help="Who removes it. Default: the user.", show_default=False)] = None,
    json_: _Json = False,
) -> None:
    """Remove compacted days older than the deployment keeps them; a signed tombstone says what went, when and why."""
    import getpass
    import json
    from dataclasses import asdict

    from rich.console import Console

    from twinscore.control.expiry import expire_log
    from twinscore.online.spec import load_serve_spec
    from twinscore.settings import load_settings

    settings = load_settings()
    served = load_serve_spec(spec or settings.deployments / f"{model}.yaml")
    done = expire_log(settings, model, served, by=by or getpass.getuser(), dry_run=dry_run)
    if json_:
        typer.echo(json.dumps({"dry_run": dry_run, **asdict(done)}, indent=1))
        return
    console = Console()
    verb = "Would remove" if dry_run else "Removed"
    rows, size = sum(day.rows for day in done.removed), sum(day.size_bytes for day in done.removed)
    console.print(
        f"[green]{verb}[/] {len(done.removed):,} days before {done.before}: {rows:,} rows, {size / 1e6:,.1f} MB",
        highlight=False,
    )
    for day in done.days:
        line = f"  {day.day}: {day.rows:,} rows in {day.files:,} files"
        console.print(line + "".join(f"; stays, {why}" for why in day.kept), markup=False, highlight=False,
                      soft_wrap=True)  # fmt: skip


@audit_app.command("tail")
def tail_command(
    model: _Model,
    limit: Annotated[int, typer.Option(min=1, help="Most requests to show.")] = 20,
    json_: _Json = False,
) -> None:
    """Show the latest requests that are not compacted yet."""
    import json

    import msgspec
    from rich.console import Console

    from twinscore.audit.find import last_entries
    from twinscore.audit.operate import open_log
    from twinscore.settings import load_settings

    errors = Console(stderr=True)
    entries = last_entries(open_log(load_settings().lake, model), limit, on_damage=_told(errors))
    if json_:
        for entry in entries:
            facts = {name: getattr(entry.record, name) for name in entry.record.__struct_fields__ if name != "table"}
            placed = {"stream": entry.stream, "segment": entry.segment, "sequence": entry.sequence, **facts}
            typer.echo(json.dumps(msgspec.to_builtins(placed)))
        return
    _print_entries(Console(), entries)


@audit_app.command("replay")
def replay_command(
    model: _Model,
    request_id: Annotated[str, typer.Argument(help="Id of the request, as its answer said.", show_default=False)],
    json_: _Json = False,
) -> None:
    """Score a past request again with the version that answered it, and compare every bit."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from twinscore.audit.operate import open_log, replay_request
    from twinscore.settings import load_settings
    from twinscore.wiring import bundle_store

    settings = load_settings()
    errors = Console(stderr=True)
    bundles = bundle_store(settings)
    answers = replay_request(
        open_log(settings.lake, model), request_id, bundles.path, bundles.digests, on_damage=_told(errors)
    )
    if json_:
        typer.echo(json.dumps([asdict(answer) for answer in answers], indent=1, default=str))
    else:
        for answer in answers:
            _print_replayed(Console(), answer)
    if any(answer.differences or answer.unable for answer in answers):
        raise typer.Exit(1)


def _told(console: Console) -> Any:
    def tell(damaged: AuditDamaged) -> None:
        console.print(damaged.message, markup=False, highlight=False, soft_wrap=True)

    return tell


def _print_entries(console: Console, entries: list[Entry]) -> None:
    from datetime import UTC, datetime

    from rich.markup import escape
    from rich.table import Table

    shown = Table()
    for name in ("received", "request", "role", "version", "status", "rows", "score", "decision"):
        shown.add_column(name, overflow="fold")
    for entry in entries:
        record = entry.record
        first = next((outputs for outputs in record.outputs if outputs), None)
        cells = (
            datetime.fromtimestamp(record.received_us / 1e6, UTC).isoformat(timespec="milliseconds"),
            record.request_id,
            record.role,
            record.version,
            f"{record.status} {record.code}".strip(),
            "table" if record.table else str(max(len(record.rows), len(record.outputs))),
            "" if first is None else str(first[0]),
            "" if first is None or first[1] is None else str(first[1]),
        )
        shown.add_row(*(escape(cell) for cell in cells))
    console.print(shown)


def _print_replayed(console: Console, answer: Replayed) -> None:
    if answer.unable:
        console.print(f"Not scored again: {answer.unable}.", markup=False, highlight=False, soft_wrap=True)
    elif not answer.differences:
        console.print(f"[green]Equal[/]: {answer.rows:,} rows, every output, bit for bit", highlight=False)
    for item in answer.differences:
        console.print(
            f"row {item.row}, {item.output}: recorded {item.recorded!r}, now {item.replayed!r}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
