"""A made-up consumer-loan book with the troubles of a real one; knows nothing of models or Ray.

Twenty input columns: numbers, categories, missing values, an application time and a protected
group. The outcome is delayed: a loan shows `default` only when its first year is over. Everything
comes from one seed, so the same call gives the same table on every machine.

Three dials: `drift` moves the applicants and how they repay, `bias` makes the recorded outcome
unfair to one group at equal risk, `faults` breaks a share of the rows in the ways feeds break.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["GROUP", "KEY", "LABEL", "TIME", "LoanBook", "loan_book", "write_loan_files"]

KEY = "loan_id"
LABEL = "default"
TIME = "applied_at"
GROUP = "sex"

EMPLOYMENT = ("salaried", "self_employed", "public", "retired", "student", "unemployed")
HOUSING = ("owner", "mortgage", "tenant", "with_family")
PURPOSE = ("car", "renovation", "debt_consolidation", "medical", "education", "travel", "other")
REGION = ("north", "south", "east", "west", "capital", "islands")
CHANNEL = ("branch", "web", "mobile", "broker")
SEX = ("female", "male")

FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
OUTCOME_DELAY = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class LoanBook:
    """What to make.

    Args:
        rows: number of loans.
        seed: of every random number.
        first_id: number of the first loan, so that several tables share one key space.
        start, days: applications are spread evenly over `days` days from `start`.
        drift: 0 is the book the model was trained on; 1 is a recession.
        bias: log-odds added to the recorded default of one group at equal risk.
        faults: share of rows with one broken value each.
    """

    rows: int
    seed: int = 0
    first_id: int = 0
    start: datetime = FIRST_DAY
    days: int = 365
    drift: float = 0.0
    bias: float = 0.0
    faults: float = 0.0


def loan_book(book: LoanBook, *, as_of: datetime | None = None) -> pa.Table:
    """Make a loan book.

    Args:
        book: size, seed and dials.
        as_of: outcomes not known at this time are null; None shows all of them.

    Returns:
        Table of `book.rows` rows: key, 20 inputs, `outcome_at` and `default` (int64, 1 = defaulted).
    """
    rng = np.random.default_rng(book.seed)
    columns = _applicants(book, rng)
    risk = _log_odds(columns, book) + rng.normal(0.0, 0.35, book.rows)
    recorded = risk + book.bias * (columns[GROUP] == 0)
    defaulted = rng.random(book.rows) < 1.0 / (1.0 + np.exp(-recorded))
    outcome_at = columns[TIME] + np.timedelta64(OUTCOME_DELAY)
    known = np.ones(book.rows, bool) if as_of is None else outcome_at <= np.datetime64(as_of.replace(tzinfo=None))
    table = _as_table(columns, book, rng)
    table = table.append_column("outcome_at", pa.array(outcome_at, pa.timestamp("us", tz="UTC")))
    table = table.append_column(LABEL, pa.array(defaulted.astype(np.int64), mask=~known))
    return _break_rows(table, book, rng) if book.faults else table


def write_loan_files(folder: Path, book: LoanBook, *, files: int) -> list[Path]:
    """Write a book as `files` Parquet files of about equal size, without its outcomes.

    Returns:
        The paths, in order; each file is made from its own seed, so memory stays that of one file.
    """
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, book.rows, files + 1).astype(int)
    paths = []
    for index, (low, high) in enumerate(pairwise(edges)):
        part = LoanBook(
            rows=int(high - low),
            seed=book.seed * 1_000_003 + index,
            first_id=book.first_id + int(low),
            start=book.start,
            days=book.days,
            drift=book.drift,
            bias=book.bias,
            faults=book.faults,
        )
        path = folder / f"loans-{index:04d}.parquet"
        pq.write_table(loan_book(part).drop_columns(["outcome_at", LABEL]), path, row_group_size=131_072)
        paths.append(path)
    return paths


def _applicants(book: LoanBook, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw the inputs as numpy columns; categories as codes, NaN as missing."""
    n, drift = book.rows, book.drift
    sex = rng.integers(0, 2, n)
    age = np.clip(rng.gamma(9.0, 4.8, n), 18, 90).astype(np.int64)
    employment = _codes(rng, n, np.array([0.56, 0.12, 0.14, 0.09, 0.05, 0.04 + 0.08 * drift]))
    income = np.exp(rng.normal(10.35 - 0.10 * drift, 0.45, n)) * np.array([1.0, 1.1, 0.95, 0.7, 0.35, 0.3])[employment]
    amount = np.round(np.clip(income * rng.lognormal(-1.1, 0.6, n), 500, 100_000), -2)
    term = rng.choice(np.array([12, 24, 36, 48, 60, 72, 84]), n, p=[0.1, 0.15, 0.25, 0.2, 0.18, 0.08, 0.04])
    score = np.clip(rng.normal(660 - 25 * drift, 75, n), 300, 850)
    delinquencies = rng.poisson(np.clip((720 - score) / 220, 0.02, None))
    seconds = rng.random(n) * book.days * 86_400
    applied = np.datetime64(book.start.replace(tzinfo=None), "us") + (np.sort(seconds) * 1e6).astype("timedelta64[us]")
    years = np.clip(rng.gamma(1.6, 4.0, n), 0, np.maximum(age - 17, 0))
    return {
        TIME: applied,
        GROUP: sex,
        "age": age,
        "employment": employment,
        "employment_years": _holes(rng, np.round(years, 1), 0.08),
        "income": _holes(rng, np.round(income, 2), 0.04),
        "debt": np.round(income * rng.gamma(1.2, 0.22 + 0.08 * drift, n), 2),
        "amount": amount,
        "term_months": term.astype(np.int64),
        "interest_rate": np.round(np.clip(rng.normal(6.5 + 2.0 * drift, 1.2, n) + (700 - score) / 60, 1.5, 29.9), 2),
        "credit_score": _holes(rng, np.round(score), 0.06),
        "open_accounts": rng.poisson(4.2, n).astype(np.int64),
        "delinquencies": delinquencies.astype(np.int64),
        "inquiries": rng.poisson(0.9 + 0.6 * drift, n).astype(np.int64),
        "utilisation": _holes(rng, np.round(np.clip(rng.beta(1.6, 2.4, n) + 0.1 * drift, 0, 1.2), 4), 0.05),
        "housing": _codes(rng, n, np.array([0.22, 0.3, 0.36, 0.12])),
        "purpose": _codes(rng, n, np.array([0.24, 0.2, 0.22 + 0.2 * drift, 0.08, 0.08, 0.06, 0.12])),
        "region": _codes(rng, n, np.array([0.18, 0.2, 0.17, 0.17, 0.22, 0.06])),
        "channel": _codes(rng, n, np.array([0.25, 0.35, 0.28, 0.12])),
        "guarantor": rng.random(n) < 0.11,
    }


def _log_odds(columns: dict[str, np.ndarray], book: LoanBook) -> np.ndarray:
    """Return the true log-odds of default, shape (rows,): non-linear, with interactions."""
    income = np.where(np.isnan(columns["income"]), 24_000.0, columns["income"])
    score = np.where(np.isnan(columns["credit_score"]), 620.0, columns["credit_score"])
    years = np.where(np.isnan(columns["employment_years"]), 2.0, columns["employment_years"])
    burden = (columns["debt"] + columns["amount"]) / income
    used = np.nan_to_num(columns["utilisation"], nan=0.5)
    odds: np.ndarray = (
        -3.0
        + 1.1 * np.tanh(burden - 0.8)
        - 0.011 * (score - 660)
        + 0.38 * np.minimum(columns["delinquencies"], 4)
        + 0.9 * np.maximum(used - 0.6, 0) * (columns["inquiries"] >= 2)
        + 0.09 * (columns["interest_rate"] - 7)
        + np.array([0.0, 0.25, -0.3, 0.1, 0.35, 0.9])[columns["employment"]]
        + np.array([0.0, -0.1, 0.35, 0.55, -0.2, 0.15, 0.1])[columns["purpose"]]
        + np.array([-0.25, -0.1, 0.2, 0.05])[columns["housing"]]
        + np.array([0.0, 0.05, 0.0, -0.1])[columns["channel"]]
        - 0.25 * np.log1p(years)
        - 0.6 * columns["guarantor"]
        + 0.004 * (columns["term_months"] - 36)
        + 0.25 * (columns["age"] < 25)
        + 0.5 * book.drift * (columns["employment"] == 1)
    )
    return odds


def _as_table(columns: dict[str, np.ndarray], book: LoanBook, rng: np.random.Generator) -> pa.Table:
    """Turn numpy columns into Arrow: codes into text, NaN into null."""
    words = {
        "employment": EMPLOYMENT,
        "housing": HOUSING,
        "purpose": PURPOSE,
        "region": REGION,
        "channel": CHANNEL,
        GROUP: SEX,
    }
    numbers = pc.utf8_lpad(pc.cast(pa.array(np.arange(book.rows) + book.first_id), pa.string()), 9, "0")
    arrays: dict[str, pa.Array] = {KEY: pc.binary_join_element_wise("L", numbers, "")}
    for name, values in columns.items():
        if name in words:
            hole = rng.random(book.rows) < (0.03 if name == "employment" else 0.0)
            arrays[name] = pa.array(words[name]).take(pa.array(values.astype(np.int32), mask=hole))
        elif name == TIME:
            arrays[name] = pa.array(values, pa.timestamp("us", tz="UTC"))
        else:
            arrays[name] = pa.array(values, from_pandas=True)
    return pa.table(arrays)


def _break_rows(table: pa.Table, book: LoanBook, rng: np.random.Generator) -> pa.Table:
    """Put one broken value into a share of the rows: null, out of range, unknown category, infinity."""
    broken = rng.random(table.num_rows) < book.faults
    kind = rng.integers(0, 4, table.num_rows)
    wrong: list[tuple[str, object]] = [("amount", None), ("age", -1), ("purpose", "yacht"), ("debt", float("inf"))]
    for number, (name, value) in enumerate(wrong):
        index = table.schema.get_field_index(name)
        mask = pa.array(broken & (kind == number))
        replaced = pc.if_else(mask, pa.scalar(value, table.schema.field(name).type), table.column(name))
        table = table.set_column(index, name, replaced)
    return table


def _codes(rng: np.random.Generator, n: int, weights: np.ndarray) -> np.ndarray:
    return rng.choice(len(weights), n, p=weights / weights.sum())


def _holes(rng: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    return np.where(rng.random(len(values)) < share, np.nan, values)
