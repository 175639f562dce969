"""The house: which room may import which, what an import costs, and how large a room may be.

A room is a folder (or, at the top of a package, a file). Each may import the rooms of its own row
and of the rows above it; nothing imports in a circle, neither rooms nor files.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from functools import cache, wraps
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mmfree", "hdl", "sim")

TABLE = {
    "mmfree": [
        "errors extras threads stopping files contract argument_types shipped",
        "tape text.byte_pairs",
        "text models",
        "golden chip.contents chip tasks published interchange inference.native",
        "host",
        "training",
        "inference comparison",
        "hf report",
        "cli api",
    ],
    "hdl": [
        "fabric payloads interface",
        "memory memory.sources link",
        "arithmetic",
        "control",
        "array",
        "rows absmax.norm",
        "blocks",
        "pow2 absmax",
        "accelerator",
        "planning",
        "boards",
        "toolchain",
    ],
    "sim": ["simulators", "memory tracing", "cosim", "power page"],
}
"""Package -> its rooms, from those that everybody may import to those that nobody may."""

HOST = "errors extras files contract tape chip"
"""What a host needs to know: neither torch nor golden models."""

OUTSIDE = {
    "hdl": {"mmfree": HOST},
    "sim": {
        "mmfree": (
            "errors extras files contract tape text text.byte_pairs models golden chip tasks host"
            " inference.native report"
        ),
        "hdl": " ".join(TABLE["hdl"]),
    },
}
"""Package -> other package -> rooms of it that it may import. hdl never imports a golden model.

Both are written from the contract, and compared.
"""

COMMAND_LINE = ("cli", "api")
"""Rooms of mmfree that may import hdl and sim: inside functions, when they are asked to."""

PAGES = {"sim.power.page": "report", "sim.page.page": "report"}
"""The places below the command line that draw for people."""

TORCH = ("models", "training", "comparison", "hf")
"""Rooms whose modules may load torch when they are imported; of published, its model."""

MOST_FILES = 14
"""Python files in a room; the command line has one for each verb."""


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in files(*PACKAGES)}


@cache
def imports(module: str, *, only_top_level: bool = False) -> frozenset[str]:
    """Full names of what a module imports: modules where they are some of ours."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    nodes = tree.body if only_top_level else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in MODULES else node.module or "")
    return frozenset(names)


def room_of(module: str) -> tuple[str, str]:
    """(package, room): ("hdl", "memory.sources"); ("mmfree", "") for the package itself."""
    package, *parts = module.split(".")
    if len(parts) > 1 and MODULES[module].name != "__init__.py":
        parts = parts[:-1]
    return package, ".".join(parts)


def row_of(package: str, room: str) -> int:
    (row,) = (n for n, rooms in enumerate(TABLE[package]) if room in rooms.split())
    return row


def ours(module: str, *, only_top_level: bool = False) -> list[str]:
    names = imports(module, only_top_level=only_top_level)
    return sorted(name for name in names if name.partition(".")[0] in PACKAGES)


def every_module(check: Callable[[str], None]) -> Callable[[], None]:
    """A test of every module, which names all that fail."""

    @wraps(check)
    def test() -> None:
        wrong = []
        for module in MODULES:
            try:
                check(module)
            except AssertionError as error:
                wrong.append(str(error).partition("\n")[0] or module)
        assert not wrong, "\n".join(wrong)

    # pytest would take the parameters of the function that is wrapped for fixtures.
    del test.__wrapped__  # type: ignore[attr-defined]
    return test


def test_every_folder_is_a_room_of_the_table() -> None:
    found = {room_of(module) for module in MODULES}
    known = {
        (package, room) for package, rows in TABLE.items() for row in rows for room in row.split()
    }
    assert {place for place in found if place[1]} == known


@every_module
def test_a_module_imports_what_its_room_may(module: str) -> None:
    package, room = room_of(module)
    for name in ours(module):
        there, other = room_of(name)
        if not other:
            assert there == package == "mmfree", f"{module} imports {name}"
        elif there != package:
            allowed = OUTSIDE.get(package, {}).get(there, "").split()
            assert other in allowed or room in COMMAND_LINE, f"{module} imports {name}"
            if other == "report":
                assert PAGES.get(module) == other, f"{module} imports {name}"
        elif not room:
            assert other == "api", f"{module} imports {name}"
        elif room == "host":
            assert other in [*HOST.split(), "host"], f"{module} imports {name}"
        else:
            assert row_of(package, other) <= row_of(package, room), f"{module} imports {name}"
    for name in ours(module, only_top_level=True):
        if room in COMMAND_LINE and package == "mmfree":
            assert name.partition(".")[0] == "mmfree", f"{module} imports {name} at its top level"


def test_nothing_imports_in_a_circle() -> None:
    """Neither files nor rooms."""
    modules = {module: set(ours(module)) for module in MODULES}
    rooms: dict[str, set[str]] = {}
    for module, names in modules.items():
        own = ".".join(room_of(module))
        rooms.setdefault(own, set()).update(".".join(room_of(n)) for n in names)
        rooms[own].discard(own)
    for graph in (modules, rooms):
        try:
            tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def loads_torch(module: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether importing a module imports torch: itself, or by what it imports at its top level."""
    names = imports(module, only_top_level=True)
    if any(name.partition(".")[0] == "torch" for name in names):
        return True
    inner = [name for name in names if name in MODULES and name not in seen]
    return any(loads_torch(name, seen | {module}) for name in inner)


@every_module
def test_torch_stays_above_export(module: str) -> None:
    if loads_torch(module):
        assert room_of(module)[1] in TORCH or module == "mmfree.published.model"


@every_module
def test_only_one_room_knows_the_hugging_face_world(module: str) -> None:
    if room_of(module) == ("mmfree", "hf"):
        return
    asked = module in ("mmfree.cli.export",)  # writes folders for it, when it is asked to
    names = imports(module, only_top_level=asked)
    top = {name.partition(".")[0] for name in names}
    assert not top & {"transformers", "lm_eval"}, module
    assert not any(name.startswith("mmfree.hf") for name in names), module


@every_module
def test_options_are_unpacked_in_the_command_line(module: str) -> None:
    """Everything below takes keyword arguments."""
    assert "argparse" not in imports(module) or room_of(module) == ("mmfree", "cli")


@every_module
def test_nothing_imports_tools_or_tests(module: str) -> None:
    assert not {name for name in imports(module) if name.partition(".")[0] in ("tools", "tests")}


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(output.stdout.split())


def test_importing_mmfree_loads_nothing_heavy() -> None:
    heavy = {"numpy", "torch", "transformers", "amaranth", "cocotb"}
    statement = "import mmfree, mmfree.api; dir(mmfree); mmfree.train, mmfree.cosim, mmfree.errors"
    assert not loaded_by(statement) & heavy


@pytest.mark.parametrize(
    "statement",
    [
        "import mmfree.golden.pow2, mmfree.golden.absmax",
        "import mmfree.chip.layout, mmfree.interchange.bitnet",
        "import mmfree.cli.main",
        "import sim.cosim.run",
    ],
)
def test_the_integer_world_loads_no_torch(statement: str) -> None:
    assert not loaded_by(statement) & {"torch", "transformers", "lm_eval"}


def test_the_command_line_loads_no_hardware_before_it_is_asked_to() -> None:
    assert not loaded_by("import mmfree.cli.main") & {"amaranth", "cocotb", "torch", "matplotlib"}


def test_a_room_is_small_enough_to_be_found_in() -> None:
    for folder in {path.parent for path in files(*PACKAGES, "tools", "tests")}:
        if folder.name != "cli":
            # A block's proofs stand beside its tests.
            count = len([path for path in folder.glob("*.py") if path.name[:6] != "prove_"])
            assert count <= MOST_FILES, f"{folder.relative_to(ROOT)} holds {count} files"


def test_no_line_is_longer_than_100_columns() -> None:
    """ruff lets lines without a blank pass."""
    for path in files(*PACKAGES, "tools", "tests"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 100, f"{path.relative_to(ROOT)}, line {number}"
