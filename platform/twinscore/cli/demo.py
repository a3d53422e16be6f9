"""The built-in demo as a command; shows what it does and ends with one summary."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["demo_command"]


def demo_command(
    rows: Annotated[int, typer.Option(min=1000, help="Loans to score in bulk.")] = 1_000_000,
    requests: Annotated[int, typer.Option(min=10, help="Live requests of one loan each.")] = 2000,
    parity_rows: Annotated[int, typer.Option(min=10, help="Loans to send through both paths.")] = 10_000,
) -> None:
    """Run the whole job on a built-in loan book: train, register, score in bulk, serve, compare."""
    import time

    from rich.console import Console
    from rich.table import Table

    from twinscore.demo.story import run_demo
    from twinscore.settings import load_settings

    console = Console()
    began = time.monotonic()
    settings = load_settings()

    def say(sentence: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {sentence}", highlight=False, soft_wrap=True)

    done = run_demo(settings, rows=rows, requests=requests, parity_rows=parity_rows, say=say)
    table = Table(title="One model version, two paths, one score", show_header=False, title_justify="left")
    report = done.check.report
    verdict = "[green]the same bits[/]" if done.check.equal else "[red]they differ[/]"
    for name, value in (
        ("Versions", f"{done.first.ref}, {done.second.ref} (@champion)"),
        ("Test AUC", f"{done.first.metrics['auc']:.4f}, {done.second.metrics['auc']:.4f}"),
        ("Rows scored in bulk", f"{done.run.rows_scored:,}"),
        ("Rows in quarantine", f"{done.run.rows_quarantined:,}"),
        ("Rows per second", f"{done.run.rows_per_s:,.0f} from first look to commit"),
        ("Live requests", f"{len(done.latencies_ms):,} of one loan each"),
        ("Latency", f"p50 {done.latency_ms(0.5):.1f} ms, p99 {done.latency_ms(0.99):.1f} ms"),
        ("Both paths", f"{done.check.n_rows:,} rows, {report.differing_bits} differing bits: {verdict}"),
        ("Predictions", str(done.run.folder)),
        ("MLflow UI", done.state.mlflow.url),
        ("Ray dashboard", f"{done.state.ray.dashboard} (token: {done.state.ray.token_path})"),
        ("API docs", f"{done.endpoint}/docs"),
        ("Time", f"{done.seconds:.0f} s"),
    ):
        table.add_row(name, value)
    console.print(table)
    console.print("The stack is still up; `make down` or `twinscore down` stops it.")
