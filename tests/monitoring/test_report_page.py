"""The report of a watched model: says what is wrong, holds up to any size and any text, needs nothing from outside."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.monitoring.report_data import report_of
from twinscore.monitoring.report_page import report_page
from twinscore.monitoring.report_series import main_scopes, one_series
from twinscore.testing.figures import LIMITS, START, Watched, watched_story

VOID = {"meta", "link"}
NASTY = "<script>alert('\"&')</script>"


@pytest.fixture(scope="module")
def story() -> Watched:
    """A fortnight in which something happens."""
    return watched_story()


def report(story: Watched, **changed: Any) -> dict[str, Any]:
    """Return the report of a story."""
    said: dict[str, Any] = {"now": story.now, "distributions": story.distributions, "incidents": story.incidents,
                            "limits": LIMITS, **changed}  # fmt: skip
    return report_of("loans", said.pop("figures", story.figures), **said)


class Elements(HTMLParser):
    """The elements of a page; refuses an end of what is not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that ends later."""
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without an inside."""
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        """Refuse an end of what is not open."""
        assert tag == self.open.pop()


def words(page: str) -> str:
    """Return what is read on a page."""
    return unescape(re.sub(r"<[^>]+>", " ", page.partition("</style>")[2]))


def test_headline_says_what_is_wrong_since_when_and_what_is_done(story: Watched) -> None:
    """The worst incident leads; every action of an open one is named once, none of a closed one."""
    found = report(story)["headline"]

    assert found["state"] == "bad"
    assert found["badge"] == "2 incidents are open"
    for said in ("fpr-gap (sex)", "feature-drift (income)", "oldest since 6 May 2026 12:00 UTC", "a ticket is open"):
        assert said in found["says"]
    assert "replicas" not in found["says"]


def test_headline_of_a_quiet_model(story: Watched) -> None:
    """Without incidents it says that all is well, or that features drifted; with old figures that nobody watches."""
    early = [one for one in story.figures if one.end <= START + timedelta(days=3)]

    assert report(story, incidents=[])["headline"]["state"] == "warn"
    assert "income and region drifted" in report(story, incidents=[])["headline"]["says"]
    calm = report(story, figures=early, incidents=[], now=START + timedelta(days=3))["headline"]
    assert (calm["state"], calm["badge"]) == ("good", "all well")
    old = report(story, figures=early, incidents=[])["headline"]
    assert (old["state"], old["badge"]) == ("warn", "figures are old")
    assert report(story, figures=[], incidents=[])["headline"]["state"] == "unknown"


def test_page_has_every_topic(story: Watched) -> None:
    """Each heading that a person looks for is there, with the figures of the newest window."""
    page = report_page(report(story))
    headings = re.findall(r"<h2>([^<]*)</h2>", page)

    for name in ("Incidents", "Drift, online", "Drift, batch", "income, online", "region, online", "Latency, online",
                 "Scores and decisions, online", "Errors and refusals, online", "Performance, online",
                 "Uncertainty, online", "Fairness by sex, online", "What moves the scores, online",
                 "One score, two paths, online", "Batch runs and staleness, batch",
                 "Other versions and parts of the traffic", "Where it comes from"):  # fmt: skip
        assert name in headings
    assert Elements(page).open == []
    assert '<a href="https://tickets.example.org/browse/RISK-412" rel="noreferrer">RISK-412</a>' in page
    assert "0 of 10,800 rows that both paths scored differ" in words(page)
    assert "No figure: other (outcomes are not known yet)" in words(page)


def test_page_needs_nothing_from_outside(story: Watched) -> None:
    """No script and no resource; the only addresses are those of tickets."""
    page = report_page(report(story))

    assert re.findall(r"<script|@import|url\(|\bon\w+=", page) == []
    assert set(re.findall(r'(?:href|src)="([^"]*)"', page)) == {"data:,", "https://tickets.example.org/browse/RISK-412"}


def test_performance_says_how_long_outcomes_took(story: Watched) -> None:
    """In words, beside the share that is known, as of the newest window whose outcomes are due."""
    page = report_page(report(story))
    card = page[page.index("<h2>Performance, online</h2>") :].partition("</section>")[0]

    assert re.search(r"Half of the outcomes were known within \d+ h \d+ min of the score", card)
    assert re.search(r"nine in ten within 3\.\d days", card)


def test_classes_stand_worst_first(story: Watched) -> None:
    """Recall and precision of each class with their intervals, in one table."""
    page = report_page(report(story))
    card = page[page.index("<h3>By class</h3>") :].partition("</table>")[0]

    assert card.index("refuse") < card.index("grant")
    assert re.search(r"5\d\.\d % \(5\d\.\d to \d\d\.\d\)", card)


def test_segments_stand_with_what_drifted(story: Watched) -> None:
    """One row each, most drift first; without segments there is no such card."""
    page = report_page(report(story))
    card = page[page.index("<h2>Drift by segment</h2>") :].partition("</section>")[0]
    whole = replace(story, figures=[one for one in story.figures if not one.segment])

    assert "segments drifted" in card
    assert card.index("grade=D") >= 0
    assert "Drift by segment" not in report_page(report(whole))


def test_what_has_no_figure_is_a_gap(story: Watched) -> None:
    """In the half day without figures the line of the latency is broken, and ends again in the newest window."""
    page = report_page(report(story))
    card = page[page.index("<h2>Latency, online</h2>") :].partition("</section>")[0]
    path = re.search(r'class="line run" d="([^"]*)"', card)

    assert path is not None
    assert path.group(1).count("M") == 2


def test_series_are_as_long_as_their_windows(story: Watched) -> None:
    """A figure stands in the place of its window, and the JSON holds what the figures say."""
    found = json.loads(json.dumps(report(story)))
    online = main_scopes(found)[0]
    series = one_series(online, "psi", "income")
    assert series is not None
    wanted = [one.value for one in story.figures
              if (one.metric, one.subject, one.path, one.segment) == ("psi", "income", "online", "")]  # fmt: skip

    assert len(online["windows"]) == 54
    assert series["values"] == wanted
    assert {len(one["values"]) for one in online["series"]} == {54}


def test_two_versions_in_one_window_show_who_answered_more(story: Watched) -> None:
    """A window in which the version changed shows the one with more rows; the change is marked."""
    newest = [one for one in story.figures if one.path == "online" and one.role == "live" and not one.segment][-60:]
    moved = [replace(one, version="4", rows=one.rows + 1, value=9.0) for one in newest if one.start == newest[-1].start]
    found = report(story, figures=[*story.figures, *moved])
    online = main_scopes(found)[0]
    series = one_series(online, "latency_ms_p99")

    assert series is not None
    assert (online["versions"], series["values"][-1]) == (["3", "4"], 9.0)
    assert "version 3 &rarr; 4" in report_page(found)


@pytest.mark.parametrize("windows", [0, 1, 2])
def test_few_windows_are_drawn_as_well(windows: int, story: Watched) -> None:
    """Nothing, one window and two windows make a page; one window is drawn as points."""
    some = [one for one in story.figures if one.end <= START + windows * timedelta(hours=6)]
    page = report_page(report(story, figures=some, incidents=[], distributions=[]))

    assert Elements(page).open == []
    assert ("No figures yet" in page) == (windows == 0)
    assert ('class="spot run"' in page) == (windows > 0)
    assert ('class="line run"' in page) == (windows > 1)


def test_many_features_show_the_worst(story: Watched) -> None:
    """Of 200 features with long names the worst are shown, and how many more there are; the page stays below 1 MB."""
    wide = watched_story(days=6, features=200)
    named = [replace(one, subject=one.subject * 30) if one.subject.startswith("feature_") else one
             for one in wide.figures]  # fmt: skip
    page = report_page(report(wide, figures=named))

    assert "and 190 more features, all of them calmer" in page
    strips = page[page.index("<h2>Drift, online</h2>") :].partition("</section>")[0]
    assert strips.index(">income") < strips.index(">feature_")
    assert len(page.encode()) < 1_000_000


def test_only_the_newest_windows_are_kept(story: Watched) -> None:
    """What is left out is said."""
    found = report(story, most_windows=10)

    assert [len(one["windows"]) for one in main_scopes(found)] == [10, 10]
    assert "44 older ones left out" in report_page(found)


nasty = st.sampled_from([NASTY, "\" onload='x'", "a&amp;b", "\x00", "' title=", "=", "\u00e9\u202e", "", "x" * 400])
SHORT, WHOLE = watched_story(days=1), watched_story()
KNOWN = {
    "html", "head", "meta", "title", "link", "style", "body", "header", "main", "h1", "h2", "h3", "p", "span", "dl",
    "dt", "dd", "div", "section", "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "svg",
    "rect", "path", "desc", "figure", "figcaption", "b", "small", "article", "ul", "li", "a",
}  # fmt: skip


@given(name=nasty, other=nasty)
@settings(max_examples=12)
def test_nothing_from_data_becomes_markup(name: str, other: str) -> None:
    """Names of features, groups, versions, parts, rules, tickets and reasons are text, whatever is in them."""
    figures = [
        replace(one, model="loans" + name, subject=f"{one.subject}{name}" if one.subject else "", note=other,
                version=f"3{name}", segment=one.segment and f"{one.segment}{name}",
                value=1.0 if one.metric == "feature_drift" else one.value)
        for one in SHORT.figures
    ]  # fmt: skip
    spread = [
        replace(one, feature=one.feature + name if one.feature else "", names=tuple(it + other for it in one.names))
        for one in SHORT.distributions
    ]
    incidents = [
        replace(one, rule=name, subject=other, says=name, ticket=ticket, done=(name, other), metric="psi")
        for one in WHOLE.incidents
        for ticket in (f"javascript:{name}", f"https://a.example/{name}", name)
    ]
    found = report_page(
        report_of("loans" + name, figures, now=SHORT.now, distributions=spread, incidents=incidents, limits=LIMITS)
    )
    elements = Elements(found)

    assert elements.open == []
    assert elements.names <= KNOWN
    assert not {one for one in elements.attributes if one.startswith("on")}
    assert "javascript:" not in "".join(re.findall(r'href="([^"]*)"', found))
    assert len(found) < 1_000_000
