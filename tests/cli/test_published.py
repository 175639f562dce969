"""The command line on published checkpoints.

Export, inspect, play, and the verbs that need an accelerator.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmfree.cli.main import main
from mmfree.errors import InputError
from mmfree.golden.absmax import AbsmaxGolden
from mmfree.inference.backends import TorchBackend, load_backend, load_trained_tape
from mmfree.inference.cpu import CpuBackend
from mmfree.inference.scoring import evaluate_text
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.published.export import export_published
from mmfree.tape.absmax import AbsmaxTape
from mmfree.text.tokenizer import text_tokenizer
from tests.support.command_line import error_of, run_json
from tests.support.published.float_reading import FloatReading
from tests.support.published_checkpoints import (
    TEXT_SHAPE,
    Shape,
    checkpoint_tensors,
    write_checkpoint,
    write_text_checkpoint,
)
from tests.support.subwords import TEXT, bpe, pieces, sentencepiece_model

SHAPE = Shape(vocab_size=256, hidden_size=24, num_layers=2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(
        tmp_path_factory.mktemp("published") / "model", SHAPE, checkpoint_tensors(SHAPE), shards=2
    )


@pytest.fixture(scope="module")
def tape(checkpoint: Path) -> Path:
    """A tape whose tokens are bytes, so that text can be played without a trained tokenizer."""
    path = checkpoint.parent / "bytes.tape"
    export_published(checkpoint, path, tokenizer={"kind": "bytes"})
    return path


def test_export_and_inspect(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.tape"
    values = run_json(capsys, "export", checkpoint, "--out", out)
    assert values["bytes"] == out.stat().st_size
    assert values["sha256"] == AbsmaxTape(out).sha256
    assert values["weights"] == 2 * (4 * 24**2 + 3 * 256 * 24) + 256 * 24
    assert 1.6 <= values["bits_per_weight"] < 1.61
    inspected = run_json(capsys, "inspect", out)
    assert inspected["sha256"] == values["sha256"]
    assert inspected["arithmetic"] == "absmax"
    assert (inspected["weights"], inspected["state_words"]) == (values["weights"], 48)
    assert inspected["parameters"] == sum(
        tensor.numel() for tensor in checkpoint_tensors(SHAPE).values()
    )
    assert [s["name"] for s in inspected["segments"]][:2] == ["layer 0 gates", "layer 0 output"]
    assert inspected["tokenizer"] == {"kind": "none", "bytes": 0}
    assert main(["inspect", str(out)]) == 0
    text = capsys.readouterr().out
    assert "layer 1 down" in text
    assert "absmax arithmetic" in text
    assert "exists already; --force overwrites it" in error_of(
        capsys, "export", checkpoint, "--out", out
    )
    assert main(["export", str(checkpoint), "--out", str(out), "--force"]) == 0
    assert values["sha256"] in capsys.readouterr().out


def test_no_bar_is_shown_where_nobody_sees_it(
    text_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(text_model), "--out", str(tmp_path / "a.tape")]) == 0
    assert main(["generate", str(text_model), "--prompt", "the old", "--tokens", "2"]) == 0
    assert capsys.readouterr().err == ""


def test_generate_and_evaluate(
    tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_json(capsys, "generate", tape, "--prompt", "ab", "--tokens", 5, "--temperature", 0)
    golden = AbsmaxGolden(AbsmaxTape(tape))
    ids = [0, *b"ab"]
    for row in values["ids"]:
        assert row == golden.play(ids)[-1].argmax()
        ids.append(row)
    assert values["backend"] == "cpu"
    (tmp_path / "data.txt").write_text("some text to be scored. " * 9)
    result = run_json(capsys, "evaluate", tape, "--data", tmp_path / "data.txt")
    assert result["backend"] == "cpu"
    assert 4 < result["bits_per_byte"] < 14, "a random model"


@pytest.mark.parametrize(("name", "kind"), [(None, CpuBackend), ("golden", GoldenBackend)])
def test_logits_of_the_backend_are_the_golden_integers(
    name: str | None, kind: type, tape: Path
) -> None:
    backend = load_backend(tape, name)
    assert isinstance(backend, kind)
    ids = np.array([[0, 65, 66], [0, 7, 8]])
    logits, state = backend.run(ids, backend.state(2))
    expected = np.stack([AbsmaxGolden(AbsmaxTape(tape)).play(row) for row in ids])
    assert backend.fraction_bits == 16
    assert np.array_equal(logits, expected)
    assert state.shape == (2, 2, 24)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_checkpoint(tmp_path_factory.mktemp("published") / "model")


def test_float_and_golden_in_one_table(
    text_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder as it was published, a text, and what the tape's arithmetic costs."""
    data = tmp_path / "data.txt"
    text = TEXT[:600]
    data.write_text(text, encoding="utf-8")
    files = sorted(path.name for path in text_model.iterdir())
    arguments = ["evaluate", text_model, "--data", data, "--words"]
    values = run_json(capsys, *arguments, "--backend", "float,golden")
    (floating, golden), (difference,) = values["results"], values["differences"]
    assert [floating["backend"], golden["backend"]] == ["float", "golden"]
    assert floating["bytes"] == golden["bytes"] == len(text.encode())
    assert floating["tokens"] == golden["tokens"]
    for name in ("bits_per_byte", "token_perplexity", "word_perplexity"):
        assert difference[name] == golden[name] - floating[name]
    assert 0 < abs(difference["bits_per_byte"]) < 0.05 * floating["bits_per_byte"]
    assert run_json(capsys, *arguments) == floating, "float is what plays a published folder"
    assert main([*map(str, arguments), "--backend", "float,golden"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line[:20].strip() for line in table[1:]] == [
        "backend",
        "float",
        "golden",
        "golden - float",
    ]
    assert float(table[-1].split()[3]) == pytest.approx(difference["bits_per_byte"], abs=6e-5)
    assert sorted(path.name for path in text_model.iterdir()) == files, (
        "nothing is left in the folder"
    )
    tape = tmp_path / "a.tape"
    assert main(["export", str(text_model), "--out", str(tape)]) == 0
    capsys.readouterr()
    played = run_json(capsys, *[tape if part is text_model else part for part in arguments])
    assert played == golden | {"backend": "cpu"}


def test_float_is_scored_as_the_reading_is(text_model: Path) -> None:
    """Bits per byte from the formulas alone.

    The start token that the config names, then the text's own pieces.
    """
    backend, text = load_backend(text_model, "float"), "the old cat sees a red bird. " * 3
    assert isinstance(backend, TorchBackend)
    ids = backend.tokenizer.encode(text)
    assert ids[0] == 1
    logits = FloatReading(checkpoint_tensors(TEXT_SHAPE)).play(np.array(ids[:-1]))
    shifted = logits - logits.max(axis=-1, keepdims=True)
    nats = np.log(np.exp(shifted).sum(axis=-1)) - shifted[np.arange(len(ids) - 1), ids[1:]]
    result = evaluate_text(backend, text.encode())
    assert result.tokens == len(ids) - 1
    assert result.bits_per_byte == pytest.approx(nats.sum() / np.log(2) / len(text), rel=1e-3)


def test_only_the_embedding_makes_float_and_golden_differ_much(text_model: Path) -> None:
    """With the tape's 8-bit embedding in the float model, their logits are ten times closer."""
    floating, golden = load_backend(text_model, "float"), load_backend(text_model, "golden")
    assert isinstance(floating, TorchBackend)
    assert isinstance(golden, GoldenBackend)
    ids = np.random.default_rng(0).integers(0, 400, (8, 12))
    integers, _ = golden.run(ids, golden.state(8))
    expected = integers * 2.0**-golden.fraction_bits

    def error() -> float:
        logits, _ = floating.run(ids, floating.state(8))
        return float(np.sqrt(((logits - expected) ** 2).mean() / (expected**2).mean()))

    apart = error()
    rows = golden.golden.embed(np.arange(400)) * 2.0**-golden.tape.formats.residual_fb
    floating.model.model.embeddings.weight.copy_(torch.from_numpy(rows))
    assert error() < apart / 10 < 0.01


def test_multiple_choice_and_generation_from_a_folder(
    text_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "q.jsonl"
    questions.write_text(
        json.dumps({"query": "the cat", "choices": ["sees", "never runs"], "gold": 0}) + "\n"
    )
    results = run_json(
        capsys, "evaluate", text_model, "--choices", questions, "--backend", "float,golden"
    )["results"]
    assert [result["examples"] for result in results] == [1, 1]
    reading = FloatReading(checkpoint_tensors(TEXT_SHAPE))
    for backend in ("float", "golden"):
        values = run_json(
            capsys,
            "generate",
            text_model,
            "--prompt",
            "the old",
            "--tokens",
            4,
            "--temperature",
            0,
            "--backend",
            backend,
        )
        assert values["backend"] == backend
        if backend == "float":
            ids = load_backend(text_model, "float").tokenizer.encode("the old")
            for row in values["ids"]:
                assert row == reading.play(np.array(ids))[-1].argmax()
                ids.append(row)
    assert (
        run_json(capsys, "generate", text_model, "--prompt", "the old", "--tokens", 1)["backend"]
        == "float"
    )
    assert "ranges are for models trained here" in error_of(
        capsys, "evaluate", text_model, "--ranges", "--backend", "float,golden"
    )


@pytest.mark.parametrize(
    ("ends", "place"), [(7, "config.json"), ([7, 9], "generation_config.json")]
)
def test_text_ends_where_the_checkpoint_says(
    ends: int | list[int], place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the folder by both backends, and from its tape: the end is among the ids, not in the
    text.
    """
    folder = write_text_checkpoint(tmp_path / "model")
    texts = {}
    for name in ("without", "with"):
        found = {"eos_token_id": ends if name == "with" else None}
        path = folder / place
        config = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(config | found))
        tape = tmp_path / f"{name}.tape"
        run_json(capsys, "export", folder, "--out", tape)
        texts[name] = [
            run_json(
                capsys,
                *("generate", model, "--backend", backend, "--prompt", "the old"),
                *("--tokens", 300, "--temperature", 2, "--seed", 1),
            )
            for model, backend in ((folder, "float"), (folder, "golden"), (tape, "golden"))
        ]
    assert main(["inspect", str(tape)]) == 0
    assert f", tokenizer sentencepiece, a text ends with {ends}\n" in capsys.readouterr().out
    tokenizer = load_backend(folder).tokenizer
    for free, ended in zip(texts["without"], texts["with"], strict=True):
        assert len(free["ids"]) == 300
        last = min(free["ids"].index(end) for end in np.atleast_1d(ends) if end in free["ids"])
        assert ended["ids"] == free["ids"][: last + 1]
        whole = tokenizer.decode(tokenizer.encode("the old")[1:] + ended["ids"][:-1])
        assert ended["text"] == whole.removeprefix("the old")
        assert free["text"].startswith(ended["text"])


def test_a_tokenizer_json_begins_with_the_token_that_the_config_names(tmp_path: Path) -> None:
    shape = Shape(vocab_size=400, hidden_size=8, num_layers=1)
    write_checkpoint(tmp_path, shape, checkpoint_tensors(shape), bos_token_id=7)
    (tmp_path / "tokenizer.json").write_text(bpe().json, encoding="utf-8")
    for name in ("float", "golden"):
        tokenizer = text_tokenizer(load_backend(tmp_path, name).tokenizer)
        assert tokenizer.encode("a cat")[0] == tokenizer.start == 7
        assert tokenizer.decode(tokenizer.encode("a cat")[1:]) == "a cat"


@pytest.mark.parametrize("of", ["tokenizer.json", "tokenizer.model"])
def test_no_text_becomes_the_token_that_the_config_names(
    of: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start token within text is not scored, but its bytes would be counted."""
    shape = Shape(vocab_size=400, hidden_size=8, num_layers=1)
    if of == "tokenizer.json":
        (tmp_path / of).write_text(bpe().json, encoding="utf-8")
        own = bpe().encode("a cat sees a red bird")[1:]
    else:
        (tmp_path / of).write_bytes(sentencepiece_model())
        own = pieces().encode("a cat sees a red bird")[1:]
    bos = max(own)
    write_checkpoint(tmp_path, shape, checkpoint_tensors(shape), bos_token_id=bos)
    tokenizer = text_tokenizer(load_backend(tmp_path, "golden").tokenizer)
    assert tokenizer.start == bos
    if of == "tokenizer.json":  # the piece's parts take its place
        ids = tokenizer.encode("a cat sees a red bird")
        assert ids[0] == bos
        assert bos not in ids[1:]
        assert tokenizer.decode(ids[1:]) == "a cat sees a red bird"
        return
    message = error_of(capsys, "generate", tmp_path, "--prompt", "a cat sees a red bird")
    assert "the tokenizer makes its control token" in message
    assert "'a cat sees a red bird'" in message


def test_what_is_for_models_trained_here_is_refused(
    tape: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bitnet = ["--format", "bitnet", "--out", tmp_path / "out"]
    message = error_of(capsys, "export", checkpoint, *bitnet)
    assert f"{checkpoint}: a published checkpoint, and this is for models trained here" in message
    assert "backend float needs the checkpoint folder" in error_of(
        capsys, "evaluate", tape, "--backend", "float"
    )
    assert "ranges are for models trained here" in error_of(capsys, "evaluate", tape, "--ranges")
    assert not (tmp_path / "out").exists()


def test_folders_and_tapes_that_cannot_be_played(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for backend in ("float", "golden", "rtl"):
        message = error_of(capsys, "evaluate", checkpoint, "--backend", backend)
        assert (
            f"{checkpoint}: no tokenizer: put tokenizer.json or tokenizer.model of the model into"
            " the folder" in message
        )
    message = error_of(capsys, "evaluate", checkpoint, "--backend", "fakequant")
    assert (
        "is run by float, cpu, golden or rtl, not by fakequant: float has the released" in message
    )
    with pytest.raises(InputError, match=r"model: a published checkpoint, and this is for models"):
        load_trained_tape(checkpoint)
    export_published(checkpoint, tmp_path / "a.tape")
    with pytest.raises(InputError, match=r"a\.tape: the tape of a published checkpoint, and this"):
        load_trained_tape(tmp_path / "a.tape")
    for backend in ("golden", "rtl"):
        words = ["--prompt", "a", "--backend", backend]
        message = error_of(capsys, "generate", tmp_path / "a.tape", *words)
        assert (
            "the tape has no tokenizer: put tokenizer.json or tokenizer.model into the"
            " checkpoint's folder" in message
        )


def test_weights_too_large_for_float_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = checkpoint_tensors(TEXT_SHAPE)
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], 3e38)
    write_text_checkpoint(tmp_path)
    write_checkpoint(tmp_path, TEXT_SHAPE, tensors)
    (tmp_path / "model.safetensors.index.json").unlink(missing_ok=True)
    assert main(["generate", str(tmp_path), "--prompt", "a"]) == 2
    assert "backend float: logits are not finite" in capsys.readouterr().err
    message = error_of(capsys, "export", tmp_path, "--out", tmp_path / "a.tape")
    assert f"{tmp_path}: model.norm.weight: gains must stay below" in message


@pytest.mark.parametrize(
    ("kind", "message"),
    [("tokenizers", "no tokenizer.json"), ("sentencepiece", "no SentencePiece model")],
)
def test_a_tape_whose_tokenizer_is_none_is_one_line(
    kind: str, message: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tape"
    export_published(checkpoint, path, tokenizer={"kind": kind, "data": b"no such file"})
    found = error_of(capsys, "generate", path, "--prompt", "a")
    assert f"{path}: tokenizer: the data of kind {kind} is damaged: {message}" in found
    assert run_json(capsys, "inspect", path)["tokenizer"] == {
        "kind": kind,
        "bytes": AbsmaxTape(path).tokenizer_bytes,
    }


def test_bad_folders_are_one_line(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written."""
    before = sorted(tmp_path.rglob("*"))
    folders: dict[str, str] = {
        json.dumps(
            {"model_type": "bitnet"}
        ): "model_type 'bitnet' cannot become a tape: its attention multiplies",
        json.dumps({"model_type": "hgrn_bit"}): "missing field 'hidden_size'",
        "{": "config.json: not valid JSON",
        (
            checkpoint / "config.json"
        ).read_text(): "neither model.safetensors nor model.safetensors.index.json",
    }
    for number, (config, message) in enumerate(folders.items()):
        folder = tmp_path / f"folder{number}"
        folder.mkdir()
        (folder / "config.json").write_text(config)
        assert message in error_of(capsys, "export", folder, "--out", tmp_path / "a.tape")
        if "safetensors" not in message:
            assert message in error_of(capsys, "evaluate", folder, "--backend", "float")
            assert message in error_of(
                capsys, "generate", folder, "--prompt", "a", "--backend", "golden"
            )
        (folder / "config.json").unlink()
        folder.rmdir()
    message = "--data and --allow-saturation are for models trained here"
    assert message in error_of(
        capsys, "export", checkpoint, "--out", tmp_path / "a.tape", "--allow-saturation"
    )
    assert sorted(tmp_path.rglob("*")) == before
