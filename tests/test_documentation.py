"""The documentation: every block of code can be used as it stands, every picture has words, every id has scores."""

import ast
import contextlib
import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import memenv
from memenv.__main__ import COMMANDS, main
from memenv.envs.variants import VARIANTS

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for path in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")))
    if "reference" not in path.parts  # made at a build
]
EXECUTED = {"docs/start.md": 1, "README.md": 1}  # so many blocks from the first; the README's next trains for minutes
# docs/compiler.md is executed by tests/test_compiler_page.py, notebooks when the site is built; what stands in
# docs/clients.md is parts of programs, which tests/test_clients_*.py run.
PROGRAMS = {"python", "ruff", "mypy", ".ci/run", "head", "export", ".", "sphinx-build", "taskset", ".venv-jax/bin/pip"}


def blocks(path: Path, *languages: str) -> list[str]:
    """The blocks of code of a page in one of the languages."""
    fenced = re.compile(r"^```(?:\{code-cell\} )?(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [text for language, text in fenced.findall(path.read_text(encoding="utf-8")) if language in languages]


def commands() -> list[tuple[str, str]]:
    """Page and command, without comments and without what an environment variable before it says."""
    found = []
    for name, line in ((page, line) for page in PAGES for text in blocks(page, "sh") for line in text.splitlines()):
        for part in line.partition("  #")[0].partition(" > ")[0].split(" && "):
            if command := re.sub(r"^(\w+=\S+ )+", "", part).strip():
                found.append((str(name.relative_to(ROOT)), command))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_a_page_can_be_read(page):
    for text in blocks(page, "python", "ipython3"):
        ast.parse(re.sub(r"^---\n.*?^---\n", "", text, flags=re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("page", EXECUTED)
def test_the_first_blocks_of_a_page_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for text in blocks(ROOT / page, "python")[: EXECUTED[page]]:
        exec(compile(text, page, "exec"), {})


class Parsed(Exception):
    """A command's options are allowed."""


@pytest.mark.parametrize("page, command", commands())
def test_a_command_on_a_page_has_options_that_there_are(page, command, monkeypatch):
    words = shlex.split(command)
    if words[:2] == ["python", "-m"] and words[2] == "pytest":
        assert all(list(ROOT.glob(word)) for word in words if word.startswith("tests/"))
    elif words[0] == "memenv":
        parse_only(words[1:], monkeypatch)
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.findall(r"\w+", words[-1])) <= set(extras)
    elif words[0] == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file()
    else:
        assert words[0] in PROGRAMS


def parse_only(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a subcommand until its options are understood."""
    module = importlib.import_module(COMMANDS[words[0]][0])
    parse = module.parse

    def understood(*arguments):
        parse(*arguments)
        raise Parsed

    monkeypatch.setattr(module, "parse", understood)
    with pytest.raises(Parsed):
        module.run(words[1:])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_ends_with_an_example_that_can_be_given(command, capsys, monkeypatch):
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
    example = capsys.readouterr().out.splitlines()[-1]
    assert example.startswith(f"Example: memenv {command} ")
    parse_only(shlex.split(example)[2:], monkeypatch)


def test_inherited_options_stand_in_groups_of_their_own(capsys):
    with contextlib.suppress(SystemExit):
        main(["fewshot", "--help"])
    text = capsys.readouterr().out
    assert text.index("\nthe chip:") < text.index("  --devices-per-weight")
    assert text.index("\nan earlier result:") < text.index("  --overwrite") < text.index("  --resume")
    assert text.count("an earlier result:") == 1


def test_the_version_is_told_and_stands_in_one_place(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"memenv {memenv.__version__}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "memenv/__init__.py"
    assert f"\nversion: {memenv.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_picture_has_an_alternative_text_and_a_file(page):
    text = page.read_text(encoding="utf-8")
    pictures = [(words, name) for words, name in re.findall(r"!\[(.*?)\]\((.*?)\)", text)]
    figures = re.findall(r"^[:`]{3,}\{figure\} (\S+)\n(?::(?!alt)\w+:.*\n)*(?::alt: (.*)\n)?", text, re.MULTILINE)
    for words, name in [*pictures, *((words, name) for name, words in figures)]:
        assert len(words) > 10 and (page.parent / name).is_file(), name


def test_every_id_has_scores_made_by_a_command():
    rows = json.loads((ROOT / "docs/scores.json").read_text(encoding="utf-8"))["rows"]
    assert [*dict.fromkeys(row["id"] for row in rows)] == [f"memenv/{name}-v0" for name in VARIANTS]
    for row in rows:
        assert row["command"].startswith(f"python benchmarks/returns.py --ids {row['id']} ")
        assert {"return", "pulses", "energy"} < set(row)


def test_every_face_but_those_of_single_environments_has_a_page(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs/extension")
    packages = (path.parent for top in ("memenv", "agents", "metalearn") for path in (ROOT / top).rglob("__init__.py"))
    faces = {".".join(package.relative_to(ROOT).parts) for package in packages}
    assert set(importlib.import_module("faces").FACES) == {face for face in faces if "memenv.envs." not in face}


@pytest.mark.parametrize("name", ["WriteVerify", "CrossbarProgram", "FewShot"])
def test_tables_of_a_manual_keep_every_row(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs/extension")
    docstrings = importlib.import_module("docstrings")
    manual = docstrings.sections(getattr(memenv.envs, f"{name}Env").__doc__)
    rewards, infos = docstrings.markdown(manual["Rewards"]), docstrings.markdown(manual["Info"])
    assert "| name | value in a step |\n| --- | --- |\n" in rewards and "\n| pulses | -weight_pulses " in rewards
    assert infos.startswith("| key | unit | meaning |\n| --- | --- | --- |\n")
    assert infos.count("\n| reward/\\<name> |") == 1 and "\n|  |" not in infos
