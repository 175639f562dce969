"""The architecture: which package may import which, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mmfree", "hdl", "sim")
TORCH_SIDE = {
    *("absmax_model", "bitlinear", "checkpoint", "compare", "exact_product", "export", "gpu_scan", "model", "quantize", "scan", "sequence_state", "sharding", "throughput", "train", "transformer"),
    # These name the torch side inside functions only, and import it when asked for it.
    *("backends", "commands", "demo"),
}
"""Modules of mmfree that may name torch, or a module that does. The rest of the project never loads it."""

HUGGING_FACE = "hf"
"""Package of mmfree that is loaded only by those who ask for it: it stands above torch, transformers and lm-eval-harness."""

COMMAND_LINE = {"backends", "build", "cli", "commands", "compare", "demo", "power"}
"""Modules of mmfree that may import hdl and sim (lazily: a test below)."""


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path, *, only_top_level: bool = False) -> set[str]:
    """Full names of the modules that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if only_top_level else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def local(names: set[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] in PACKAGES}


@pytest.mark.parametrize("path", modules("hdl"), ids=lambda path: path.stem)
def test_hardware_never_imports_the_golden_model(path: Path) -> None:
    """Both are written from the contract, and compared: so they share formats, not arithmetic."""
    for name in local(imported(path)):
        package, _, module = name.partition(".")
        assert package != "sim", f"{path.name} imports {name}"
        shared = {"config", "design", "files", "formats", "layout", "operations", "tape", "weight_codes"}
        assert package == "hdl" or module in shared, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", modules("mmfree"), ids=lambda path: path.stem)
def test_only_the_command_line_knows_hardware_and_simulation(path: Path) -> None:
    for name in local(imported(path)):
        if name.partition(".")[0] != "mmfree":
            assert path.stem in COMMAND_LINE, f"{path.name} imports {name}"
    for name in local(imported(path, only_top_level=True)):
        assert name.partition(".")[0] == "mmfree", f"{path.name} imports {name} at its top level"


@pytest.mark.parametrize("path", modules("mmfree"), ids=lambda path: path.stem)
def test_torch_stays_above_export(path: Path) -> None:
    names = imported(path)
    torch_side = {f"mmfree.{module}" for module in TORCH_SIDE - {"backends", "commands", "demo"}}
    if "torch" in names or names & torch_side:
        assert path.stem in TORCH_SIDE or path.parent.name == HUGGING_FACE, f"{path.name} is on the integer side"


@pytest.mark.parametrize("package", PACKAGES)
def test_only_one_package_knows_the_hugging_face_world(package: str) -> None:
    for path in modules(package):
        if path.parent.name == HUGGING_FACE:
            continue
        top = {name.partition(".")[0] for name in imported(path)} | {
            name for name in imported(path, only_top_level=True) if name.startswith("mmfree.hf")
        }
        inside_functions = {"transformers"} if path.stem == "export_formats" else set()
        assert not (top - inside_functions) & {"transformers", "lm_eval", "mmfree.hf"}, path


def test_nothing_imports_tools_or_tests() -> None:
    for package in PACKAGES:
        for path in modules(package):
            assert not {n for n in imported(path) if n.partition(".")[0] in ("tools", "tests")}, path


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(output.stdout.split())


def test_importing_mmfree_loads_nothing_heavy() -> None:
    assert not loaded_by("import mmfree") & {"numpy", "torch", "transformers", "amaranth", "cocotb"}


@pytest.mark.parametrize(
    "statement",
    ["import mmfree.golden", "import mmfree.layout", "import mmfree.bitnet_packing", "import mmfree.cli, mmfree.commands, mmfree.build", "import sim.cosim"],
)
def test_the_integer_world_loads_no_torch(statement: str) -> None:
    assert not loaded_by(statement) & {"torch", "transformers", "lm_eval"}


def test_the_command_line_loads_no_hardware_before_it_is_asked_to() -> None:
    assert not loaded_by("import mmfree.cli, mmfree.commands, mmfree.build") & {"amaranth", "cocotb", "torch"}


def test_modules_stay_short() -> None:
    """A file that outgrows this has more than one purpose."""
    for package in PACKAGES:
        for path in modules(package):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
