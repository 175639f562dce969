"""Published checkpoints as folders: what is read, and one clear error for everything else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import mmfree.published.tensors
from mmfree.errors import InputError
from mmfree.published.export import export_published
from mmfree.published.hgrn_bit import expected_tensors, model_type, open_checkpoint, read_config
from mmfree.published.model import load_published
from mmfree.published.tensors import PublishedError, Tensors
from tests.support.published_checkpoints import (
    SHAPE_370M,
    Shape,
    checkpoint_tensors,
    config_of,
    write_checkpoint,
)

SHAPE = Shape(vocab_size=12, hidden_size=8, num_layers=2)


def config_folder(folder: Path, **changes: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config_of(SHAPE, **changes)))
    return folder


@pytest.mark.parametrize(
    ("hidden", "layers", "intermediate", "ternary", "parameters", "state"),
    [
        (1024, 24, 2816, 341_049_344, 374_108_160, 24_576),
        (2048, 24, 5632, 1_298_661_376, 1_364_779_008, 49_152),
        (2560, 32, 6912, 2_619_473_920, 2_702_357_504, 81_920),
    ],
    ids=["370M", "1.3B", "2.7B"],
)
def test_the_three_published_shapes(
    hidden: int,
    layers: int,
    intermediate: int,
    ternary: int,
    parameters: int,
    state: int,
    tmp_path: Path,
) -> None:
    """Sizes follow from config.json as the released code derives them."""
    config_folder(tmp_path, hidden_size=hidden, num_hidden_layers=layers, vocab_size=32000)
    config = read_config(tmp_path)
    assert config.intermediate_size == intermediate
    assert config.num_ternary_weights == ternary
    assert config.num_parameters == parameters
    assert config.num_state_words == state
    tensors = expected_tensors(config, lower_bounds=True)
    assert sum(int(np.prod(shape)) for shape in tensors.values()) == parameters
    assert tensors["model.layers.3.mlp.gate_proj.weight"] == (2 * intermediate, hidden)
    assert tensors["model.layers.0.mlp.down_proj.norm.weight"] == (intermediate,)


def test_expected_tensors_are_those_of_a_checkpoint(tmp_path: Path) -> None:
    config = read_config(config_folder(tmp_path))
    tensors = checkpoint_tensors(SHAPE)
    assert expected_tensors(config, True) == {name: tuple(t.shape) for name, t in tensors.items()}
    assert set(tensors) - set(expected_tensors(config, False)) == {"model.lower_bounds"}
    assert SHAPE_370M.hidden_size == 1024


def test_config_fields(tmp_path: Path) -> None:
    config = read_config(
        config_folder(tmp_path, rms_norm_eps=1e-5, intermediate_size=40, bos_token_id=None)
    )
    assert (
        config.norm_eps,
        config.intermediate_size,
        config.bos_token_id,
        config.eos_token_id,
    ) == (1e-5, 40, None, 2)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "bitnet",
            (
                "model_type 'bitnet' cannot become a tape: its attention multiplies activations"
                " with activations"
            ),
        ),
        (
            "llama",
            (
                "model_type 'llama' cannot become a tape: its attention multiplies activations with"
                " activations"
            ),
        ),
        (
            "gpt2",
            "model_type 'gpt2' cannot .* multiply activations with activations; only 'hgrn_bit'",
        ),
    ],
)
def test_other_model_types_are_refused_by_name(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match=message):
        read_config(config_folder(tmp_path, model_type=kind))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_short_conv": True}, "use_short_conv must be False, got True"),
        ({"expand_ratio": 2}, "expand_ratio must be 1, got 2"),
        ({"hidden_act": "relu"}, "hidden_act must be 'swish' or 'silu', got 'relu'"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings must be False"),
        ({"use_lower_bound": "yes"}, "use_lower_bound must be True or False, got 'yes'"),
        ({"hidden_size": "8"}, "hidden_size must be an integer, got '8'"),
        ({"hidden_size": 0}, r"hidden_size must be an integer in 1\.\.65535, got 0"),
        ({"hidden_ratio": 0}, r"hidden_ratio must be an integer in 1\.\.64, got 0"),
        ({"hidden_ratio": -1}, r"hidden_ratio must be an integer in 1\.\.64, got -1"),
        (
            {"intermediate_size": 2.5},
            r"intermediate_size must be an integer in 1\.\.65535, got 2\.5",
        ),
        ({"rms_norm_eps": None}, "rms_norm_eps must be a number, got None"),
        ({"rms_norm_eps": 10**18}, "norm_eps must be a number in 1e-12"),
        ({"rms_norm_eps": 0}, "norm_eps must be a number in 1e-12"),
        ({"bos_token_id": [1]}, r"bos_token_id must be null or in 0\.\.11, got \[1\]"),
        ({"eos_token_id": 12}, r"eos_token_id must be null, in 0\.\.11, or a list of such, got 12"),
        ({"eos_token_id": [2, 12]}, r"eos_token_id must be null, .* got \[2, 12\]"),
        ({"eos_token_id": [[2]]}, r"eos_token_id must be null, .* got \[\[2\]\]"),
        ({"eos_token_id": True}, r"eos_token_id must be null, .* got True"),
        ({"eos_token_id": "2"}, r"eos_token_id must be null, .* got '2'"),
    ],
)
def test_configs_that_no_tape_holds_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PublishedError, match=rf"config\.json: .*{message}"):
        read_config(config_folder(tmp_path, **changes))


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        (2, None, (2,)),
        (None, None, ()),
        ([5, 2, 5], None, (2, 5)),
        ([2], None, (2,)),
        ([], None, ()),
        (2, {"eos_token_id": [7, 3]}, (3, 7)),
        (None, {"eos_token_id": 4}, (4,)),
        (2, {"eos_token_id": None}, ()),
        (2, {"max_length": 30}, (2,)),
    ],
)
def test_end_tokens_are_those_of_the_generation_config_if_it_names_some(
    config: Any, generation: Any, ends: tuple[int, ...], tmp_path: Path
) -> None:
    config_folder(tmp_path, eos_token_id=config)
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert read_config(tmp_path).end_ids == ends


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"eos_token_id": 12}', "eos_token_id must be null, in 0"),
        ("[2]", "expected a JSON object, got list"),
        ("{", "not valid JSON"),
    ],
)
def test_a_generation_config_that_cannot_be_used_is_named(
    text: str, message: str, tmp_path: Path
) -> None:
    config_folder(tmp_path)
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(InputError, match=rf"generation_config\.json: .*{message}") as error:
        read_config(tmp_path)
    assert "/config.json" not in str(error.value)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    data = config_of(SHAPE)
    del data["vocab_size"]
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(PublishedError, match=r"config\.json: missing field 'vocab_size'"):
        read_config(tmp_path)


def test_model_type_of_folders(tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match=r"no checkpoint: config\.json is missing"):
        model_type(tmp_path)
    for text in ("{broken", "[" * 100_000, f'{{"rms_norm_eps": {10**400}}}', '{"a": 1e999}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match=r"config\.json: not valid JSON"):
            model_type(tmp_path)
    for text in (
        '{"model": {}, "recipe": {}}',
        "[]",
        '{"model": {}, "recipe": {}, "model_type": "x"}',
    ):
        (tmp_path / "config.json").write_text(text)
        assert model_type(tmp_path) is None
    assert model_type(config_folder(tmp_path)) == "hgrn_bit"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_value_is_read_exactly(dtype: torch.dtype, shards: int, tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE, dtype=dtype)
    read = Tensors(write_checkpoint(tmp_path, SHAPE, tensors, shards=shards))
    read.check({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    for name, tensor in tensors.items():
        assert np.array_equal(read.read(name), tensor.double().numpy()), name


def test_large_tensors_come_in_blocks(tmp_path: Path) -> None:
    tensor = torch.randn(700, 3000).to(torch.bfloat16)
    save_file({"lm_head.a": tensor, "b": tensor[0].clone()}, tmp_path / "model.safetensors")
    blocks = list(Tensors(tmp_path).blocks("lm_head.a"))
    assert [len(block) for block in blocks] == [349, 349, 2]
    assert np.array_equal(np.concatenate(blocks), tensor.float().numpy())


def changed(tensors: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    merged = tensors | changes
    return {name: tensor for name, tensor in merged.items() if tensor is not None}


@pytest.mark.parametrize("shards", [1, 2])
def test_tensors_that_differ_are_named_with_their_shapes(shards: int, tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE)
    expected = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    key = "model.layers.1.attn.f_proj.weight"
    for number, (changes, message) in enumerate(
        (
            ({key: None}, rf"tensor {key} of shape \(8, 8\) is missing"),
            (
                {key: torch.zeros(8, 9)},
                rf"tensor {key} has shape \(8, 9\), the config needs \(8, 8\)",
            ),
            ({"model.extra": torch.zeros(3)}, r"unexpected tensor model\.extra of shape \(3,\)"),
        )
    ):
        folder = write_checkpoint(
            tmp_path / str(number), SHAPE, changed(tensors, **changes), shards=shards
        )
        with pytest.raises(PublishedError, match=message):
            Tensors(folder).check(expected)


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: name.removeprefix("model."),
        lambda name: f"_orig_mod.{name.removeprefix('model.')}",
        lambda name: re.sub(r"layers\.\d+", r"\g<0>._orig_mod", name),
    ],
    ids=["compiled", "ddp", "both", "bare", "compiled bare", "compiled layers"],
)
def test_names_of_wrapped_and_bare_models_are_understood(
    rename: Callable[[str], str], shards: int, tmp_path: Path
) -> None:
    tensors = checkpoint_tensors(SHAPE)
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    assert set(renamed) != set(tensors)
    read = Tensors(write_checkpoint(tmp_path, SHAPE, renamed, shards=shards))
    read.check({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    for name, tensor in tensors.items():
        assert np.array_equal(read.read(name), tensor.double().numpy()), name


def test_a_tensor_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE)
    twice = tensors | {"_orig_mod.model.norm.weight": tensors["model.norm.weight"] + 1}
    with pytest.raises(
        PublishedError,
        match=r"model\.safetensors: tensors .*norm\.weight and .*norm\.weight are both"
        r" model\.norm\.weight: keep one",
    ):
        Tensors(write_checkpoint(tmp_path, SHAPE, twice))


def test_errors_name_tensors_as_the_file_does(tmp_path: Path) -> None:
    tensors = {f"_orig_mod.{name}": tensor for name, tensor in checkpoint_tensors(SHAPE).items()}
    expected = expected_tensors(read_config(config_folder(tmp_path)), True)
    tensors["_orig_mod.lm_head.weight"] = torch.zeros(3, 8)
    with pytest.raises(PublishedError, match=r"tensor _orig_mod\.lm_head\.weight has shape"):
        Tensors(write_checkpoint(tmp_path, SHAPE, tensors)).check(expected)


def test_a_whole_file_comes_before_shards_that_are_left_beside_it(tmp_path: Path) -> None:
    """As transformers reads such a folder: the index is from before."""
    old, new = checkpoint_tensors(SHAPE), checkpoint_tensors(SHAPE, seed=1)
    write_checkpoint(tmp_path, SHAPE, old, shards=2)
    write_checkpoint(tmp_path, SHAPE, new)
    read = Tensors(tmp_path)
    for name, tensor in new.items():
        assert np.array_equal(read.read(name), tensor.double().numpy()), name
    (tmp_path / "model.safetensors.index.json").write_text("{")
    assert len(Tensors(tmp_path)) == len(new), "nothing of it is read"


def test_values_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    for number, value in enumerate((float("nan"), float("-inf"))):
        tensors = checkpoint_tensors(SHAPE)
        tensors["lm_head.weight"][3, 2] = value
        read = Tensors(write_checkpoint(tmp_path / str(number), SHAPE, tensors))
        message = (
            r"tensor lm_head\.weight: every value must be finite, found 1 NaN or infinite in rows"
            r" 0\.\.11"
        )
        with pytest.raises(PublishedError, match=message):
            list(read.blocks("lm_head.weight"))


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    with pytest.raises(
        PublishedError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json$"
    ):
        Tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(
        PublishedError, match=r"pytorch_model\.bin is a pickle, which can run any code: convert it"
    ):
        Tensors(tmp_path)


def test_an_index_that_does_not_hold(tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE)
    folder = write_checkpoint(tmp_path, SHAPE, tensors, shards=2)
    index_path = folder / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    first, second = sorted(set(index["weight_map"].values()))

    def error_with(weight_map: Any) -> str:
        index_path.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(PublishedError) as error:
            Tensors(folder)
        return str(error.value)

    name = next(iter(tensors))
    assert "names the file 'model-3.safetensors', which is missing" in error_with(
        {name: "model-3.safetensors"}
    )
    assert "names the file '../x', which is missing" in error_with({name: "../x"})
    assert "expected an object with weight_map" in error_with([1])
    assert "expected an object with weight_map" in error_with({name: 3})
    assert f"places tensor ghost in {first}, which does not hold it" in error_with(
        index["weight_map"] | {"ghost": first}
    )
    assert f"holds tensor {name}, which" in error_with(index["weight_map"] | {name: second})
    index_path.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        Tensors(folder)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE)
    path = write_checkpoint(tmp_path, SHAPE, tensors) / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])

    def error_with(content: bytes) -> str:
        path.write_bytes(content)
        with pytest.raises(PublishedError) as error:
            Tensors(tmp_path)
        return str(error.value)

    def with_header(changes: Any) -> bytes:
        text = json.dumps(changes).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    name = "model.norm.weight"
    assert "it is truncated" in error_with(data[:-1])
    for content in (b"", b"abc", data[:9], b"\xff" * 40):
        assert "not a safetensors file, or truncated" in error_with(content)
    assert "damaged safetensors header" in error_with(data[:8] + b"}" * size + data[8 + size :])
    assert "header: not valid JSON: nested too deeply" in error_with(
        (100_000).to_bytes(8, "little") + b"[" * 200_000
    )
    assert "header: expected a JSON object, got list" in error_with(with_header([1]))
    for changes in (
        {"shape": None},
        {"shape": 8},
        {"shape": [2.0, 4]},
        {"shape": [-8]},
        {"shape": [-1]},
        {"data_offsets": [0, 1, 2]},
        {"data_offsets": [0.0, 16.0]},
        {"data_offsets": [-16, 0]},
        {"data_offsets": [-1, 15]},
        {"dtype": ["BF16"]},
    ):
        info = {key: value for key, value in (header[name] | changes).items() if value is not None}
        assert f"header: tensor {name} needs dtype, shape and data_offsets, got {{" in error_with(
            with_header(header | {name: info})
        )
    assert "the integer 1000" in error_with(
        with_header(header | {name: header[name] | {"shape": [10**40]}})
    )
    other = header | {name: header[name] | {"dtype": "F64"}}
    assert f"tensor {name} is of type F64; only BF16, F16, F32 are read" in error_with(
        with_header(other)
    )
    other = header | {name: header[name] | {"shape": [9]}}
    assert "its data of 18 bytes is not within the file" in error_with(with_header(other))


@pytest.mark.parametrize(
    ("hidden", "changes", "intermediate"),
    [
        (1000, {}, 2816),  # 2,666.7, cut to 2,666, then the next multiple of 256
        (96, {}, 256),  # 256 itself
        (97, {}, 512),
        (1024, {"hidden_ratio": 3}, 2048),
        (1024, {"hidden_ratio": None}, 2816),
        (1024, {"hidden_ratio": 1}, 768),
        (1024, {"intermediate_size": 40, "hidden_ratio": 3}, 40),
    ],
)
def test_the_intermediate_size_follows_from_the_ratio(
    hidden: int, changes: dict[str, Any], intermediate: int, tmp_path: Path
) -> None:
    config = read_config(config_folder(tmp_path, hidden_size=hidden, **changes))
    assert config.intermediate_size == intermediate


def test_what_a_config_leaves_out_is_as_the_released_code_has_it(tmp_path: Path) -> None:
    """Also silu is swish."""
    data = config_of(SHAPE, hidden_act="silu")
    for name in (
        *("expand_ratio", "use_short_conv", "tie_word_embeddings", "use_lower_bound"),
        *("hidden_ratio", "intermediate_size", "rms_norm_eps", "bos_token_id", "eos_token_id"),
    ):
        del data[name]
    (tmp_path / "config.json").write_text(json.dumps(data))
    config = read_config(tmp_path)
    assert (config.intermediate_size, config.norm_eps) == (256, 1e-6)
    assert (config.bos_token_id, config.eos_token_id) == (None, None)
    save_file(checkpoint_tensors(SHAPE), tmp_path / "model.safetensors")
    _, read = open_checkpoint(tmp_path)
    assert "model.lower_bounds" in read
    (tmp_path / "config.json").write_text(json.dumps(data | {"use_moe": True}))
    with pytest.raises(PublishedError, match="use_moe must be False, got True"):
        read_config(tmp_path)


def backwards(path: Path) -> None:
    """Write a JSON file's objects in the opposite order."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return value

    path.write_text(json.dumps(turned(json.loads(path.read_text()))))


def test_the_order_of_names_means_nothing(tmp_path: Path) -> None:
    """In config, index and headers."""
    tensors = checkpoint_tensors(SHAPE)
    for name, order in (("a", list(tensors)), ("b", list(reversed(tensors)))):
        write_checkpoint(tmp_path / name, SHAPE, {key: tensors[key] for key in order}, shards=2)
        export_published(tmp_path / name, tmp_path / f"{name}.tape")
    folder = tmp_path / "b"
    for file in ("config.json", "model.safetensors.index.json"):
        backwards(folder / file)
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        (folder / "header").write_bytes(data[8 : 8 + size])
        backwards(folder / "header")
        text = (folder / "header").read_bytes()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    export_published(folder, tmp_path / "c.tape")
    tapes = [(tmp_path / f"{name}.tape").read_bytes() for name in "abc"]
    assert tapes[0] == tapes[1] == tapes[2]


def test_whatever_the_size_of_blocks_the_model_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of two rows, of a row that is longer, and of all rows."""
    folder = write_checkpoint(tmp_path / "model", SHAPE, checkpoint_tensors(SHAPE))
    export_published(folder, tmp_path / "whole.tape")
    whole = load_published(folder).state_dict()
    for values in (16, 5):
        monkeypatch.setattr(mmfree.published.tensors, "_CHUNK", values)
        assert len(list(Tensors(folder).blocks("lm_head.weight"))) == (6 if values == 16 else 12)
        export_published(folder, tmp_path / "a.tape")
        assert (tmp_path / "a.tape").read_bytes() == (tmp_path / "whole.tape").read_bytes()
        parts = load_published(folder).state_dict()
        assert all(torch.equal(tensor, whole[name]) for name, tensor in parts.items())


def test_rows_that_are_not_finite_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmfree.published.tensors, "_CHUNK", 16)
    tensors = checkpoint_tensors(SHAPE)
    tensors["lm_head.weight"][5, :3] = float("inf")
    read = Tensors(write_checkpoint(tmp_path, SHAPE, tensors))
    with pytest.raises(PublishedError, match=r"found 3 NaN or infinite in rows 4\.\.5$"):
        list(read.blocks("lm_head.weight"))


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    tensors = checkpoint_tensors(SHAPE)
    folder = write_checkpoint(tmp_path, SHAPE, tensors)
    read = Tensors(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-2])
    cut = []
    for name in tensors:
        try:
            read.read(name)
        except PublishedError as error:
            cut.append(str(error))
    (message,) = cut
    assert re.fullmatch(rf"{path}: tensor \S+: the file ends too early", message)
