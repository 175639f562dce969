"""``mmfree fit``: the table of all parts, one part, what is missing, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdl.planning.parts import known_parts
from mmfree.cli.main import main
from mmfree.contract.shape import ModelConfig
from tests.support.command_line import error_of, run_json


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[str]:
    assert main(["fit", *words]) == code
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("model", ["370m", "1.3b", "2.7b", "addition", "text"])
def test_a_line_for_every_part_and_none_is_too_wide(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, model)
    assert max(map(len, lines)) <= 100
    for name in known_parts():
        assert sum(line.startswith(f"{name:<11}") for line in lines) == 1, name
    for name in ("kv260", "ulx3s-85f"):
        assert main(["fit", model, "--part", name]) in (0, 1)
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_the_table_says_what_the_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    values = run_json(capsys, "fit", "370m")
    assert [part["part"] for part in values["parts"]] == list(known_parts())
    lines = {line.split()[0]: line for line in said(capsys, "370m")[4:] if line}
    for part in values["parts"]:
        line = lines[part["part"]]
        assert part["label"] == "projected"
        if part["fits"]:
            assert f"{part['lanes']:,}" in line
            assert f"{part['cycles_per_token']:,}" in line
            assert f" {part['limited_by']} " in line
            assert part["memory"] in line
            assert ("*" in line) == (part["clock"]["label"] == "A")
            assert " ~" in line
            assert part["joules_per_token"]["low"] < part["joules_per_token"]["high"]
        else:
            assert "does not fit: " in line
            assert part["shortages"]
            assert part["joules_per_token"] is None
    assert values["label"] == "projected"
    assert "Projected, nothing was built" in " ".join(said(capsys, "370m"))


def test_what_others_publish_stands_beside(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "370m")
    start = next(n for n, line in enumerate(lines) if line.startswith("published"))
    assert lines[start].endswith("theirs excludes")
    rows = {line.split()[0]: line for line in lines[start + 1 :]}
    assert list(rows) == ["matmulfree_KRIA", "Ternip", "TerEffic,"]
    (kv260,) = (p for p in run_json(capsys, "fit", "370m")["parts"] if p["part"] == "kv260")
    assert kv260["peers"][0]["tokens_per_second"] == 30.6
    here = f"~{kv260['tokens_per_second']:.0f}"
    assert f"30.6{here:>8}  nothing; the host" in rows["matmulfree_KRIA"]
    assert "1 of 43" in rows["Ternip"]
    # Without a design that fits there is nothing to stand beside.
    inside = said(capsys, "370m", "--memory", "block")
    assert sum(" 30.6       -  nothing; the host" in line for line in inside) == 1
    assert not any(line.startswith("published") for line in said(capsys, "addition"))


def test_one_part_that_is_too_small_is_a_check_that_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = run_json(capsys, "fit", "370m", "--part", "ulx3s-85f", code=1)
    (part,) = values["parts"]
    assert (part["fits"], part["tokens_per_second"], part["limited_by"]) == (False, None, None)
    (shortage,) = part["shortages"]
    assert shortage["needed"] - shortage["available"] == shortage["missing"] > 0
    lines = said(capsys, "370m", "--part", "ulx3s-85f", code=1)
    needed = "fits          no: 104 MB of memory needed, 33.6 MB there, 70.7 MB missing"
    assert needed in lines
    assert not any(line.startswith(("speed", "energy")) for line in lines)
    # Of all parts some do not fit: that is the answer.
    assert main(["fit", "2.7b", "--memory", "block"]) == 0


def test_what_is_missing_is_said_for_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    def lack(*words: str) -> str:
        lines = "\n".join(said(capsys, *words, code=1))
        return " ".join(lines.partition("fits          no: ")[2].partition("design")[0].split())

    assert lack("370m", "--part", "ecp5-85", "--memory", "axi64") == "no external memory there"
    assert lack("370m", "--part", "kv260", "--memory", "axi256x8") == (
        "162 block RAMs needed, 144 there, 18 missing; 8 ports needed, 4 there, 4 missing; 256 bits"
        " of a port needed, 128 there, 128 missing"
    )
    assert lack("370m", "--part", "ecp5-85").startswith("867 Mbit of block RAM needed, 3.83 Mbit")
    assert lack("2.7b", "--part", "ecpix-5").startswith(
        "406 block RAMs needed, 208 there, 198 missing; 612 MB of memory needed, 537 MB there"
    )


def test_a_model_of_120_million_weights_on_a_ulx3s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """24 MB of weights: about 11 tokens per second of 0.26 GB/s."""
    config = ModelConfig(
        vocab_size=4096, head_size=4096, hidden_size=768, intermediate_size=2048, num_layers=16
    )
    assert config.num_ternary_weights == 116_391_936
    path = tmp_path / "my.json"
    path.write_text(json.dumps(config.to_dict()))
    (part,) = run_json(capsys, "fit", path, "--part", "ulx3s-85f")["parts"]
    assert part["fits"]
    assert part["limited_by"] == "memory"
    assert 10.5 < part["tokens_per_second"] < 11.5


def test_a_model_that_no_design_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ModelConfig(
        vocab_size=100, head_size=100, hidden_size=65535, intermediate_size=65535, num_layers=300
    )
    path = tmp_path / "my.json"
    path.write_text(json.dumps(config.to_dict()))
    assert "weight_words must be at most 268435456" in error_of(capsys, "fit", path)
