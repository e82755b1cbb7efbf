"""What the documentation shows runs: every page's Python and commands, and every option that a sentence names."""

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module

import pytest
import tiny_hub
from doc_pages import ROOT, blocks_of, inline_commands, pages

from dsas_diffusion import cli

#: Every block that is not run, by page and reason. Nothing else may be left out.
LEFT_OUT = {("docs/start.md", "needs the hub")}
PAGES = [page for page in pages() if any(block.runs for block in blocks_of(page))]


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """A Hugging Face home that holds the repositories which pages name."""
    home = tmp_path_factory.mktemp("hub")
    tiny_hub.fill(home)
    return home


@pytest.mark.full
@pytest.mark.parametrize("page", PAGES)
def test_pages_run(page, hub, tmp_path):
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")  # as in a clone, where readers are
    places = {"HF_HOME": str(hub), "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_CACHE": str(hub / "hub")}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "run_page.py", page],
        cwd=tmp_path,
        env={**os.environ, **places, "HF_HUB_OFFLINE": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_nothing_else_is_left_out():
    found = {(page, block.excuse) for page in pages() for block in blocks_of(page) if block.excuse}
    assert found == LEFT_OUT
    assert all(block.runs for page in pages() for block in blocks_of(page) if block.excuse)


@pytest.mark.parametrize("page", PAGES)
def test_python_is_python(page):
    for block in blocks_of(page):
        if block.language == "python":
            compile(block.text, f"{page}, line {block.line}", "exec")


@pytest.mark.parametrize("page", pages())
def test_every_command_and_option_exists(page):
    """In blocks and in sentences, on pages that tools write too."""
    commands = [words for block in blocks_of(page) for words in block.commands] + inline_commands(page)
    for words in commands:
        command = cli._match(words)
        assert command in cli.COMMANDS or "--help" in words or words == command.split(), f"dsas {' '.join(words)}"
        if command in cli.COMMANDS:
            module, _, name = cli.COMMANDS[command].partition(":")
            options = accepted(command, getattr(import_module(f"dsas_diffusion.{module}"), name))
            for word in words:
                if word.startswith("--"):
                    assert word.partition("=")[0].replace("-", "_") in options, f"dsas {' '.join(words)}"


def accepted(command, function):
    """The options of a command, with underscores."""
    strings = {option for action in cli._parser(command, function)._actions for option in action.option_strings}
    return {option.replace("-", "_") for option in strings}


@pytest.mark.parametrize("page", pages())
def test_links_and_pictures_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:")):
            assert (ROOT / page).parent.joinpath(target).exists(), target
