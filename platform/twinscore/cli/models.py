"""Commands that make model versions: train one, or adopt one trained elsewhere; parses, calls and prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.table import Table

    from twinscore.settings import Settings

__all__ = ["adopt_command", "train_command"]

_GROUPS_SHOWN = 8
_COMPARED = ("auc", "accuracy", "set_coverage", "rmse", "r2", "interval_coverage")

_Key = Annotated[list[str], typer.Option(help="Column that identifies a row; repeat it for several.")]
_Time = Annotated[str | None, typer.Option(help="Column of the event time; the past then trains and the future tests.")]
_Group = Annotated[list[str] | None, typer.Option(help="Column to split metrics by, such as sex; repeat it.")]
_Segment = Annotated[
    list[str] | None, typer.Option(help="Column whose values are told apart in the reference profile; repeat it.")
]
_Contract = Annotated[Path | None, typer.Option(help="Contract to use as it is. Default: infer one from the data.")]
_Alias = Annotated[str | None, typer.Option(help="Alias for the new version, such as champion.")]


def train_command(
    model: Annotated[str, typer.Option(help="Name of the model; it is registered and served under it.")],
    data: Annotated[Path, typer.Option(help="Parquet file, or a folder of them.")],
    label: Annotated[str, typer.Option(help="Column to predict; rows where it is null are left out.")],
    key: _Key,
    task: Annotated[str | None, typer.Option(help="classification or regression. Default: follows the label.")] = None,
    time: _Time = None,
    group: _Group = None,
    segment: _Segment = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column that is no feature; repeat it.")] = None,
    derive: Annotated[
        list[str] | None, typer.Option(help="Derived feature, such as 'ratio=debt / income'; repeat it.")
    ] = None,
    params: Annotated[Path | None, typer.Option(help="YAML or JSON file of XGBoost parameters.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="With two classes, the one to score. Default: the last one.")
    ] = None,
    contract: _Contract = None,
    alias: _Alias = None,
    seed: Annotated[int, typer.Option(help="Of the split and of the training.")] = 0,
) -> None:
    """Train XGBoost on your Parquet, infer a contract, write a bundle and register a version."""
    from rich.console import Console

    from twinscore.settings import load_settings
    from twinscore.training.train import train

    console, settings = Console(), load_settings()
    with console.status("Starting") as status:
        made = train(
            settings,
            model=model,
            data=data,
            label=label,
            key=key,
            task=task,
            time=time,
            groups=group or (),
            segments=segment or (),
            params=params,
            derived=_derived(derive or []),
            drop=drop or (),
            alias=alias,
            contract=contract,
            positive=positive,
            seed=seed,
            on_step=status.update,
        )
    _made(console, settings, made.model, made.version, made.digest, made.aliases)
    console.print(f"  contract  {made.contract}", soft_wrap=True)
    console.print("  rows      " + ", ".join(f"{part} {n:,}" for part, n in made.rows.items() if n), soft_wrap=True)
    for note in made.notes:
        console.print(f"  note      {note}", soft_wrap=True, markup=False)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in made.metrics.items() if name != "n")
    console.print(f"  test      {shown}", soft_wrap=True)
    if made.group_metrics:
        console.print(_by_group(made.group_metrics))
    console.print(f"Next: twinscore score --model {made.ref} --input FILE --output DIR", markup=False, soft_wrap=True)


def adopt_command(
    ref: Annotated[str, typer.Argument(help="A version logged with mlflow.xgboost.log_model: models:/NAME/VERSION.")],
    data: Annotated[Path, typer.Option(help="Parquet of reference rows that the model was not trained on.")],
    key: _Key,
    label: Annotated[
        str | None, typer.Option(help="Column of the outcome; without it there are no metrics, intervals or sets.")
    ] = None,
    time: _Time = None,
    group: _Group = None,
    segment: _Segment = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="Column that is no feature (for models without feature names).")
    ] = None,
    contract: _Contract = None,
    alias: _Alias = None,
) -> None:
    """Give a plain MLflow XGBoost version the bundle it lacks, as a new version with the same bits."""
    from rich.console import Console

    from twinscore.settings import load_settings
    from twinscore.training.adopt import adopt

    console, settings = Console(), load_settings()
    with console.status("Starting") as status:
        made = adopt(
            settings,
            ref,
            data,
            key=key,
            label=label,
            time=time,
            groups=group or (),
            segments=segment or (),
            drop=drop or (),
            alias=alias,
            contract=contract,
            on_step=status.update,
        )
    _made(console, settings, made.model, made.version, str(made.bundle_digest), (alias,) if alias else ())
    console.print(f"  made of   {ref}, whose scores it gives bit by bit", markup=False, soft_wrap=True)
    if label is None:
        console.print("  note      Without --label there are no metrics, intervals or prediction sets.")
    console.print(f"Next: twinscore score --model {made.ref} --input FILE --output DIR", markup=False, soft_wrap=True)


def _derived(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, expression = text.partition("=")
        if not equals or not name.strip() or not expression.strip() or name.strip() in found:
            message = f"--derive takes NAME=EXPRESSION, each name once, such as 'ratio=debt / income'; got {text!r}."
            raise typer.BadParameter(message)
        found[name.strip()] = expression.strip()
    return found


def _made(
    console: Console, settings: Settings, model: str, version: str, digest: str, aliases: tuple[str, ...]
) -> None:
    named = "".join(f" @{alias}" for alias in aliases)
    console.print(f"[green]Registered[/] [bold]{model}/{version}[/]{named}")
    console.print(f"  bundle    {digest}")
    console.print(f"  registry  {settings.mlflow_uri or settings.registry_folder}", soft_wrap=True)


def _by_group(groups: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Return the metrics that people compare first; the model card has them all."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Test rows by group", title_justify="left")
    present = {name for values in groups.values() for metrics in values.values() for name in metrics}
    names = [name for name in _COMPARED if name in present]
    for name in ("group", "n", *names):
        table.add_column(name, justify="left" if name == "group" else "right")
    for column, values in groups.items():
        for value, metrics in sorted(values.items(), key=lambda one: -one[1]["n"])[:_GROUPS_SHOWN]:
            cells = [f"{metrics[name]:.4g}" if name in metrics else "" for name in names]
            table.add_row(escape(f"{column} = {value}"), f"{int(metrics['n']):,}", *cells)
    return table
