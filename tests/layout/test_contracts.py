"""Contracts and specs in the repository: all of them load, and what is released stays as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from twinscore.contract.compile import compile_contract
from twinscore.contract.document import dumps_contract, load_contract, loads_contract

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = sorted((ROOT / "contracts").glob("*/*.yaml"))
DOCUMENTS = sorted(
    path for folder in ("contracts", "jobs", "deployments", "registry") for path in (ROOT / folder).rglob("*.y*ml")
) + sorted(ROOT.glob("*.yaml"))


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_contract_compiles(path: Path) -> None:
    """Each contract compiles, and says the name and version of its place: contracts/<model>/v<version>.yaml."""
    contract = load_contract(path)
    compile_contract(contract)

    assert (contract.name, f"v{contract.version}") == (path.parent.name, path.stem)


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_contract_survives_being_written(path: Path) -> None:
    """Loading, writing and loading again gives the same contract."""
    contract = load_contract(path)

    assert loads_contract(dumps_contract(contract)).digest == contract.digest


def test_released_contracts_are_unchanged() -> None:
    """A released contract is immutable: contracts/RELEASED lists each with its SHA-256, in sha256sum's format."""
    lines = (ROOT / "contracts" / "RELEASED").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    actual = {
        path.relative_to(ROOT / "contracts").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in CONTRACTS
    }

    assert {name: digest for name, digest in listed.items() if actual.get(name) != digest} == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_document_is_yaml(path: Path) -> None:
    """Every YAML file that somebody deploys can be read."""
    assert list(yaml.safe_load_all(path.read_text())) != []
