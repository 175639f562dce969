"""The comparison with llama.cpp: turns, ratios and errors, with a stand-in for llama.cpp."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mmfree.errors import ToolMissing
from tools.speed import llama_build, llama_cpp, llama_worker

SIZES = (64, 96, 2, 50)
TERNARY_WEIGHTS = 2 * (4 * 64 * 64 + 3 * 96 * 64) + 50 * 64

STAND_IN = """#!{python}
import json, sys
assert sys.argv[1:] == "-m tools.speed.llama_worker --sizes 64 96 2 50 --threads 1".split()
print(json.dumps({{"ternary_weights": {weights}}}), flush=True)
for number, line in enumerate(sys.stdin):
    assert line.split() in (["decode", "16"], ["prompt", "64"])
    if number == {answers}:
        sys.exit("error: out of\\nmemory")
    print(json.dumps({{"seconds": int(line.split()[1]) / 100}}), flush=True)
"""


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def built(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *options: str,
    weights: int = TERNARY_WEIGHTS,
    answers: int = -1,
) -> None:
    """A folder as after a build, with a stand-in that answers so often; and it is named."""
    text = STAND_IN.format(python=sys.executable, weights=weights, answers=answers)
    write_program(folder / "native" / "bin" / "python", text)
    done = folder / "native" / llama_build.DONE_NAME
    done.write_text(llama_build.wanted("native"), encoding="utf-8")
    monkeypatch.setattr(llama_cpp, "SHAPES", {"tiny": SIZES})
    monkeypatch.setattr(llama_cpp, "TURN_SECONDS", 0.001)
    given = ["--llama", str(folder), "--build", "native"]
    monkeypatch.setattr(sys, "argv", ["llama_cpp", *given, *options])


def test_a_shape_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built(tmp_path, monkeypatch, "--rounds", "3", "--json")
    llama_cpp.main()
    result = json.loads(capsys.readouterr().out)
    assert result["threads"] == 1
    assert result["rounds"] == 3
    found = result["shapes"]["tiny"]
    assert found.pop("ternary_weights") == TERNARY_WEIGHTS
    assert found.keys() == {"decode", "prompt"}
    for players in found.values():
        assert players["llama.cpp"] == {"tokens_per_second": 100, "ratio": 1}
        for name in ("pow2", "absmax"):
            # The best is no worse than the median.
            assert players[name]["tokens_per_second"] >= 100 * players[name]["ratio"] > 0


def test_people_get_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built(tmp_path, monkeypatch, "--rounds", "1")
    llama_cpp.main()
    first, *rows = capsys.readouterr().out.splitlines()
    assert f"llama-cpp-python {llama_build.VERSION}" in first
    assert rows[0].split() == ["tokens/s", "llama.cpp", "pow2", "absmax"]
    assert [row.split()[:3] for row in rows[1:]] == [
        ["tiny", "decode", "100"],
        ["tiny", "prompt", "100"],
    ]


def test_players_take_turns_and_the_median_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "TURN_SECONDS", 0)
    order = []
    # Milliseconds a token in three rounds: the second is disturbed for both, the third for ours.
    times = {"llama.cpp": [10, 20, 10], "ours": [2.5, 5, 10]}

    def contestant(name: str) -> llama_cpp.Contestant:
        left = {work: list(times[name]) for work in llama_cpp.POSITIONS}

        def seconds(work: str) -> float:
            order.append((work, name))
            return llama_cpp.POSITIONS[work] * left[work].pop(0) / 1000

        return {work: lambda work=work: seconds(work) for work in llama_cpp.POSITIONS}

    found = llama_cpp.play_turns({name: contestant(name) for name in times}, 3)
    kinds = [(work, name) for work in ("decode", "prompt") for name in times]
    assert order == 3 * kinds
    for players in found.values():
        assert players["llama.cpp"] == {"tokens_per_second": 100, "ratio": 1}
        assert players["ours"] == {"tokens_per_second": 400, "ratio": 4}


@pytest.mark.parametrize("answers", [0, 1])
def test_the_end_of_llama_cpp_is_an_error(
    answers: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    built(tmp_path, monkeypatch, "--rounds", "1", answers=answers)
    with pytest.raises(SystemExit) as stopped:
        llama_cpp.main()
    assert stopped.value.code == 2
    assert "error: llama.cpp ended with exit code 1: memory\n" in capsys.readouterr().err


def test_one_that_does_not_begin_is_an_error() -> None:
    with pytest.raises(ToolMissing, match=r"llama\.cpp ended with exit code 3: it said nothing"):
        llama_cpp.Worker([sys.executable, "-Sc", "raise SystemExit(3)"])


def test_another_number_of_weights_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built(tmp_path, monkeypatch, weights=7)
    with pytest.raises(SystemExit) as stopped:
        llama_cpp.main()
    assert stopped.value.code == 1
    told = f"llama.cpp's model has 7 ternary weights, ours {TERNARY_WEIGHTS}: no comparison"
    assert told in capsys.readouterr().err


MAKER = """#!/bin/sh
test "$1 $2" = "-m venv" || exit 9
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "$CMAKE_ARGS $@" >> "%s/asked"\\n{end}\\n' "$3" > "$3/bin/python"
chmod +x "$3/bin/python"
"""


def test_it_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_program(tmp_path / "maker", MAKER.format(end=""))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "maker"))
    folder = tmp_path / "avx2"
    for _ in range(2):
        assert llama_build.built_python(tmp_path, "avx2") == folder / "bin" / "python"
    assert capsys.readouterr().err == f"building llama.cpp in {folder}, once: some minutes\n"
    (asked,) = (folder / "asked").read_text().splitlines()
    package = f"llama-cpp-python=={llama_build.VERSION}"
    assert asked.startswith("-DCMAKE_BUILD_TYPE=Release ")
    assert " -DGGML_NATIVE=OFF " in asked
    assert f" --no-binary llama-cpp-python --no-cache-dir --force-reinstall {package} " in asked
    # Of other settings: not what is wanted.
    monkeypatch.setattr(llama_build, "SETTINGS", ())
    llama_build.built_python(tmp_path, "avx2")
    assert len((folder / "asked").read_text().splitlines()) == 2


def test_a_build_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = "echo error: subprocess-exited; echo CMake Error: none; echo ERROR: Failed; exit 1"
    write_program(tmp_path / "maker", MAKER.format(end=end))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "maker"))
    with pytest.raises(ToolMissing) as caught:
        llama_build.built_python(tmp_path, "native")
    log = tmp_path / "native" / llama_build.LOG_NAME
    told = f"llama.cpp could not be built: CMake Error: none (all of it: {log})"
    assert str(caught.value) == told
    assert not (tmp_path / "native" / llama_build.DONE_NAME).exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolMissing, match="name another folder with --llama"):
        llama_build.built_python(tmp_path / "file", "native")


def test_a_random_matrix_is_one_of_tq2_0() -> None:
    matrix = llama_worker.random_matrix(np.random.default_rng(0), 3, 512)
    blocks = matrix.reshape(3 * 2, 66)
    codes = blocks[:, :64, None] >> np.array([0, 2, 4, 6]) & 3
    assert set(np.unique(codes)) == {0, 1, 2}
    scales = np.ascontiguousarray(blocks[:, 64:]).view("<f2")
    np.testing.assert_allclose(scales, (1.5 / 512) ** 0.5, rtol=1e-3)
