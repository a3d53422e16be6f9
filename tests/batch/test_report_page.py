"""The page of a report: escaped, small, with the figures of the JSON; and what a run leaves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from twinscore.batch.report_data import report_of
from twinscore.batch.report_files import REPORT_JSON, REPORT_PAGE, read_report
from twinscore.batch.report_page import report_page
from twinscore.errors import FileUnreadable, RunRefused
from twinscore.page.words import bin_name, count, percent

from .conftest import Run, change, write_rows
from .reports import CARD, NASTY, PROFILE, full_manifest, summary

VOID = {"meta", "link", "wbr"}


class Elements(HTMLParser):
    """Names of the elements of a page, and those that were left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that ends later."""
        self.names.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without an inside."""
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Refuse an end of what is not open."""
        assert tag == self.open.pop()


def spoiled(value: Any) -> Any:
    """Return a manifest's value with every text and every name in it turned into markup."""
    if isinstance(value, str):
        return value + NASTY
    if isinstance(value, list):
        return [spoiled(one) for one in value]
    return value


def nasty_manifest() -> dict[str, Any]:
    plain = full_manifest(refused="because")
    changed = {name: spoiled(value) for name, value in plain.items()}
    for name in ("rules", "decisions", "review_reasons", "seconds", "worker_seconds", "versions"):
        changed[name] = {f"{NASTY}{inner}": value for inner, value in plain[name].items()}
    changed["attributions"] = summary({NASTY: (1.0, 1.0)}, rows=1)
    changed["input"] = {**plain["input"], "path": [NASTY, NASTY], "snapshot": NASTY}
    changed["run_results"] = [
        {**one, "rule": NASTY, "expected": NASTY, "observed": NASTY} for one in plain["run_results"]
    ]
    return changed


def test_nothing_from_data_becomes_markup() -> None:
    """Names, rules, values and paths that hold a script are text on the page; its elements are those of a plain one."""
    page = report_page(report_of(nasty_manifest(), PROFILE, CARD, contract_path=NASTY))
    plain = report_page(report_of(full_manifest(refused="because"), PROFILE, CARD))
    names = Elements(page).names

    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 15
    assert set(names) <= {*Elements(plain).names, "pre"}
    assert Elements(page).open == []


def test_page_needs_nothing_from_outside() -> None:
    """No script, no address, no resource but the page itself."""
    page = report_page(report_of(full_manifest(), PROFILE, CARD, contract_path="c.yaml"))

    assert re.findall(r"https?:|//[a-z]|@import|url\(", page) == []
    assert set(re.findall(r'(?:href|src)="([^"]*)"', page)) == {
        "data:,", "_manifest.json", "_report.json", "_quarantine/",
    }  # fmt: skip


def test_page_stays_small() -> None:
    """200 features, rules, answers and decisions, all with long names, are below 100 kB."""
    long = [f"{NASTY * 40}_{at}" for at in range(200)]
    answer = {"column": "a", "expected": NASTY * 100, "observed": NASTY * 100, "success": False, "severity": "critical"}
    plain = [f"a_column_with_a_name_as_people_give_them_{at}" for at in range(200)]

    def size(names: list[str], **more: Any) -> int:
        manifest = full_manifest(
            rules=dict.fromkeys(names, 5),
            decisions=dict.fromkeys(names, 5),
            attributions=summary(dict.fromkeys(names, (1.0, 2.0)), rows=9),
            **more,
        )
        return len(report_page(report_of(manifest, PROFILE, CARD)).encode())

    assert (
        size(plain, run_results=[{**answer, "rule": name, "expected": name, "observed": name} for name in plain])
        < 60_000
    )
    assert size(long, run_results=[{**answer, "rule": name} for name in long]) < 100_000


def test_page_has_the_figures_of_the_json() -> None:
    """Each bin, decision, rule and feature that is listed stands on the page."""
    report = report_of(full_manifest(), PROFILE, CARD)
    assert figures(report) - set(cells(report_page(report))) == set()


def figures(report: dict[str, Any]) -> set[str]:
    """Return what must be read on a report's page."""
    wanted = {count(report["rows"]["scored"]), count(report["rows"]["quarantined"])}
    wanted |= {bin_name(one) for one in report["scores"]["bins"]}
    wanted |= {percent(one["share"]) for one in (*report["scores"]["bins"], *report["decisions"])}
    wanted |= {one["rule"] for one in (*report["quarantine"]["rules"], *report["contract"]["results"])}
    return wanted | {one["feature"] for one in (report["importance"] or {"features": []})["features"]}


def cells(page: str) -> list[str]:
    """Return the texts between the tags of a page."""
    return [unescape(one).strip() for one in re.split(r"<[^>]+>", page.replace("<wbr>", ""))]


def test_run_leaves_its_report(run: Run, data: Path) -> None:
    """JSON and page lie in the run's folder and say what the manifest says."""
    path = data / "day-0.parquet"
    write_rows(path, change(pq.read_table(path), "age", dict.fromkeys(range(30), -1)))
    done = run()
    report = read_report(done.folder, done.manifest)
    page = (done.folder / REPORT_PAGE).read_text()

    assert (report["rows"]["in"], report["rows"]["quarantined"]) == (3_000, 30)
    assert report["scores"]["reference_rows"] == 2_000
    assert report["scores"]["shift"]["size"] in {"none", "small"}
    assert figures(report) - set(cells(page)) == set()


def test_refused_run_leaves_its_report(run: Run, data: Path) -> None:
    """Beside the quarantine that is kept, the report says why, and that no prediction is there."""
    path = data / "day-0.parquet"
    write_rows(path, change(pq.read_table(path), "age", dict.fromkeys(range(400), -1)))
    with pytest.raises(RunRefused) as caught:
        run()
    report = json.loads((Path(caught.value.fields["kept"]) / REPORT_JSON).read_text())

    assert (report["run"]["verdict"], report["run"]["refused"]) == ("REFUSED", caught.value.message)
    assert report["lineage"]["output"]["files"] == 0
    assert "400 of 3,000 rows were refused" in (Path(caught.value.fields["kept"]) / REPORT_PAGE).read_text()


def test_run_without_report_tells_what_its_manifest_does(tmp_path: Path) -> None:
    """A run that is older than reports has counts, and no comparison; a damaged report is named."""
    assert read_report(tmp_path, full_manifest())["rows"]["scored"] == 1_000

    for content, said in (("{", "cannot be read"), ('{"format": 99}', "is of format 99")):
        (tmp_path / REPORT_JSON).write_text(content)
        with pytest.raises(FileUnreadable, match=said):
            read_report(tmp_path, full_manifest())


def test_browser_shows_the_page(tmp_path: Path) -> None:
    """A real browser loads the page without a word on its console, and shows the figures of the JSON."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine: the page is not opened in a browser")
    report = report_of(nasty_manifest(), PROFILE, CARD, contract_path="c.yaml")
    page = tmp_path / "_report.html"
    page.write_text(report_page(report), encoding="utf-8")
    ran = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--v=0", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip

    assert [line for line in ran.stderr.splitlines() if "CONSOLE" in line] == []
    assert figures(report) - set(cells(ran.stdout)) == set()
    assert Elements(ran.stdout).names == Elements(page.read_text()).names
