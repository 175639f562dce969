"""A model with ternary weights in llama.cpp, timed on demand: what llama_cpp.py compares with.

    python -m tools.speed.llama_worker --sizes 256 768 6 256      # by a Python with llama_cpp, gguf

The model: llama's architecture, random weights, every matrix in TQ2_0. Its attention and MLP have
as many weights as the MLGRU and GLU of the same sizes. On stdout a line of JSON that describes it,
then one for each line of stdin: "decode N" or "prompt N" -> the seconds of N positions, begun anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEAD_SIZE = 128
"""Of attention, in every model: of 64 it is slower."""

CONTEXT = 256
"""Positions that there is room for: no fewer are possible."""


def random_matrix(generator: np.random.Generator, rows: int, fan_in: int) -> NDArray[np.uint8]:
    """A matrix in TQ2_0, uint8 [rows, bytes]: blocks of 256 codes of 2 bits and a float16 scale."""
    codes = np.arange(256, dtype=np.uint8)
    # Four codes a byte; 3 is none.
    legal = codes[[all(byte >> shift & 3 < 3 for shift in (0, 2, 4, 6)) for byte in range(256)]]
    blocks = np.empty((rows, fan_in // 256, 66), dtype=np.uint8)
    blocks[:, :, :64] = legal[generator.integers(0, len(legal), blocks[:, :, :64].shape)]
    # Values stay as large as they are: two thirds of the weights are not 0.
    blocks[:, :, 64:] = np.array([(1.5 / fan_in) ** 0.5], dtype="<f2").view(np.uint8)
    return blocks.reshape(rows, -1)


def write_model(path: Path, sizes: list[int], seed: int) -> int:
    """Write a model in GGUF; its ternary weights."""
    from gguf import GGMLQuantizationType, GGUFWriter

    hidden, intermediate, layers, vocabulary = sizes
    generator = np.random.default_rng(seed)
    writer = GGUFWriter(path, "llama")
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("no_vocab")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(intermediate)
    writer.add_block_count(layers)
    writer.add_head_count(hidden // HEAD_SIZE)
    writer.add_head_count_kv(hidden // HEAD_SIZE)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_layer_norm_rms_eps(1e-6)
    shapes = {"output": (vocabulary, hidden)}
    gains = ["output_norm"]
    for layer in range(layers):
        block = f"blk.{layer}"
        shapes |= {f"{block}.attn_{name}": (hidden, hidden) for name in ("q", "k", "v", "output")}
        shapes |= {f"{block}.ffn_{name}": (intermediate, hidden) for name in ("gate", "up")}
        shapes[f"{block}.ffn_down"] = (hidden, intermediate)
        gains += [f"{block}.attn_norm", f"{block}.ffn_norm"]
    embedding = generator.standard_normal((vocabulary, hidden), dtype=np.float32)
    writer.add_tensor("token_embd.weight", embedding)
    for name in gains:
        writer.add_tensor(f"{name}.weight", np.ones(hidden, dtype=np.float32))
    for name, shape in shapes.items():
        matrix = random_matrix(generator, *shape)
        writer.add_tensor(f"{name}.weight", matrix, raw_dtype=GGMLQuantizationType.TQ2_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sum(rows * fan_in for rows, fan_in in shapes.values())


class Model:
    """A model that llama.cpp has loaded, with the settings that are fastest."""

    def __init__(self, path: Path, threads: int) -> None:
        import llama_cpp

        self._library = llama_cpp
        # Kept: the library calls it.
        self._log = llama_cpp.llama_log_callback(_say_errors)
        llama_cpp.llama_log_set(self._log, None)
        llama_cpp.llama_backend_init()
        settings = llama_cpp.llama_model_default_params()
        # Not the file mapped into memory: that has no huge pages.
        settings.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
        if model is None:
            sys.exit(f"error: llama.cpp does not load {path}")
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = context.n_batch = context.n_ubatch = CONTEXT
        context.n_threads = context.n_threads_batch = threads
        context.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        context.no_perf = True
        self._context = llama_cpp.llama_init_from_model(model, context)
        if self._context is None:
            sys.exit("error: llama.cpp makes no context")

    def decode(self, count: int) -> float:
        """Seconds of that many positions, one by one."""
        return self._play([1] * count)

    def prompt(self, count: int) -> float:
        """Seconds of that many positions at once, of which the last has logits."""
        return self._play([count])

    def _play(self, lengths: list[int]) -> float:
        library, context = self._library, self._context
        library.llama_memory_clear(library.llama_get_memory(context), False)
        # Kept while they are read.
        tokens = [(library.llama_token * length)(*range(length)) for length in lengths]
        batches = [library.llama_batch_get_one(part, len(part)) for part in tokens]
        before = time.perf_counter()
        for batch in batches:
            if library.llama_decode(context, batch):
                sys.exit("error: llama_decode fails")
        library.llama_synchronize(context)
        return time.perf_counter() - before


def _say_errors(level: int, text: bytes, _: object) -> None:
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        sys.stderr.write(text.decode(errors="replace"))


def main() -> None:
    """Describe the model, then obey stdin to its end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs=4,
        required=True,
        metavar=("D", "I", "L", "V"),
        help="hidden and intermediate size (multiples of 256), layers, vocabulary",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="(default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default 0)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        weights = write_model(path, options.sizes, options.seed)
        model = Model(path, options.threads)
    work = {"decode": model.decode, "prompt": model.prompt}
    print(json.dumps({"ternary_weights": weights}), flush=True)
    for line in sys.stdin:
        name, count = line.split()
        print(json.dumps({"seconds": work[name](int(count))}), flush=True)


if __name__ == "__main__":
    main()
