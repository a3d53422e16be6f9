"""Docs: every link leads somewhere, every command is one that exists."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("[!.]*/README.md"), *(ROOT / "docs").rglob("*.md")})
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a code host makes of a page's headings."""
    headings = re.findall(r"^#+ +(.+?) *$", without_blocks(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_blocks(text: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def commands(page: Path, program: str) -> list[list[str]]:
    """Return the words of each command line of `program` in a page's shell blocks and inline code."""
    text = page.read_text()
    lines: list[str] = []
    for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL):
        if language in {"", "sh", "bash", "console", "shell"}:
            lines += block.replace("\\\n", " ").splitlines()
    lines += re.findall(r"`([^`\n]+)`", without_blocks(text))
    cleaned = (re.sub(r"^(\$ |[A-Z_]+=\S+ )*", "", line.strip()) for line in lines)
    return [shlex.split(line, comments=True)[1:] for line in cleaned if line.split(" ")[0] == program]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link and picture exists, with the heading that it names."""
    broken: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_blocks_are_python(page: Path) -> None:
    """What a page shows as Python can be parsed."""
    for block in re.findall(r"^ *```python\n(.*?)^ *```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        ast.parse(textwrap.dedent(block))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_make_targets_exist(page: Path) -> None:
    """Each `make` command in the docs is a target."""
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {word for words in commands(page, "make") for word in words[:1] if word.islower()}

    assert named - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_twinscore_commands_exist(page: Path) -> None:
    """Each `twinscore` command in the docs is one, with the options it has."""
    import typer.main

    from twinscore.cli.main import app

    unknown: list[str] = []
    for words in commands(page, "twinscore"):
        command: Any = typer.main.get_command(app)
        waiting = iter(words)
        for word in waiting:
            if word.startswith("-"):
                known = {
                    option: parameter
                    for parameter in command.params
                    for option in (*parameter.opts, *parameter.secondary_opts)
                }
                name = word.split("=")[0]
                if name not in {*known, "--help"}:
                    unknown.append(" ".join(words))
                elif name == word and not getattr(known.get(name), "is_flag", True):
                    next(waiting, None)  # its value, which may look like a command
            elif hasattr(command, "commands") and word.isidentifier() and word.islower():
                if word not in command.commands:
                    unknown.append(" ".join(words))
                    break
                command = command.commands[word]

    assert unknown == []


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").rglob("*.svg")), ids=lambda path: path.name)
def test_pictures_say_what_they_show(picture: Path) -> None:
    """Each drawing is well-formed, and has a title and a description for those who cannot see it."""
    root = ET.fromstring(picture.read_text())
    space = "{http://www.w3.org/2000/svg}"

    assert [bool((root.findtext(f"{space}{tag}") or "").strip()) for tag in ("title", "desc")] == [True, True]


def test_help_lists_every_target() -> None:
    """No target of the Makefile is hidden from `make help`."""
    text = (ROOT / "Makefile").read_text()
    phony = {word for line in re.findall(r"^\.PHONY: (.+)$", text, flags=re.MULTILINE) for word in line.split()}

    assert phony == set(re.findall(r"^([a-z-]+):.*## ", text, flags=re.MULTILINE))


def test_every_page_is_reachable() -> None:
    """Each page of docs/ is linked from its index, directly or through other pages."""
    seen: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.is_file():
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)\s#]+)", without_blocks(page.read_text()))
        waiting += [(page.parent / target).resolve() for target in targets if not re.match(r"[a-z]+:", target)]

    assert [
        page.relative_to(ROOT).as_posix() for page in sorted((ROOT / "docs").rglob("*.md")) if page not in seen
    ] == []
