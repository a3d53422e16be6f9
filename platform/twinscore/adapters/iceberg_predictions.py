"""Runs in an Apache Iceberg table, one snapshot per run; knows nothing of how a catalog is found.

A run is first written as Parquet files below the table's location, where no snapshot names them. Then one commit names
them and drops the superseded runs' files. Which runs are there stands in the summaries of the snapshots:

    twinscore.run-id        the run that the snapshot added
    twinscore.rows          its rows
    twinscore.supersedes    runs whose place it took, with commas between

pyiceberg repeats a commit that lost a race on top of whatever won it, which would add a run twice when both were
publishers of the same run. So we let it try once, and look at the table again before each attempt of our own.
"""

from __future__ import annotations

import fcntl
import random
import re
import time
import uuid
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.adapters.columns import plain_type, refuse_other_columns
from twinscore.errors import SchemaMismatch, SettingsInvalid, StoreConflict, StoreUnavailable
from twinscore.ports.prediction_sink import RUN_COLUMN, Published, is_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyiceberg.catalog import Catalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table, Transaction

    from twinscore.ports.prediction_sink import PublishedRun

__all__ = ["NAMESPACE", "ROWS", "RUN_ID", "SUPERSEDES", "IcebergPredictions"]

RUN_ID = "twinscore.run-id"
ROWS = "twinscore.rows"
SUPERSEDES = "twinscore.supersedes"
NAMESPACE = "twinscore"
"""Where a table goes that is named without one."""

_FILE_ROWS = 4_000_000
_ATTEMPTS = 10
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0

_TYPES = {
    pa.bool_(): "boolean",
    pa.int16(): "int",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
    pa.timestamp("us", tz="UTC"): "timestamptz",
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the snapshots say: who took each run's place (None: visible), and the rows of the visible ones."""

    heirs: dict[str, str | None]
    rows: dict[str, int]


class IcebergPredictions:
    """A prediction sink on an Iceberg catalog.

    Args:
        properties: of the catalog, as pyiceberg takes them (`type`, `uri`, `warehouse`); what its own settings say of a
            catalog named `twinscore`, such as a token, is added.
        shown: the catalog's address, without a password.
        table: `scores` or `namespace.scores`; None takes the dataset's name.

    Raises:
        SettingsInvalid: pyiceberg is not installed.
    """

    def __init__(self, properties: Mapping[str, str], shown: str, table: str | None = None) -> None:
        try:
            import pyiceberg.catalog.sql  # noqa: F401
        except ModuleNotFoundError as error:
            message = f"Publishing to Iceberg needs packages ({error}): pip install 'twinscore[iceberg]'."
            raise SettingsInvalid(message, extra="iceberg") from None
        self._properties = dict(properties)
        self._shown = shown
        self._table = table

    def publish(self, run: PublishedRun) -> Published:
        """Make all rows of `run` visible in one commit, in the place of the runs that it supersedes."""
        identifier = _identifier(run.dataset if self._table is None else self._table)
        where = f"{self._shown}, table {identifier}"
        schema = pa.schema([pa.field(field.name, _known(field)) for field in run.schema])
        with self._open(where) as catalog:
            with self._taking_turns():
                table = _load_or_create(catalog, identifier, schema)
            declared = {field.name: _type_name(field.type) for field in schema}
            refuse_other_columns(declared, {f.name: str(f.field_type) for f in table.schema().fields}, where)
            if _is_there(run, table, where):
                return Published(run.run_id, run.rows, 0, True, where)
            files = _Files(table, schema)
            try:
                files.write(run)
                replaced = _commit(catalog, identifier, run, files.names, where)
            except BaseException:
                files.remove()
                raise
            if replaced is None:
                files.remove()
                return Published(run.run_id, run.rows, 0, True, where)
        return Published(run.run_id, run.rows, replaced, False, where)

    @contextmanager
    def _open(self, where: str) -> Iterator[Catalog]:
        """Connect to the catalog, and turn what pyiceberg raises into our errors until it is closed."""
        from pyiceberg.catalog import load_catalog
        from pyiceberg.exceptions import NoSuchPropertyException, RESTError, ValidationError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._taking_turns():
                catalog = load_catalog(NAMESPACE, **self._properties)
            with closing(catalog):
                yield catalog
        except (SQLAlchemyError, RESTError, NoSuchPropertyException, ValidationError, OSError) as error:
            cause = (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(". ")
            message = (
                f"Nothing was published to {where}: {cause}. "
                "Does the catalog answer, is its warehouse writable, and is there room?"
            )
            raise StoreUnavailable(message, where=where) from error

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        """Keep publishers apart that would make the same catalog, in a file, or the same table at once."""
        database = Path(self._properties["uri"].removeprefix("sqlite:///"))
        if not self._properties["uri"].startswith("sqlite:///"):
            yield
            return
        with database.with_name(f".{database.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _Files:
    """The run's Parquet files, on their way into a table."""

    def __init__(self, table: Table, schema: pa.Schema) -> None:
        self._table = table
        self._schema = schema
        self.names: list[str] = []

    def write(self, run: PublishedRun) -> None:
        """Write all rows, a few million per file."""
        batches = run.stream()
        batch = next(batches, None)
        while batch is not None:
            name = f"{run.run_id}-{uuid.uuid4()}-{len(self.names):05d}.parquet"
            location = self._table.location_provider().new_data_location(name)
            self.names.append(location)
            rows = 0
            with (
                self._table.io.new_output(location).create() as out,
                # No Arrow schema and no field ids: Iceberg takes the columns by their names.
                pq.ParquetWriter(out, self._schema, compression="zstd", store_schema=False) as writer,
            ):
                while batch is not None and rows < _FILE_ROWS:
                    writer.write_batch(batch if batch.schema.equals(self._schema) else batch.cast(self._schema))
                    rows += batch.num_rows
                    batch = next(batches, None)

    def remove(self) -> None:
        """Delete the files again: no snapshot names them."""
        for name in self.names:
            with suppress(OSError):
                self._table.io.delete(name)


def _commit(catalog: Catalog, identifier: str, run: PublishedRun, files: list[str], where: str) -> int | None:
    """Name the files in the table, and return how many rows they replace; None when another publisher was first."""
    from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, ValidationException

    for attempt in range(_ATTEMPTS):
        table = catalog.load_table(identifier)
        if _is_there(run, table, where):
            return None
        seen = _seen(table)
        try:
            transaction = _single_attempt(table).transaction()
            _supersede(transaction, table, run)
            transaction.add_files(files, snapshot_properties=_properties(run), check_duplicate_files=False)
            transaction.commit_transaction()
            return sum(seen.rows.get(old, 0) for old in run.supersedes if seen.heirs.get(old, old) is None)
        except (CommitFailedException, ValidationException):
            wait = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S)
            time.sleep(random.uniform(wait / 2, wait))
        except CommitStateUnknownException:
            # The answer was lost, the commit may stand: then its files must stay.
            if run.run_id not in _seen(catalog.load_table(identifier)).heirs:
                raise
            return sum(seen.rows.get(old, 0) for old in run.supersedes if seen.heirs.get(old, old) is None)
    message = f"Others wrote to {where} each of the {_ATTEMPTS} times that run {run.run_id} was committed. Try again."
    raise StoreConflict(message, where=where, run_id=run.run_id)


def _supersede(transaction: Transaction, table: Table, run: PublishedRun) -> None:
    """Drop the rows of superseded runs; whole files, unless somebody else put several runs into one."""
    gone = _rows_of(*run.supersedes)
    if run.supersedes and any(True for _ in table.scan(row_filter=gone).plan_files()):
        transaction.delete(gone, snapshot_properties={"twinscore.superseded-by": run.run_id})


def _rows_of(*run_ids: str) -> BooleanExpression:
    from pyiceberg.expressions import In

    return In(RUN_COLUMN, run_ids)  # type: ignore[call-arg, arg-type]  # pydantic's plugin would know its arguments


def _properties(run: PublishedRun) -> dict[str, str]:
    facts = {RUN_ID: run.run_id, ROWS: str(run.rows), "twinscore.model": run.model, "twinscore.version": run.version}
    return {**facts, SUPERSEDES: ",".join(run.supersedes)} if run.supersedes else facts


def _is_there(run: PublishedRun, table: Table, where: str) -> bool:
    """Ask the snapshots, and the rows themselves where snapshots may have been expired."""
    seen = _seen(table)
    if run.run_id in seen.heirs:
        return is_there(run, seen.heirs, where)
    # The bounds in the manifests rule out nearly every file, so this opens none on the usual path.
    scan = table.scan(row_filter=_rows_of(run.run_id), selected_fields=(RUN_COLUMN,), limit=1)
    return any(True for _ in scan.plan_files()) and scan.to_arrow().num_rows > 0


def _seen(table: Table) -> _Seen:
    """Read the summaries of the current snapshot and its ancestors, oldest first."""
    from pyiceberg.table.snapshots import ancestors_of

    heirs: dict[str, str | None] = {}
    rows: dict[str, int] = {}
    for snapshot in reversed(list(ancestors_of(table.current_snapshot(), table.metadata))):
        said = snapshot.summary.additional_properties if snapshot.summary else {}
        run_id = said.get(RUN_ID)
        if run_id is None:
            continue
        heirs[run_id] = None
        rows[run_id] = int(said.get(ROWS, 0))
        heirs |= {old: run_id for old in said.get(SUPERSEDES, "").split(",") if old}
    return _Seen(heirs, rows)


def _single_attempt(table: Table) -> Table:
    """Return the table with pyiceberg's own repetition of commits off; nothing of it is stored."""
    properties = {**table.metadata.properties, "commit.retry.num-retries": "0"}
    table.metadata = table.metadata.model_copy(update={"properties": properties})
    return table


def _identifier(table: str) -> str:
    # A name becomes a folder of the warehouse.
    if not re.fullmatch(r"(?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+", table):
        message = f"{table!r} is no name of a table: write 'scores' or 'space.scores', with letters, digits, '_', '-'."
        raise SettingsInvalid(message, table=table)
    return table if "." in table else f"{NAMESPACE}.{table}"


def _load_or_create(catalog: Catalog, identifier: str, schema: pa.Schema) -> Table:
    from pyiceberg.exceptions import NoSuchTableError

    with suppress(NoSuchTableError):
        return catalog.load_table(identifier)
    catalog.create_namespace_if_not_exists(identifier.rpartition(".")[0])
    # Run ids are looked up by their bounds, which must not be cut.
    properties = {f"write.metadata.metrics.column.{RUN_COLUMN}": "full"}
    return catalog.create_table_if_not_exists(identifier, schema, properties=properties)


def _known(field: pa.Field) -> pa.DataType:
    kind = plain_type(field.type)
    if (kind.value_type if pa.types.is_list(kind) else kind) not in _TYPES:
        message = (
            f"Iceberg gets no column {field.name!r} of type {field.type}. "
            "Known: bool, integers up to int64, float32, float64, string, binary, date, timestamp and lists of these."
        )
        raise SchemaMismatch(message, column=field.name, type=str(field.type))
    return pa.int32() if kind == pa.int16() else kind


def _type_name(kind: Any) -> str:
    return f"list<{_TYPES[kind.value_type]}>" if pa.types.is_list(kind) else _TYPES[kind]
