"""The tables of docs/proofs.md: what is proven of which block, and what is taken for granted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.proofs.bench import Assumption, Bench, Proof

BEGIN, END = "<!-- tables: python -m tests.prove --page -->\n", "<!-- end of the tables -->\n"


def tables(proofs: Mapping[str, Iterable[Proof]]) -> str:
    """Markdown, from the proofs of each file."""
    lines: list[str] = []
    used: dict[Assumption, list[str]] = {}
    for file, own in proofs.items():
        lines += [f"### `{file}`", "", "| proofs | how | promises |", "|---|---|---|"]
        alike: dict[str, list[Proof]] = {}
        for proof in own:
            bench = proof.sentences()
            for assumption in bench.assumptions:
                used.setdefault(assumption, []).append(proof.name)
            alike.setdefault(_promises(bench), []).append(proof)
        for promises, same in alike.items():
            names = ", ".join(proof.name for proof in same)
            how = "; ".join(dict.fromkeys(map(_how, same)))
            lines.append(f"| {names} | {how} | {promises} |")
        lines.append("")
    lines += ["## What is assumed", ""]
    lines += ["| assumption | guaranteed by | shown by | in |", "|---|---|---|---|"]
    for assumption, names in used.items():
        shown = assumption.proof or "reading, and tests"
        lines.append(f"| {assumption.words} | {assumption.by} | {shown} | {', '.join(names)} |")
    return "\n".join(lines) + "\n"


def _how(proof: Proof) -> str:
    section = f", {_section(proof.section)}" if proof.section else ""
    if proof.induction:
        return f"induction, k = {proof.depth}{section}"
    return f"first {proof.depth} cycles: {proof.because}{section}"


def _section(named: str) -> str:
    """A section of docs/arithmetic.md, or after "absmax " of docs/arithmetic_absmax.md."""
    absmax = named.removeprefix("absmax ")
    return f"arithmetic_absmax.md {absmax}" if absmax != named else f"arithmetic.md {named}"


def _promises(bench: Bench) -> str:
    """Its sentences, each once."""
    sentences = dict.fromkeys(bench.properties)
    return "; ".join(sentence.replace("|", "\\|") for sentence in sentences)


def write(page: Path, proofs: Mapping[str, Iterable[Proof]]) -> None:
    """Exchange the tables in the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(before + BEGIN + tables(proofs) + END + after, encoding="utf-8")
