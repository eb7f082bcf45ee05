"""What README, CONTRIBUTING and the guide say can be done."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "notebooks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def code_of(page: Path) -> str:
    """Fenced and indented blocks and inline code of a page."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    return "\n".join([*blocks, *lines, *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_make_target_of_a_page_exists(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|\n|: |; )make ([a-z]+)", code_of(page)))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_claw_command_and_option_of_a_page_exists(page):
    from claw_kernel.cli import COMMANDS

    for command, rest in re.findall(r"(?:^|\n)claw ([a-z]+)([^\n#]*)", code_of(page)):
        assert command in COMMANDS
        if options := re.findall(r"(?<!\S)--[a-z-]+", rest):
            asked = [sys.executable, "-m", "claw_kernel.cli", command, "--help"]
            shown = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
            assert [option for option in options if option not in shown] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_relative_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    files = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in files if not (page.parent / link).exists()] == []


def test_the_readme_is_short_and_shows_a_picture():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split("\n")) < 150
    assert re.search(r"!\[[^\]]+\]\([^)]+\.png\)", text)


def test_lock_files_name_no_address():
    """A lock file with addresses would tie every clone to the mirror of the machine it was written on."""
    text = (ROOT / "labextension" / "package-lock.json").read_text("utf-8")
    assert '"resolved": "http' not in text


def test_the_guide_lists_the_commands_there_are():
    from claw_magics.commands import commands_markdown

    text = (ROOT / "docs" / "guide.md").read_text("utf-8")
    shown = text.partition("commands_markdown() -->\n")[2].partition("<!-- end of commands")[0]
    assert shown.strip() == commands_markdown().strip()


def test_the_guides_contents_name_every_section():
    text = (ROOT / "docs" / "guide.md").read_text("utf-8")
    contents, _, body = text.partition("\n## ")
    sections = re.findall(r"(?m)^###? (.+)$", re.sub(r"(?ms)^```.*?^```", "", "## " + body))
    assert re.findall(r"\[([^\]]+)\]\(#[^)]+\)", contents) == sections


def test_the_guide_names_every_variable_of_the_environment():
    from claw_kernel.settings_fields import ENVIRONMENT

    text = (ROOT / "docs" / "guide.md").read_text("utf-8")
    assert [name for name in (*ENVIRONMENT, "CLAW_API_KEY", "CLAW_HOME") if f"`{name}`" not in text] == []


def test_every_place_that_the_design_names_is_there():
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    names = re.findall(r"`((?:claw_kernel|claw_magics|rust_core|labextension|tests|docs)/[\w./-]*)`", text)
    assert len(names) > 80
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_tables_of_the_design_have_no_hole():
    """An empty line would end the table there, and every row after it would be drawn as text."""
    lines = (ROOT / "docs" / "design.md").read_text("utf-8").split("\n")
    starts = [
        number for number, line in enumerate(lines) if line.startswith("|") and not lines[number - 1].startswith("|")
    ]
    assert [lines[number] for number in starts if not lines[number + 1].startswith("| ---")] == []
