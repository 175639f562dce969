"""Mutants that nobody chose: the same for a seed, applicable, of many kinds."""

from __future__ import annotations

import ast
from pathlib import Path

from tools.mutants import drawn
from tools.mutants.drawn import draw
from tools.mutants.listed import ROOT


def test_drawn_mutants_are_the_same_for_a_seed_and_apply() -> None:
    mutants = draw(40, 5)
    assert len(mutants) == 40
    assert draw(9, 5, "mmfree/golden/") == draw(9, 5, "mmfree/golden/")
    assert draw(9, 5, "mmfree/golden/") != draw(9, 6, "mmfree/golden/")
    assert {Path(mutant["file"]).parts[0] for mutant in mutants} == {"hdl", "mmfree", "sim"}
    for mutant in mutants:
        text = (ROOT / mutant["file"]).read_text(encoding="utf-8")
        assert text.count(mutant["before"]) == 1
        changed = text.replace(mutant["before"], mutant["after"])
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), mutant
    assert all(mutant["file"].startswith("mmfree/text/") for mutant in draw(9, 1, "mmfree/text/"))


def test_drawn_mutants_are_of_many_kinds() -> None:
    source = """
def give(values, *, start=0):
    '''Doc 1.'''
    if start < len(values) and values:
        raise ValueError(f"{start + 1}")
    values.append(start)
    total = min(values[start:]) + 1
    return total if start else sorted(values, key=abs)
"""
    lines = drawn.nodes_by_line(source).values()
    changes = [drawn.changes_of(*node) for nodes in lines for node in nodes]
    texts = {text for found in changes for _, text in found}
    assert texts >= {
        "(start <= len(values))",
        "(start < len(values) or values)",
        "(values)",
        "not (start < len(values) and values)",
        "False",
        "pass",
        "max(values[start:])",
        "(min(values[start:]) - 1)",
        "(min(values[start:]))",
        ":",
        "2",
        "0",
        "start",
        "sorted(values)",
        "list(values)",
        "(total)",
    }
    assert not any("Doc" in text or "start + 2" in text for text in texts)
