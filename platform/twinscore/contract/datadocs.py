"""Great Expectations' Data Docs of one table: static HTML that people open in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.contract.expectations import as_frame, quiet_context, to_suite
from twinscore.errors import StoreUnavailable

if TYPE_CHECKING:
    import pyarrow as pa

    from twinscore.contract.model import Contract

__all__ = ["build_data_docs"]

_SITE = "twinscore"


def build_data_docs(contract: Contract, table: pa.Table, folder: str | Path) -> Path:
    """Validate a conformed table and write the site; return the path of its `index.html`.

    Raises:
        StoreUnavailable: the folder cannot be written.
    """
    import great_expectations as gx
    from great_expectations.checkpoint.actions import UpdateDataDocsAction

    home = Path(folder).resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        message = f"the folder {home} for Data Docs cannot be made: {exc}"
        raise StoreUnavailable(message, path=str(home)) from exc
    with quiet_context() as context:
        for existing in list(context.get_site_names()):
            context.delete_data_docs_site(existing)
        context.add_data_docs_site(
            site_name=_SITE,
            site_config={
                "class_name": "SiteBuilder",
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(home)},
            },
        )
        source = context.data_sources.add_pandas("table")
        batches = source.add_dataframe_asset(contract.name).add_batch_definition_whole_dataframe("whole")
        suite = context.suites.add(to_suite(contract))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=contract.name, data=batches, suite=suite)
        )
        action = UpdateDataDocsAction(name="docs", site_names=[_SITE])
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(name=contract.name, validation_definitions=[definition], actions=[action])
        )
        checkpoint.run(batch_parameters={"dataframe": as_frame(table)})
        context.build_data_docs(site_names=[_SITE])
    return home / "index.html"
