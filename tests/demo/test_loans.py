"""The loan book is seeded, shaped like a real one, and its dials do what they say."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.demo.loans import FIRST_DAY, GROUP, KEY, LABEL, TIME, LoanBook, loan_book, write_loan_files

if TYPE_CHECKING:
    from pathlib import Path


def default_rate(book: LoanBook, sex: str) -> float:
    table = loan_book(book)
    return float(pc.mean(table.filter(pc.equal(table[GROUP], sex))[LABEL]).as_py())


def test_same_seed_gives_the_same_book() -> None:
    """Two calls with one seed give equal tables; another seed gives another."""
    assert loan_book(LoanBook(500, seed=7)).equals(loan_book(LoanBook(500, seed=7)))
    assert not loan_book(LoanBook(500, seed=7)).equals(loan_book(LoanBook(500, seed=8)))


def test_keys_are_unique_and_times_ordered() -> None:
    """Every loan has its own id, starting where asked, and applications are in order of time."""
    table = loan_book(LoanBook(1000, first_id=250))
    times = table[TIME].to_numpy()

    assert table[KEY][0].as_py() == "L000000250"
    assert pc.count_distinct(table[KEY]).as_py() == 1000
    assert bool(np.all(times[1:] >= times[:-1]))


def test_missing_values_are_where_a_real_book_has_them() -> None:
    """Some inputs have holes, the key, the amount and the group never."""
    table = loan_book(LoanBook(5000))

    assert {"income", "employment", "employment_years", "credit_score", "utilisation"} == {
        name for name in table.column_names if table[name].null_count
    }


def test_outcome_is_null_until_it_is_known() -> None:
    """A loan younger than a year at `as_of` has no outcome yet."""
    as_of = FIRST_DAY + timedelta(days=365 + 100)
    table = loan_book(LoanBook(2000), as_of=as_of)
    unknown = pc.is_null(table[LABEL])

    assert pc.greater(table["outcome_at"], as_of).equals(unknown)
    assert 0 < pc.sum(unknown).as_py() < 2000


def test_bias_moves_one_group_only() -> None:
    """The bias dial raises the recorded default rate of one group and leaves the other alone."""
    fair, unfair = LoanBook(40_000), LoanBook(40_000, bias=1.0)

    assert default_rate(unfair, "female") > default_rate(fair, "female") + 0.05
    assert default_rate(unfair, "male") == default_rate(fair, "male")


def test_drift_lowers_incomes_and_raises_defaults() -> None:
    """The drift dial moves inputs and outcomes together."""
    calm, recession = loan_book(LoanBook(20_000)), loan_book(LoanBook(20_000, drift=1.0))

    assert pc.mean(recession["income"]).as_py() < pc.mean(calm["income"]).as_py()
    assert pc.mean(recession[LABEL]).as_py() > pc.mean(calm[LABEL]).as_py()


def test_faults_break_about_the_share_asked_for() -> None:
    """Each broken row has one value the contract must refuse."""
    table = loan_book(LoanBook(20_000, faults=0.02))
    broken = (
        table["amount"].null_count
        + pc.sum(pc.equal(table["age"], -1)).as_py()
        + pc.sum(pc.equal(table["purpose"], "yacht")).as_py()
        + pc.sum(pc.is_inf(table["debt"])).as_py()
    )

    assert 300 < broken < 500


def test_files_hold_the_book_without_its_outcomes(tmp_path: Path) -> None:
    """Files split the book by row, share one key space and show no outcome."""
    paths = write_loan_files(tmp_path, LoanBook(1001, seed=3), files=4)
    table = pq.read_table(tmp_path)

    assert len(paths) == 4
    assert table.num_rows == 1001
    assert pc.count_distinct(table[KEY]).as_py() == 1001
    assert not {LABEL, "outcome_at"} & set(table.column_names)
