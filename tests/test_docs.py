"""The README's tree and commands against what is there."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from edge.config import Settings, read_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = (ROOT / "README.md", ROOT / "deploy" / "README.md")
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]["scripts"]
DESCRIBED_FOLDERS = ("trainer", "export", "edge", "deploy", "benchmarks")


def read_tree(readme: str) -> list[tuple[str, str]]:
    """(path, comment) of each line of the block under `## Tree`; two spaces a level."""
    block = readme.split("## Tree", 1)[1].split("```")[1]
    entries = []
    parents: list[str] = []
    for line in block.strip("\n").splitlines():
        name, _, comment = line.strip().partition(" ")
        level = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:level], name]
        entries.append(("".join(parents), comment.strip()))
    return entries


def _tracked_files() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "ls-files", "-z", *DESCRIBED_FOLDERS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if name]


def test_the_tree_is_read_with_its_levels() -> None:
    readme = "## Tree\n\n```\na/    the a\n  b/\n    c.py  see\nd.py  dee\n```\n"
    expected = [("a/", "the a"), ("a/b/", ""), ("a/b/c.py", "see"), ("d.py", "dee")]
    assert read_tree(readme) == expected


def test_every_path_of_the_tree_exists_and_has_a_comment() -> None:
    entries = read_tree(README)
    assert len(entries) > 50
    assert [path for path, _ in entries if not (ROOT / path).exists()] == []
    assert [path for path, comment in entries if not comment and not path.endswith("/")] == []


def test_every_source_file_is_in_the_tree() -> None:
    described = {path for path, _ in read_tree(README)}
    missing = [
        name
        for name in _tracked_files()
        if name.endswith((".py", ".sql", ".html"))
        and not name.endswith("__init__.py")
        and name not in described
    ]
    assert missing == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_guide_leads_to_a_file(guide: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", guide.read_text(encoding="utf-8"))
    assert [link for link in links if not (guide.parent / link).exists()] == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_command_is_in_the_readme_and_answers_help_and_version(script: str) -> None:
    assert f"`{script} " in README
    assert "usage" in help_of(script).lower()
    done = _run_script(script, "--version")
    assert re.fullmatch(r"\S* ?\d+\.\d+\.\d+\S*\n", done.stdout), done.stdout


def _commands_in_guides() -> list[str]:
    """Every line of a shell block that calls one of our commands."""
    lines = []
    for guide in GUIDES:
        for block in re.findall(r"```sh\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL):
            lines += [line.removeprefix("sudo -u edge-watch ") for line in block.splitlines()]
    return sorted({line for line in lines if line.split(" ")[0] in SCRIPTS})


def test_the_guides_show_commands() -> None:
    assert {line.split(" ")[0] for line in _commands_in_guides()} >= set(SCRIPTS) - {"fancl-eval"}


@pytest.mark.parametrize("line", _commands_in_guides())
def test_a_command_line_in_a_guide_uses_verbs_and_options_that_exist(line: str) -> None:
    script, *words = shlex.split(line)
    verbs = []
    while words and re.fullmatch("[a-z]+", words[0]):
        verbs.append(words.pop(0))
    text = help_of(script, *verbs)
    options = [word for word in words if word.startswith("--")]
    assert [option for option in options if not re.search(rf"{option}\b", text)] == []


def test_the_example_settings_are_the_built_in_ones_and_name_every_key() -> None:
    example = ROOT / "deploy" / "edge.example.toml"
    assert read_settings(example) == Settings()
    named = re.findall(r"^#? ?([a-z_]+) = ", example.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(field.name for field in dataclasses.fields(Settings))


@cache
def help_of(script: str, *verbs: str) -> str:
    return _run_script(script, *verbs, "--help").stdout


def _run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script's own entry point, run in a fresh interpreter."""
    module, function = SCRIPTS[script].split(":")
    if not module.startswith("edge") and importlib.util.find_spec("torch") is None:
        pytest.skip("the training packages are not installed")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.argv[0] = {script!r}\nfrom {module} import {function}; {function}()",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done
