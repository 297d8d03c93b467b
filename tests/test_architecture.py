"""The house as docs/architecture.md draws it: floors, faces and names."""

import ast
import importlib
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("memenv", "agents", "metalearn")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for top in TOP
    for path in sorted((ROOT / top).rglob("*.py"))
}
FACES = {name.removesuffix(".__init__"): path for name, path in FILES.items() if name.endswith(".__init__")}
MODULES = {name: path for name, path in FILES.items() if not name.endswith(("__init__", "__main__"))}
PLAN, WALL = re.findall(r"```text\n(.*?)```", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.DOTALL)
FLOORS = {room: -number for number, line in enumerate(PLAN.splitlines()) for room in line.split()}
DOORS = {tuple(line.split()) for line in WALL.splitlines()}  # modules of the compiler, and who may import them


def imported(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, wherever in it; a name taken from a face counts as the face's."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in TOP)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in TOP:
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in MODULES else node.module


def room(module: str) -> str:
    """The room of the plan in which a module stands."""
    return max((name for name in FLOORS if f"{module}.".startswith(f"{name}.")), key=len)


def public(path: Path) -> list[str]:
    """`__all__` of a face."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} has no __all__")


def functions(path: Path) -> set[str]:
    """The functions that a file defines at its top level."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_room_of_the_plan_exists():
    assert {room for room in FLOORS if room not in MODULES and room not in FACES} == set()


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module):
    own = room(module)
    for other in imported(MODULES[module]):
        assert other in MODULES, f"{module} imports the face {other}: name the module"
        assert room(other) == own or FLOORS[room(other)] < FLOORS[own], f"{module} imports {other}"


def test_no_files_import_each_other_in_a_circle():
    TopologicalSorter({name: set(imported(path)) for name, path in MODULES.items()}).prepare()


@pytest.mark.parametrize("package", FACES)
def test_a_face_hands_on_what_exists_and_defines_nothing(package):
    text = FACES[package].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    face = importlib.import_module(package)
    for name in public(FACES[package]):
        assert getattr(face, name) is not None


@pytest.mark.parametrize("package", FACES)
def test_no_name_is_both_a_module_and_a_function(package):
    beside = {name.rpartition(".")[2] for name in [*MODULES, *FACES] if name.rpartition(".")[0] == package}
    defined = [functions(path) for name, path in MODULES.items() if name.rpartition(".")[0] == package]
    assert beside & set().union(public(FACES[package]), *defined) == set()


def test_only_four_names_of_the_compiler_are_known_outside_but_for_the_doors_of_its_wall():
    handed_on, used = set(public(FACES["memenv.compiler"])), set()
    assert len(handed_on) == 4
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("memenv.compiler."):
                names = {alias.name for alias in node.names} - handed_on
                if names and not module.startswith("memenv.compiler."):
                    doors = {(node.module, who) for who in _with_rooms(module)} & DOORS
                    assert doors, f"{module} imports {names} of {node.module}"
                    used |= doors
    assert used == DOORS, "a door that nobody uses"


def _with_rooms(module: str) -> Iterator[str]:
    """A module and the packages in which it lies."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def test_few_modules_stand_directly_under_memenv():
    assert len(list((ROOT / "memenv").glob("*.py"))) <= 8
