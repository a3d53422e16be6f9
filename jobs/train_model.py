"""Train and register one version, as a Ray job or by hand; parses, builds, calls and exits.

ray job submit --working-dir jobs -- python train_model.py --spec specs/train_loans.yaml --set alias=challenger
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path

from twinscore.batch.progress import json_lines
from twinscore.batch.spec import load_document
from twinscore.errors import SettingsInvalid, TwinscoreError, near
from twinscore.settings import load_settings
from twinscore.training.train import train


def main() -> int:
    """Return 0 when the version is registered, 1 when it is not."""
    parser = argparse.ArgumentParser(description="Train, calibrate, bundle and register one version of a model.")
    parser.add_argument("--spec", type=Path, required=True, help="YAML file; a relative path of data lies in the lake")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="wins over the spec's value")
    given = parser.parse_args()
    json_lines()
    try:
        settings = load_settings()
        document = load_document(given.spec, given.set)
        known = {name: item for name, item in inspect.signature(train).parameters.items() if name in _KEYS}
        for key in document:
            if key not in known:
                message = f"The spec {given.spec} has an unknown key {key!r}. {near(str(key), known)}"
                raise SettingsInvalid(message, path=str(given.spec), key=str(key))
        missing = [name for name, item in known.items() if item.default is item.empty and name not in document]
        if missing:
            message = f"The spec {given.spec} lacks {', '.join(missing)}."
            raise SettingsInvalid(message, path=str(given.spec), missing=missing)
        document["data"] = settings.lake / Path(document["data"]).expanduser()
        made = train(settings, **document, on_step=lambda step: print(json.dumps({"event": step}), flush=True))
    except TwinscoreError as error:
        print(json.dumps({"event": "failed", "code": error.code, "message": error.message}), file=sys.stderr)
        return 1
    facts = {"model": made.model, "version": made.version, "digest": made.digest, "aliases": list(made.aliases)}
    print(json.dumps({"event": "registered", **facts, "metrics": dict(made.metrics), "notes": list(made.notes)}))
    return 0


_KEYS = {"model", "data", "label", "key", "task", "time", "groups", "segments", "params", "derived", "drop", "alias",
         "contract", "positive", "seed"}  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
