"""Export of published checkpoints: trits, scales, gains and bounds of the released formulas.

Files are whole, or not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmfree.errors import InputError
from mmfree.files.compressed import LARGEST_BYTES
from mmfree.inference.backends import load_backend, most_likely
from mmfree.inference.generate import generate
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.published.export import (
    export_published,
    matrix_constant,
    offset_constant,
    quantize_gain,
    quantize_matrix,
    read_tokenizer,
)
from mmfree.published.tensors import PublishedError, Tensors
from mmfree.tape.absmax import OFFSET_EXPONENT_RANGE, AbsmaxTape
from tests.support.published_checkpoints import Shape, checkpoint_tensors, write_checkpoint

SHAPE = Shape(vocab_size=40, hidden_size=24, num_layers=3)


def exported(folder: Path, tensors: dict[str, torch.Tensor], shards: int = 1) -> AbsmaxTape:
    write_checkpoint(folder / "c", SHAPE, tensors, shards=shards)
    export_published(folder / "c", folder / "a.tape")
    return AbsmaxTape(folder / "a.tape")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_trits_and_scales_are_those_of_the_released_quantizer(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors = checkpoint_tensors(SHAPE, dtype=dtype)
    tape = exported(tmp_path, tensors)
    names = {"i": "attn.i_proj", "f": "attn.f_proj", "g": "attn.g_proj", "o": "attn.o_proj"}
    names |= {"gate_up": "mlp.gate_proj", "down": "mlp.down_proj"}
    seen = 0
    for segment in tape.segments:
        for matrix in segment.matrices:
            name = (
                "lm_head"
                if segment.layer is None
                else f"model.layers.{segment.layer}.{names[matrix.role]}"
            )
            weight = tensors[f"{name}.weight"].double()
            scale = 1 / weight.abs().mean().clamp(min=1e-5)
            trits = (weight * scale).round().clamp(-1, 1)
            assert np.array_equal(matrix.trits(), trits.numpy().astype(np.int8)), name
            assert matrix.absmean == pytest.approx(float(1 / scale), rel=2.0**-23)
            assert matrix.zeros() == pytest.approx(float((trits == 0).double().mean()))
            seen += 1
    assert seen == 6 * 3 + 1


def test_gains_bounds_and_embedding(tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE)
    tape = exported(tmp_path, tensors)
    glu = tape.segments[2]
    assert glu.norm is not None
    before = tensors["model.layers.0.mlp_norm.weight"].double().numpy()
    own = tensors["model.layers.0.mlp.gate_proj.norm.weight"].double().numpy()
    assert np.allclose(
        glu.norm.values * 2.0**-glu.norm.fraction_bits, before, atol=2.0**-15 * np.abs(before).max()
    )
    gain = glu.matrices[0].gain
    assert np.allclose(
        gain.values * 2.0**-gain.fraction_bits,
        before * own,
        atol=2.0**-23 * np.abs(before * own).max(),
    )
    down = tape.segments[3]
    assert down.norm is None
    gain = down.matrices[0].gain
    assert np.array_equal(
        gain.values * 2.0**-gain.fraction_bits,
        tensors["model.layers.0.mlp.down_proj.norm.weight"].double().numpy(),
    ), "a bf16 gain alone is exact"
    shares = tensors["model.lower_bounds"].double().softmax(0)
    bounds = (shares.cumsum(0) - shares[0]).numpy()
    assert np.abs(tape.array("lower_bounds") * 2.0**-20 - bounds).max() <= 2.0**-21 + 1e-12
    assert not tape.array("lower_bounds")[0].any()
    table = tensors["model.embeddings.weight"].double().numpy()
    rows = (
        tape.array("embedding/rows")
        * (tape.array("embedding/scale") * 2.0**-tape.embedding_fb)[:, None]
    )
    assert (np.abs(rows - table) <= np.abs(table).max(axis=1, keepdims=True) / 253).all(), (
        "8 bits for each row"
    )


def test_shards_make_no_difference(tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE)
    one = exported(tmp_path / "one", tensors)
    assert [exported(tmp_path / str(n), tensors, n).sha256 for n in (2, 5)] == [one.sha256] * 2
    written = export_published(tmp_path / "one" / "c", tmp_path / "again.tape")
    assert written.sha256 == one.sha256
    assert written.bytes == one.num_bytes == (tmp_path / "again.tape").stat().st_size


def test_rows_of_very_different_size_keep_their_precision(tmp_path: Path) -> None:
    """One scale per row: an untrained row of the vocabulary is as exact as a large one."""
    tensors = checkpoint_tensors(SHAPE)
    tensors["model.embeddings.weight"][3] *= 2.0**-7
    tensors["model.embeddings.weight"][5] = 0
    tape = exported(tmp_path, tensors)
    table = tensors["model.embeddings.weight"].double().numpy()
    rows = (
        tape.array("embedding/rows")
        * (tape.array("embedding/scale") * 2.0**-tape.embedding_fb)[:, None]
    )
    assert np.abs(rows[3] - table[3]).max() <= np.abs(table[3]).max() / 240
    assert not rows[5].any()


def test_a_matrix_of_zeros_or_tiny_weights_has_the_smallest_scale(tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE)
    tensors["model.layers.0.attn.i_proj.weight"][:] = 0
    tensors["model.layers.0.attn.f_proj.weight"][:] = 6e-6
    tape = exported(tmp_path, tensors)
    i, f, _ = tape.segments[0].matrices
    assert i.absmean == pytest.approx(1e-5, rel=1e-6)
    assert not i.trits().any()
    assert f.absmean == pytest.approx(1e-5, rel=1e-6)
    assert (f.trits() == 1).all(), "6e-6 is above half of 1e-5"
    assert (i.zeros(), f.zeros()) == (1.0, 0.0)


def test_half_of_the_mean_is_rounded_to_even(tmp_path: Path) -> None:
    """mean 2, so weights of magnitude 1 lie at the half: 0."""
    tensors = checkpoint_tensors(SHAPE)
    weight = torch.tensor([1.0, -3.0]).repeat(24, 12)
    tensors["model.layers.0.attn.i_proj.weight"] = weight.to(torch.bfloat16)
    write_checkpoint(tmp_path, SHAPE, tensors)
    trits, absmean = quantize_matrix(Tensors(tmp_path), "model.layers.0.attn.i_proj.weight")
    assert absmean == 2.0
    assert trits[0].tolist() == [0, -1] * 12


def test_a_weight_is_compared_with_the_half_itself(tmp_path: Path) -> None:
    """Half of the mean lies between two float32 here, and the weight nearest to it is above it."""
    x = np.float32(0.1)
    weight = torch.full((24, 24), 2 * float(x))
    # The sum is 2 x for each weight, less a step of float32.
    weight[0, :2] = torch.from_numpy(np.array([x, np.nextafter(3 * x, np.float32(0))]))
    half = float(weight.double().mean()) / 2
    assert half < float(x)
    assert np.float32(half) == x, "as float32 they are one"
    tensors = {name: tensor.float() for name, tensor in checkpoint_tensors(SHAPE).items()}
    tensors["model.layers.0.attn.i_proj.weight"] = weight
    write_checkpoint(tmp_path, SHAPE, tensors)
    trits, _ = quantize_matrix(Tensors(tmp_path), "model.layers.0.attn.i_proj.weight")
    assert trits[0, 0] == 1


def test_constants() -> None:
    for absmean, fan_in in ((1e-5, 1), (0.02, 1024), (1000.0, 65535), (127.0, 1)):
        mantissa, exponent = matrix_constant(absmean, fan_in)
        assert 2**23 <= mantissa < 2**24
        assert mantissa * 2.0**exponent == pytest.approx(absmean * fan_in**0.5 / 127, rel=2.0**-24)
    values, fraction_bits = quantize_gain("x", np.array([1.0, -0.25]))
    assert (values.tolist(), fraction_bits) == ([1 << 22, -(1 << 20)], 22)
    values, fraction_bits = quantize_gain("x", np.zeros(2))
    assert not values.any()
    with pytest.raises(PublishedError, match=r"x: gains must stay below .*, found 1e\+30"):
        quantize_gain("x", np.array([1e30]))


def test_what_is_added_under_a_root() -> None:
    for kind, fan_in, eps, expected in (
        ("gates", 1024, 1e-6, 1024e-12),
        ("output", 5, 0.5, 2.5e-6),
        ("head", 65535, 1.0, 65535e-6),
        ("glu", 1, 1e-12, 1e-18),
        ("down", 2816, 0.5, 2816e-6),  # whatever the config says
    ):
        mantissa, exponent = offset_constant(kind, fan_in, eps)
        assert 2**23 <= mantissa < 2**24
        assert mantissa * 2.0**exponent == pytest.approx(expected, rel=2.0**-24)
        assert OFFSET_EXPONENT_RANGE[0] <= exponent <= OFFSET_EXPONENT_RANGE[1]


def test_a_mantissa_that_rounds_up_to_the_next_power_of_two_carries() -> None:
    """25 ones are not 24: 2^24, which is 2^23 of twice the value."""
    for exponent in (-20, 0, 7):
        below = 127 * (1 - 2.0**-26) * 2.0**exponent
        assert matrix_constant(below, 1) == (1 << 23, exponent - 23)
        largest = 127 * (1 - 2.0**-24) * 2.0**exponent
        assert matrix_constant(largest, 1) == ((1 << 24) - 1, exponent - 24)


def test_a_gain_takes_the_most_fraction_bits_with_which_it_rounds_to_fit() -> None:
    for largest, fraction_bits, whole in (
        (8388607.25, 0, 8388607),
        (8388607.5, -1, 4194304),  # to even: 2^23, which 24 bits do not hold
        (4194303.625, 1, 8388607),
        (-4194303.75, 0, -4194304),  # magnitudes count: -2^23 would fit
    ):
        values, found = quantize_gain("x", np.array([0.0, largest]))
        assert (found, values.tolist()) == (fraction_bits, [0, whole])


def test_the_embeddings_scale_fits_16_bits_and_no_finer_one_does(tmp_path: Path) -> None:
    """65,535 steps of 127 of the finest scale; 1 more needs one bit less."""
    last = 127 * 65535
    for largest, fraction_bits, scale in (
        (last / 2**14, 14, 65535),
        ((last + 1) / 2**14, 13, 32768),
    ):
        tensors = {name: tensor.float() for name, tensor in checkpoint_tensors(SHAPE).items()}
        tensors["model.embeddings.weight"][:] = 0
        tensors["model.embeddings.weight"][3, 1] = -largest
        tape = exported(tmp_path / str(scale), tensors)
        assert (tape.embedding_fb, tape.array("embedding/scale")[3]) == (fraction_bits, scale)
        assert tape.array("embedding/rows")[3, 1] == -127
        assert not np.delete(tape.array("embedding/scale"), 3).any()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "model.embeddings.weight",
            1e30,
            r"model\.embeddings\.weight: values must stay below 4064, found",
        ),
        ("model.layers.1.attn.o_proj.weight", 5000.0, "weights must stay within 1024, found 4992"),
        (
            "model.layers.2.mlp.down_proj.weight",
            float("nan"),
            "tensor model.layers.2.mlp.down_proj.weight: every value",
        ),
        (
            "lm_head.norm.weight",
            float("inf"),
            r"tensor lm_head\.norm\.weight: every value must be finite",
        ),
    ],
)
def test_what_cannot_be_exported_leaves_everything_as_it_was(
    name: str, value: float, message: str, tmp_path: Path
) -> None:
    """Also when the error comes late: an older tape stays, no temporary file is left."""
    tensors = checkpoint_tensors(SHAPE)
    tensors[name].view(-1)[-1] = value
    write_checkpoint(tmp_path / "c", SHAPE, tensors)
    out = tmp_path / "out" / "a.tape"
    out.parent.mkdir()
    out.write_bytes(b"older")
    with pytest.raises(PublishedError, match=message):
        export_published(tmp_path / "c", out)
    assert [path.name for path in out.parent.iterdir()] == ["a.tape"]
    assert out.read_bytes() == b"older"


def tokenizers_file(folder: Path, size: int) -> bytes:
    """A tokenizer.json of ``size`` tokens, one of them added afterwards."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordLevel

    vocab = {f"word{number}": number for number in range(size - 1)}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="word0"))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return (folder / "tokenizer.json").read_bytes()


def sentencepiece_file(folder: Path, size: int) -> bytes:
    """A tokenizer.model of ``size`` pieces, with byte fallback off, trained on digits."""
    from sentencepiece import SentencePieceTrainer

    (folder / "text").write_text("\n".join(str(number**3) for number in range(400)))
    SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=size,
        model_type="bpe",
        minloglevel=3,
    )
    (folder / "text").unlink()
    return (folder / "tokenizer.model").read_bytes()


def test_tokenizers_travel_with_the_tape(tmp_path: Path) -> None:
    assert read_tokenizer(tmp_path, 40) == {"kind": "none"}
    model = sentencepiece_file(tmp_path, 40)
    found = read_tokenizer(tmp_path, 40)
    assert found == {"kind": "sentencepiece", "data": model}
    write_checkpoint(tmp_path, SHAPE, checkpoint_tensors(SHAPE))
    export_published(tmp_path, tmp_path / "a.tape")
    assert AbsmaxTape(tmp_path / "a.tape").tokenizer == found
    text = tokenizers_file(tmp_path, 40)
    found = read_tokenizer(tmp_path, 40)
    assert found == {"kind": "tokenizers", "data": text}
    export_published(tmp_path, tmp_path / "b.tape")
    assert AbsmaxTape(tmp_path / "b.tape").tokenizer == found


def test_a_tokenizer_that_cannot_be_carried_is_refused(tmp_path: Path) -> None:
    text = tokenizers_file(tmp_path, 40)
    (tmp_path / "tokenizer.json").write_bytes(text + b" " * LARGEST_BYTES)
    with pytest.raises(
        PublishedError,
        match=r"tokenizer\.json: .*has 67,1\d\d,\d\d\d bytes; a model carries at most 67,108,864",
    ):
        read_tokenizer(tmp_path, 40)


def test_a_tokenizer_that_disagrees_is_refused(tmp_path: Path) -> None:
    sentencepiece_file(tmp_path, 39)
    tokenizers_file(tmp_path, 41)
    for size, message in (
        (
            40,
            "has 41 tokens, with ids up to 40, but vocab_size of config.json is 40: is it another",
        ),
        (
            41 + 1024,
            "has 41 tokens, but vocab_size of config.json is 1065: at most 1023 ids can be",
        ),
    ):
        with pytest.raises(PublishedError, match=r"tokenizer\.json: " + re.escape(message)):
            read_tokenizer(tmp_path, size, 1)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(PublishedError, match=r"tokenizer\.model: has 39 tokens, with ids up to 38"):
        read_tokenizer(tmp_path, 38)
    for name, content in (
        ("tokenizer.json", json.dumps({"a": 1})),
        ("tokenizer.json", "\udcff"),
        ("tokenizer.model", "x"),
    ):
        (tmp_path / "tokenizer.json").unlink(missing_ok=True)
        (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(PublishedError, match=rf"{name}: not a tokenizer"):
            read_tokenizer(tmp_path, 40)


def test_a_model_without_lower_bounds(tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE)
    del tensors["model.lower_bounds"]
    write_checkpoint(tmp_path, SHAPE, tensors, use_lower_bound=False)
    export_published(tmp_path, tmp_path / "a.tape")
    assert not AbsmaxTape(tmp_path / "a.tape").array("lower_bounds").any()


def test_ids_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    """A gap in the ids, or a start token that no file names, would read beyond the embedding.

    If the checkpoint names a start token, that is taken.
    """
    tokenizers_file(tmp_path, 40)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    data["model"]["vocab"]["word38"] = 500
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(
        PublishedError,
        match=r"has 40 tokens, with ids up to 500, but vocab_size of config\.json is 40",
    ):
        read_tokenizer(tmp_path, 40, 1)
    tokenizers_file(tmp_path, 40)
    text = (tmp_path / "tokenizer.json").read_text().replace("<s>", "<x>")
    (tmp_path / "tokenizer.json").write_text(text)
    for size in (40, 48):
        with pytest.raises(PublishedError, match=r"names no start token: .* in bos_token_id of"):
            read_tokenizer(tmp_path, size)
        assert read_tokenizer(tmp_path, size, 1)["kind"] == "tokenizers"


def padding_wins(folder: Path, tokens: int, **config: Any) -> Path:
    """A checkpoint with more ids than its tokenizer has tokens, which finds those the likeliest."""
    shape = replace(SHAPE, vocab_size=tokens + 6)
    tensors = checkpoint_tensors(shape)
    head = tensors["lm_head.weight"]
    head[tokens : tokens + 3], head[tokens + 3 :] = 3 * head[2:5], -3 * head[2:5]
    return write_checkpoint(folder, shape, tensors, **config)


@pytest.mark.parametrize("write", [tokenizers_file, sentencepiece_file])
def test_padding_of_a_vocabulary_is_never_chosen(
    write: Callable[[Path, int], bytes], tmp_path: Path
) -> None:
    folder = padding_wins(tmp_path / "padded", 40, eos_token_id=None)
    write(folder, 40)
    export_published(folder, tmp_path / "a.tape")
    prompt = "word3" if write is tokenizers_file else "123"
    for path, name in ((folder, "float"), (folder, "golden"), (tmp_path / "a.tape", "golden")):
        backend = load_backend(path, name)
        ids = np.array([backend.tokenizer.encode(prompt)])
        logits, _ = backend.run(ids, backend.state(1))
        assert logits.shape[-1] == 46, "scores are those of the whole head, as the model computes"
        assert (logits.argmax(axis=-1) >= 40).any(), "it would be chosen"
        assert (most_likely(backend, logits) < 40).all()
        for temperature in (0.0, 2.0):
            rows = [
                row
                for _, chosen in generate(backend, prompt, 20, temperature=temperature)
                for row in chosen
            ]
            assert len(rows) == 20
            assert max(rows) < 40
            assert len(set(rows)) > 1


def test_ids_that_a_tokenizer_leaves_out_are_padding_too(tmp_path: Path) -> None:
    """But for those that the config names: they begin or end a text."""
    folder = padding_wins(tmp_path, 40, bos_token_id=41, eos_token_id=[42, 44])
    tokenizers_file(folder, 40)
    data = json.loads((folder / "tokenizer.json").read_text())
    del data["model"]["vocab"]["word7"]
    data["added_tokens"] = []
    (folder / "tokenizer.json").write_text(json.dumps(data))
    choosable = load_backend(folder, "float").choosable
    assert choosable is not None
    assert np.flatnonzero(~choosable).tolist() == [7, 39, 40, 43, 45]


def test_bytes_leave_the_rest_of_a_vocabulary_unused(tmp_path: Path) -> None:
    folder = padding_wins(tmp_path, 256)
    export_published(folder, tmp_path / "a.tape", tokenizer={"kind": "bytes"})
    backend = load_backend(tmp_path / "a.tape")
    assert backend.choosable is not None
    assert backend.choosable.sum() == 256
    rows = [row for _, chosen in generate(backend, "ab", 20, temperature=0) for row in chosen]
    assert max(rows) < 256


@pytest.mark.parametrize(("ends", "kept"), [(3, 3), ([3], 3), ([9, 3, 9], [3, 9]), (None, None)])
def test_a_tape_carries_every_end_token(ends: Any, kept: Any, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, SHAPE, checkpoint_tensors(SHAPE), eos_token_id=ends)
    export_published(tmp_path, tmp_path / "a.tape")
    tape = AbsmaxTape(tmp_path / "a.tape")
    assert tape.config.to_dict()["eos_token_id"] == kept
    assert tape.end_ids == ((kept,) if isinstance(kept, int) else tuple(kept or ()))


def test_a_tape_whose_tokenizer_has_more_ids_than_its_model_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, SHAPE, checkpoint_tensors(SHAPE))
    data = tokenizers_file(tmp_path, SHAPE.vocab_size + 5)
    export_published(tmp_path, tmp_path / "a.tape", tokenizer={"kind": "tokenizers", "data": data})
    with pytest.raises(
        InputError,
        match=(
            rf"a\.tape: its tokenizer has ids up to {SHAPE.vocab_size + 4}, its model"
            rf" {SHAPE.vocab_size} words"
        ),
    ):
        load_backend(tmp_path / "a.tape")


def test_sequences_begin_as_the_checkpoint_says(tmp_path: Path) -> None:
    tokenizers_file(tmp_path, SHAPE.vocab_size)
    starts = []
    for name, changes in (("a", {}), ("b", {"bos_token_id": 7}), ("c", {"bos_token_id": None})):
        write_checkpoint(tmp_path, SHAPE, checkpoint_tensors(SHAPE), **changes)
        export_published(tmp_path, tmp_path / f"{name}.tape")
        starts.append(
            GoldenBackend(AbsmaxTape(tmp_path / f"{name}.tape")).tokenizer.encode("word3")[0]
        )
    assert starts == [
        1,
        7,
        SHAPE.vocab_size - 1,
    ], "the config's default, another, and the tokenizer's own <s>"
