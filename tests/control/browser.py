"""A person at MLflow's own pages: Debian's Chromium, moved by clicks and keys; asks none of MLflow's interfaces itself.

with chromium() as browser:
    pages = RegistryPages(browser, "http://127.0.0.1:5000")
    pages.move_alias("loans", "champion", to="2")
    pages.tags("loans", "2")["twinscore.rollout"]
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

__all__ = ["RegistryPages", "chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_PATIENCE_MS = 60_000
"""For one thing to appear; a page of MLflow's loads some megabytes of script."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser that is installed here without a window, or skip the test where there is none."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed (on Debian: the package chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium has no sandbox for root; it opens nothing here but a server of the test's own.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield started
        finally:
            started.close()


class RegistryPages:
    """The pages of one MLflow server's registry, in one tab.

    Args:
        browser: which shows them.
        url: of the server.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self._url = url
        self._page: Page = browser.new_page(viewport={"width": 1600, "height": 1000})
        self._page.set_default_timeout(_PATIENCE_MS)
        # What is new is praised once to each new visitor, in front of everything else.
        news = self._page.get_by_role("dialog").filter(has_text="new Model Registry UI")
        self._page.add_locator_handler(news, lambda shown: shown.get_by_role("button", name="Try it now").click())
        # MLflow's pages ask for news and fonts elsewhere, which a machine without a way out waits for.
        self._page.route(re.compile(f"^(?!{re.escape(url)})"), lambda route: route.abort())

    def move_alias(self, model: str, alias: str, *, to: str) -> None:
        """Give an alias to a version: open the version, edit its aliases, type the name, save."""
        self._open(model, to)
        self._page.get_by_title(re.compile("^(Add|Edit) aliases$")).click()
        dialog = self._dialog(to)
        box = dialog.get_by_role("combobox")
        box.click()
        box.press_sequentially(alias)
        box.press("Enter")
        self._save(dialog)
        self._aliases_shown().get_by_title(alias, exact=True).wait_for()

    def take_alias(self, model: str, alias: str, *, of: str) -> None:
        """Take an alias away from the version that has it: open the version, edit its aliases, cross it out, save."""
        self._open(model, of)
        self._page.get_by_title("Edit aliases").click()
        dialog = self._dialog(of)
        dialog.get_by_title(alias, exact=True).get_by_role("button").click()
        self._save(dialog)
        self._aliases_shown().get_by_title(alias, exact=True).wait_for(state="detached")

    def aliases(self, model: str, version: str) -> tuple[str, ...]:
        """Return the aliases that a version's page shows."""
        self._open(model, version)
        shown = self._aliases_shown().get_by_text(re.compile("^@")).all_inner_texts()
        return tuple(sorted(text.removeprefix("@").strip() for text in shown))

    def tags(self, model: str, version: str) -> dict[str, str]:
        """Return the tags that a version's page shows."""
        self._open(model, version)
        table = self._page.get_by_test_id("tags-section").get_by_test_id("editable-table")
        table.get_by_role("row").nth(1).wait_for()
        cells = [row.get_by_role("cell").all_inner_texts() for row in table.get_by_role("row").all()]
        return {row[0]: row[1] for row in cells if len(row) > 1}

    def picture(self, path: Path) -> None:
        """Keep what the tab shows."""
        self._page.screenshot(path=path, full_page=True)

    def _open(self, model: str, version: str) -> None:
        """Go from the list of models to the model, and from there to the version, as somebody does who looks for it."""
        # What is shown shall be what is there now, and another part behind the # alone loads nothing anew. (A reload
        # right after would: Chromium refuses it, "not attached to an active page", while the page before still goes.)
        self._page.goto("about:blank")
        self._page.goto(f"{self._url}/#/models", wait_until="commit")
        self._page.get_by_role("link", name=model, exact=True).first.click()
        self._page.get_by_role("link", name=f"Version {version}", exact=True).first.click()
        self._page.get_by_title(re.compile("^(Add|Edit) aliases$")).wait_for()

    def _dialog(self, version: str) -> Locator:
        return self._page.get_by_role("dialog").filter(has_text=f"Add/Edit alias for model version {version}")

    def _save(self, dialog: Locator) -> None:
        dialog.get_by_role("button", name="Save aliases").click()
        dialog.wait_for(state="hidden")

    def _aliases_shown(self) -> Locator:
        items = self._page.get_by_test_id("descriptions-item")
        label = self._page.get_by_test_id("descriptions-item-label").get_by_text("Aliases", exact=True)
        return items.filter(has=label).get_by_test_id("descriptions-item-content")
