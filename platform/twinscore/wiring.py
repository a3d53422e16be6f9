"""From settings to ports: the only place that names concrete adapters.

The registry is, in this order: the one that `TWINSCORE_MLFLOW_URI` names, the server of the local stack when it is up
and answers, else the embedded SQLite file, read and written directly.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from twinscore.adapters.bundle_folder import BundleFolder
from twinscore.adapters.mlflow_aliases import MlflowAliases
from twinscore.adapters.mlflow_models import MlflowModels
from twinscore.adapters.prediction_sinks import open_sink
from twinscore.adapters.roster_folder import RosterFolder
from twinscore.adapters.window_folder import WindowFolder
from twinscore.errors import BundleInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.bundle.files import Bundle
    from twinscore.monitoring.receivers import NotifySpec, TicketsSpec
    from twinscore.ports.alias_store import AliasStore
    from twinscore.ports.bundle_store import BundleStore
    from twinscore.ports.listener_roster import ListenerRoster
    from twinscore.ports.model_store import ModelStore, ModelVersion
    from twinscore.ports.prediction_sink import PredictionSink
    from twinscore.ports.rollout_store import ControlStore
    from twinscore.ports.ticket_store import Messenger, TicketStore
    from twinscore.ports.window_store import WindowStore
    from twinscore.settings import Settings

__all__ = [
    "Step",
    "alias_store",
    "bundle_store",
    "bundles_in",
    "import_registry_client",
    "listener_roster",
    "load_version",
    "messenger",
    "model_store",
    "open_rollout_store",
    "prediction_sink",
    "serve_ingress",
    "subscribe_to_aliases",
    "ticket_store",
    "window_store",
]

Step = Literal["registry", "fetch", "bundle"]
"""What loading a version asks for, in this order: its name, its files, and whether they are a bundle."""


def model_store(settings: Settings) -> ModelStore:
    """Return the model registry; the embedded one is created on first use."""
    uri, artifact_root = _registry(settings)
    return MlflowModels(uri, artifact_root=artifact_root)


def alias_store(settings: Settings) -> AliasStore:
    """Return the aliases and version tags of the model registry; the embedded one is created on first use."""
    return MlflowAliases(_registry(settings)[0])


def import_registry_client(settings: Settings) -> None:
    """Import what the registry's client takes seconds to import, so that a first question does not; asks nothing."""
    from twinscore.adapters.mlflow_client import connect

    connect(_registry(settings)[0])


def subscribe_to_aliases(settings: Settings, name: str, url: str, secret: str) -> None:
    """Have the registry's server call `url` when an alias moves, signed with `secret`.

    Raises:
        SettingsInvalid: the server does not call such an address.
        StoreUnavailable: the registry does not answer.
    """
    from twinscore.adapters.mlflow_webhooks import subscribe

    subscribe(_registry(settings)[0], name, url, secret)


def bundle_store(settings: Settings) -> BundleStore:
    """Return the store of verified bundles."""
    return bundles_in(settings.lake)


def bundles_in(lake: Path) -> BundleStore:
    """Return the store of verified bundles of a lake."""
    return BundleFolder(lake.resolve() / "bundles")


def listener_roster(settings: Settings) -> ListenerRoster:
    """Return the roster in which replicas enter their addresses, and which the edge reads."""
    return RosterFolder(settings.home.resolve() / "run" / "listeners")


def load_version(
    settings: Settings,
    ref: str,
    *,
    models: ModelStore | None = None,
    bundles: BundleStore | None = None,
    begin: Callable[[Step], object] = lambda _: None,
) -> tuple[ModelVersion, Bundle]:
    """Return the version that `ref` names now, and its verified bundle.

    The registry's artifacts are read once per bundle: afterwards the bundle store has it, only the name is looked up.

    Args:
        settings: where both stores are.
        ref: a version's number or alias.
        models: another registry.
        bundles: another bundle store.
        begin: told what is done next, so that whoever waits knows what for.

    Raises:
        ModelNotFound: no such model, version or alias.
        ModelNotReady: the version carries no bundle.
        BundleInvalid: a file is missing or changed, or the artifacts are not what the version's digest tag says.
        StoreUnavailable: the registry or its artifacts do not answer.
    """
    from twinscore.bundle.files import read_bundle

    begin("registry")
    models = models or model_store(settings)
    bundles = bundles or bundle_store(settings)
    version = models.resolve(ref)
    digest = version.bundle_digest
    if digest is None or not bundles.has(digest):
        with tempfile.TemporaryDirectory(prefix="twinscore-fetch-") as scratch:
            begin("fetch")
            fetched = models.fetch(version, Path(scratch))
            begin("bundle")
            published = bundles.publish(fetched)
        if digest is not None and published != digest:
            message = (
                f"The artifacts of {version.ref} have digest {published[:12]}..., its tag says {digest[:12]}...: "
                "somebody changed one of them after registration. Train or adopt the version again."
            )
            raise BundleInvalid(message, ref=version.ref, expected=digest, found=published)
        digest = published
    begin("bundle")
    bundle = read_bundle(bundles.path(digest))
    if bundle.digest != digest:
        message = (
            f"The bundle kept as {digest[:12]}... has digest {bundle.digest[:12]}...: its files were changed. "
            f"Delete {bundles.path(digest)}; it is fetched again."
        )
        raise BundleInvalid(message, expected=digest, found=bundle.digest)
    return version, bundle


def prediction_sink(settings: Settings, uri: str, table: str | None = None) -> PredictionSink:
    """Return the sink at `uri`; nothing is asked of it yet.

    Args:
        uri: `postgresql://user@host/database`, `sqlite:////path/file.db`, `iceberg+sqlite:////path/catalog.db`,
            `iceberg+https://catalog` (REST), or `iceberg:` for the catalog in the lake; relative paths lie in the lake.
        table: in which rows go; None takes the dataset's name.

    Raises:
        SettingsInvalid: there is no such kind of sink, or its packages are not installed.
    """
    return open_sink(uri, table, settings.lake.resolve())


def open_rollout_store(settings: Settings) -> ControlStore:
    """Open the database of rollouts, ledger, leases, holds, commands and alerts; its tables are made on first use.

    Raises:
        SettingsInvalid: there is no such kind of store, its driver is missing, or a newer twinscore made its tables.
        StoreUnavailable: the database does not answer.
    """
    from twinscore.adapters.sql_alerts import SqlAlerts
    from twinscore.adapters.sql_cases import SqlCases
    from twinscore.adapters.sql_commands import SqlCommands
    from twinscore.adapters.sql_control import ControlDatabase
    from twinscore.adapters.sql_holds import SqlHolds
    from twinscore.adapters.sql_leases import SqlLeases
    from twinscore.adapters.sql_ledger import SqlLedger
    from twinscore.adapters.sql_orders import SqlOrders
    from twinscore.adapters.sql_rollouts import SqlRollouts
    from twinscore.adapters.sql_tickets import SqlTickets
    from twinscore.ports.rollout_store import ControlStore

    database = ControlDatabase(settings.control_store_uri, settings.home.resolve())
    return ControlStore(
        rollouts=SqlRollouts(database), ledger=SqlLedger(database), leases=SqlLeases(database),
        holds=SqlHolds(database), commands=SqlCommands(database), alerts=SqlAlerts(database),
        orders=SqlOrders(database), tickets=SqlTickets(database), cases=SqlCases(database), closing=database,
    )  # fmt: skip


def ticket_store(settings: Settings, spec: TicketsSpec, store: ControlStore) -> TicketStore:
    """Return a place where tickets are opened; nothing is asked of it yet.

    Raises:
        StoreUnavailable: a variable with a secret is not set.
    """
    from twinscore.adapters.alert_receivers import open_tickets

    return open_tickets(spec, settings.home.resolve(), store.tickets)


def messenger(spec: NotifySpec) -> Messenger:
    """Return who is told of an alert; nobody is yet. Raises as `ticket_store`."""
    from twinscore.adapters.alert_receivers import open_messenger

    return open_messenger(spec)


def window_store(lake: Path, model: str) -> WindowStore:
    """Return the counts and figures of a model's watched windows, which every node of the lake sees."""
    return WindowFolder(lake.resolve() / "windows" / model)


def serve_ingress(settings: Settings) -> tuple[str, int]:
    """Return host and port that Ray Serve's own ingress binds: behind the edge of the stack, else where users call."""
    address = None if settings.ray_address else _of_stack(settings, "serve", "ingress")
    if address is None:
        return settings.host, settings.serve_port
    host, _, port = address.rpartition(":")
    return host, int(port)


def _registry(settings: Settings) -> tuple[str, Path | None]:
    """Return the registry's address, and where its files lie when no server decides that."""
    uri = settings.mlflow_uri or _stack_registry(settings)
    if uri is not None:
        return uri, None
    from twinscore.adapters.mlflow_client import prepare_embedded

    home = settings.model_copy(update={"home": settings.home.resolve()})
    artifact_root = home.registry_folder / "artifacts"
    prepare_embedded(home.embedded_registry_uri, artifact_root)
    return home.embedded_registry_uri, artifact_root


def _of_stack(settings: Settings, part: str, name: str) -> str | None:
    """Return what the local stack's state file says, when there is one."""
    try:
        raw = json.loads((settings.home / "run" / "stack.json").read_text(encoding="utf-8"))
        return str(raw[part][name])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stack_registry(settings: Settings) -> str | None:
    """Return the URL of the local stack's MLflow server when it answers."""
    url = _of_stack(settings, "mlflow", "url")
    if url is None:
        return None
    import httpx

    try:
        answer = httpx.get(f"{url}/health", timeout=2.0)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return url if answer.status_code == httpx.codes.OK else None
