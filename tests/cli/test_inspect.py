"""``mmfree inspect``: every figure of a tape and of shards, worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmfree.cli.main import main
from mmfree.cli.tokenize import describe_shards
from mmfree.tape.pow2 import write_tape
from mmfree.text.shards import Manifest, Shard
from tests.support.command_line import error_of, run_json
from tests.support.verbs.case import SUM_TAPE


def test_every_figure_of_a_tape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """d 16, I 24, one layer, 31 ids, 10 rows of the head."""
    path = tmp_path / "a.tape"
    write_tape(SUM_TAPE, path)
    values = run_json(capsys, "inspect", path)
    weights = 4 * 16 * 16 + 3 * 16 * 24 + 10 * 16
    assert values["bytes"] == path.stat().st_size
    assert values["weights"] == weights
    assert values["parameters"] == weights + 31 * 16 + 16
    assert values["state_words"] == 16
    assert values["embedding_shift"] == SUM_TAPE.embedding_shift
    assert values["arithmetic"] == "pow2"
    assert values["tokenizer"]["kind"] == "addition"
    # Five trits to a byte, each matrix begun anew.
    sizes = [3 * [256], [256], [768], [384], [160]]
    trit_bytes = sum(-(-size // 5) for matrices in sizes for size in matrices)
    assert values["bits_per_weight"] == pytest.approx(8 * trit_bytes / weights, rel=0.01)
    assert [
        (one["name"], one["fan_in"], [(m["role"], m["rows"]) for m in one["matrices"]])
        for one in values["segments"]
    ] == [
        ("layer 0 gates", 16, [("i", 16), ("f", 16), ("g", 16)]),
        ("layer 0 output", 16, [("o", 16)]),
        ("layer 0 glu", 16, [("gate", 24), ("up", 24)]),
        ("layer 0 down", 24, [("down", 16)]),
        ("head", 16, [("head", 10)]),
    ]
    trits = SUM_TAPE.segments[0].matrices[1].trits
    assert values["segments"][0]["matrices"][1]["zeros"] == np.mean(trits == 0)
    assert values["operations"]["ternary_additions"] == weights
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"sha256 {SUM_TAPE.sha256}, {path.stat().st_size:,} bytes, pow2 arithmetic"
    assert lines[1] == (
        "d 16, intermediate 24, layers 1, gate hard, vocabulary 31, tokenizer addition"
    )
    assert lines[2].startswith("parameters 2,848, ternary weights 2,336 of 1.6")
    assert lines[2].endswith(" bits, state words 16")
    assert lines[4].split()[:4] == ["segment", "matrix", "rows", "fan-in"]
    assert lines[4].split()[-1] == "zeros"
    (f,) = (line for line in lines if line.split()[:1] == ["f"])
    assert f.split()[1:3] == ["16", "16"]
    assert f.endswith(f"{100 * np.mean(trits == 0):.1f} %")
    (down,) = (line for line in lines if line.startswith("layer 0 down"))
    assert down.split()[3:6] == ["down", "16", "24"]


@pytest.mark.parametrize(
    ("split", "held_out"), [("tail", "the last tenth"), ("hash", "one in ten of 1,700 documents")]
)
def test_shards_in_words(split: str, held_out: str) -> None:
    manifest = Manifest(
        "f",
        1256,
        "uint16",
        split,
        1700,
        ("a.jsonl",),
        (Shard("a", 9000, 24_000, "x"), Shard("b", 500, 1000, "y")),
        (Shard("c", 500, 2500, "z"),),
    )
    assert describe_shards(manifest) == (
        f"9,500 tokens for training, 500 held out ({held_out}), vocabulary 1,256, 2.75 bytes per"
        " token"
    )


def test_every_byte_of_shards_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("a line of text\n" * 40)
    shards = tmp_path / "shards"
    assert main(["tokenize", str(tmp_path / "a.txt"), "--out", str(shards)]) == 0
    capsys.readouterr()
    values = run_json(capsys, "inspect", shards)
    assert (values["tokenizer"], values["bytes"]) == ("bytes", 600)
    assert values["manifest"]["sources"] == [str(tmp_path / "a.txt")]
    assert main(["inspect", str(shards)]) == 0
    assert capsys.readouterr().out.endswith("; tokenizer bytes; every sha256 holds\n")
    path = shards / "held_out_00000.bin"
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert "held_out_00000.bin" in error_of(capsys, "inspect", shards)
