"""The package as a whole: what stands on what, and what importing it costs."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import memenv

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "stable_baselines3", "sb3_contrib", "matplotlib", "tensorboard"}
BANNED = {
    "memenv": {"torch", "stable_baselines3", "sb3_contrib", "agents", "metalearn"},
    "agents": {"metalearn"},
    "metalearn": {"agents"},
}
ROOT_OF_COMPOSITION = ROOT / "memenv" / "__main__.py"  # loads the others' modules when a subcommand is called


def imports(path: Path) -> Iterator[str]:
    """Top-level packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", BANNED)
def test_arrows_point_down(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        if path != ROOT_OF_COMPOSITION:
            assert not BANNED[package] & set(imports(path)), path


def test_the_arrow_test_sees_imports_inside_functions(tmp_path):
    (tmp_path / "x.py").write_text("def f():\n    from torch.nn import Linear\n    import agents.training\n")
    assert set(imports(tmp_path / "x.py")) == {"torch", "agents"}


@pytest.mark.parametrize(
    "module", ["memenv", "memenv.devices.device", "memenv.devices.catalogue", "memenv.few_shot.bank", "memenv.__main__"]
)
def test_core_imports_no_heavy_package(module):
    code = f"import sys, {module}; print(*(sys.modules.keys() & {HEAVY!r}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


@pytest.mark.parametrize("package", BANNED)
def test_no_derivative_at_a_bound_is_left_to_torch(package):
    """Its clamp had the derivative one at equality until 2.13 and zero since; its maximum halves it."""
    for path in sorted((ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"clamp|\b(xp|torch)\.(clip|maximum|minimum|fmax|fmin)\b", text), path


def test_a_package_that_shadows_ours_is_named(tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("import openai\n")
    paths = os.pathsep.join(map(str, (tmp_path, ROOT)))
    run = subprocess.run(
        [sys.executable, "-m", "memenv", "tune", "--trials", "1"],
        capture_output=True, text=True, cwd=tmp_path, check=False, env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert run.returncode == 2 and "openai" not in run.stderr
    assert f"{tmp_path / 'agents'} is another package than memenv's agents" in run.stderr


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("benchmarks/*.py"), *ROOT.glob("examples/*.py")]), ids=lambda p: p.name
)
def test_what_benchmarks_and_examples_import_of_ours_exists(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in BANNED:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}"), (
                    alias.name
                )


def test_the_package_states_that_it_is_typed():
    assert (Path(memenv.__file__).parent / "py.typed").is_file()
