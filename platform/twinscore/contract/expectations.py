"""A contract to Great Expectations and back, and its own answer on a table, for authors and for proofs.

The only module besides `datadocs` that runs Great Expectations. It imports it inside functions: the
import takes seconds, and neither scoring path needs it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.contract.model import SEVERITIES, Contract, Expectation
from twinscore.errors import ContractInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from twinscore.contract.model import Column

__all__ = ["GxResult", "as_frame", "from_suite", "quiet_context", "to_suite", "validate_with_gx"]


@dataclass(frozen=True, slots=True)
class GxResult:
    """Great Expectations' own answer to one expectation.

    Args:
        unexpected: rows that it calls unexpected, counted from 0; None for expectations about the table.
        error: what it raised instead of answering, or None.
    """

    expectation: Expectation
    success: bool
    unexpected: tuple[int, ...] | None
    observed: Any
    error: str | None


def to_suite(contract: Contract) -> Any:
    """Return the contract's expectations as a `great_expectations.ExpectationSuite`.

    Raises:
        ContractInvalid: Great Expectations does not know an expectation, or refuses its arguments.
    """
    import great_expectations as gx
    from great_expectations.expectations.registry import get_expectation_impl

    suite = gx.ExpectationSuite(name=contract.name)
    for place, expectation in enumerate(contract.expectations):
        try:
            impl: Any = get_expectation_impl(expectation.type)
            built = impl(
                **dict(expectation.kwargs),
                severity=expectation.severity,
                # The place finds the answer to this expectation among others that are written alike.
                meta={**dict(expectation.meta), "twinscore_place": place},
            )
        except Exception as exc:
            message = f"{expectation.id}: Great Expectations refuses it: {exc}"
            raise ContractInvalid(message, expectation=expectation.id) from exc
        suite.expectations.append(built)
    return suite


def from_suite(suite: Any, *, columns: Sequence[Column], key: Sequence[str], version: int = 1) -> Contract:
    """Return a contract of a `great_expectations.ExpectationSuite` over the given columns."""
    expectations = []
    for built in suite.expectations:
        configuration = built.configuration
        kwargs = {name: value for name, value in dict(configuration.kwargs).items() if value is not None}
        meta = {name: value for name, value in (configuration.meta or {}).items() if name != "twinscore_place"}
        severity = str(getattr(built.severity, "value", built.severity))
        kept = next(known for known in SEVERITIES if known == severity)
        expectations.append(Expectation(configuration.type, kwargs, kept, meta))
    return Contract(str(suite.name), version, tuple(columns), tuple(key), tuple(expectations))


def validate_with_gx(contract: Contract, table: pa.Table) -> list[GxResult]:
    """Return what Great Expectations itself says of a conformed table, one result per expectation, in order."""
    import great_expectations as gx

    with quiet_context() as context:
        source = context.data_sources.add_pandas("table")
        definition = source.add_dataframe_asset("asset").add_batch_definition_whole_dataframe("whole")
        batch = definition.get_batch(batch_parameters={"dataframe": as_frame(table)})
        suite = to_suite(contract)
        assert isinstance(suite, gx.ExpectationSuite)
        found = batch.validate(suite, result_format={"result_format": "COMPLETE"})
    results: dict[int, GxResult] = {}
    for answer in found.results:
        place = answer.expectation_config.meta["twinscore_place"]
        unexpected = answer.result.get("unexpected_index_list")
        results[place] = GxResult(
            contract.expectations[place],
            bool(answer.success),
            None if unexpected is None else tuple(int(row) for row in unexpected),
            answer.result.get("observed_value"),
            _raised(answer.exception_info),
        )
    return [results[place] for place in range(len(contract.expectations))]


def as_frame(table: pa.Table) -> Any:
    """Return the pandas frame that Great Expectations is given: (n_rows, columns), rows counted from 0.

    It is what `pandas.read_parquet` makes: a whole number column with nulls becomes float64.
    """
    return table.replace_schema_metadata(None).to_pandas()


@contextmanager
def quiet_context() -> Iterator[Any]:
    """Yield a Great Expectations context that leaves no files, draws no bars and reports to nobody.

    Warnings are off inside: pandas warns of infinities and of overflow, which is for Great
    Expectations to judge, and where warnings are errors it would answer with an error instead.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield context
    finally:
        # Every context makes a temporary folder for a site of its own, and leaves it behind.
        for site in (context.variables.data_docs_sites or {}).values():
            made = Path(str(site["store_backend"].get("base_directory", "")))
            if made.is_absolute() and made.parent == Path(tempfile.gettempdir()):
                shutil.rmtree(made, ignore_errors=True)


def _raised(info: dict[str, Any] | None) -> str | None:
    """Return the first message among the forms in which Great Expectations reports what it caught."""
    if not info or info.get("raised_exception") is False:
        return None
    if "exception_message" in info:
        return str(info["exception_message"])
    for caught in info.values():
        if isinstance(caught, dict) and caught.get("raised_exception"):
            return str(caught.get("exception_message"))
    return None
