"""How close the golden model of published checkpoints comes to a float64 reading of them, and why.

    python -m tools.measure.published_agreement                 # random checkpoints, and random
                                                                # ones with outliers
    python -m tools.measure.published_agreement --folder DIR    # a checkpoint, ids drawn at random

Printed for each: relative error (root mean square over all logits) and agreement of the most likely
token, against float64 with the tape's embedding (so that only the arithmetic differs) and with the
checkpoint's own; of the float backend, the same formulas in float32; and, as a control, of float64
itself when only the residual and h are rounded to float32, float16 and bfloat16, as released code
stores them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import ChainMap
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmfree.golden.absmax import AbsmaxGolden
from mmfree.published.export import export_published
from mmfree.published.model import load_published
from mmfree.tape.absmax import AbsmaxTape
from tests.support.published.float_reading import FloatReading, Floats, Shards
from tests.support.published_checkpoints import (
    Shape,
    checkpoint_tensors,
    language_model_tensors,
    write_checkpoint,
)

SHAPES = (
    Shape(),
    Shape(vocab_size=256, hidden_size=64, intermediate_size=256, num_layers=4),
    Shape(vocab_size=512, hidden_size=256, intermediate_size=768, num_layers=6),
)
CHECKPOINTS = {"Gaussian": checkpoint_tensors, "as language models": language_model_tensors}
EMBEDDING = "model.embeddings.weight"


def rounded_to(dtype: torch.dtype) -> Callable[[Floats], Floats]:
    """A rounding of arrays to a torch type and back."""
    return lambda x: torch.from_numpy(x).to(dtype).double().numpy()


def compare(name: str, logits: Floats, reference: Floats) -> None:
    """Print relative error and agreement, over every logit."""
    if logits.shape != reference.shape or not logits.size:
        raise RuntimeError(f"{name}: logits of {logits.shape}, due are {reference.shape}")
    error = np.sqrt(((logits - reference) ** 2).mean() / (reference**2).mean())
    agreement = (logits.argmax(axis=-1) == reference.argmax(axis=-1)).mean()
    print(f"  {name:<52}{error:>10.1e}{100 * agreement:>8.1f} %")


def measure(folder: Path, tensors: dict[str, Tensor] | Shards, tokens: int, seed: int) -> None:
    """Play random ids with everything, and compare."""
    with tempfile.TemporaryDirectory() as place:
        export_published(folder, Path(place) / "a.tape", tokenizer={"kind": "none"})
        tape = AbsmaxTape(Path(place) / "a.tape")
        golden = AbsmaxGolden(tape)
    ids = np.random.default_rng(seed).integers(0, tape.config.vocab_size, tokens)
    eps = tape.config.norm_eps
    logits = golden.play(ids) * 2.0**-golden.fraction_bits
    rows = golden.embed(np.arange(tape.config.vocab_size)) * 2.0**-tape.formats.residual_fb
    own: Any = ChainMap({EMBEDDING: rows}, tensors)  # either is only read by name
    if isinstance(tensors, dict):
        own = tensors | {EMBEDDING: torch.from_numpy(rows)}
    compare(
        "golden, against float64 with the tape's embedding",
        logits,
        FloatReading(own, eps).play(ids),
    )
    reference = FloatReading(tensors, eps).play(ids)
    compare("golden, against float64", logits, reference)
    compare("float64 with the tape's embedding", FloatReading(own, eps).play(ids), reference)
    with torch.no_grad():
        floating, _ = load_published(folder)(torch.from_numpy(ids)[None])
    compare("backend float, against float64", floating[0].double().numpy(), reference)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        stored = FloatReading(tensors, eps, rounded_to(dtype)).play(ids)
        compare(
            f"float64, residual and h in {str(dtype).removeprefix('torch.')}", stored, reference
        )
    print(f"  saturations: {sum(golden.saturations.values())}")


def main() -> None:
    """Print a block of lines for each checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="a published checkpoint; None: random ones")
    parser.add_argument("--tokens", type=int, default=64, help="ids to play")
    parser.add_argument("--seeds", type=int, default=3, help="random checkpoints of each shape")
    options = parser.parse_args()
    if options.folder is not None:
        measure(options.folder, Shards(options.folder), options.tokens, 0)
        return
    for (name, tensors_of), shape in product(CHECKPOINTS.items(), SHAPES):
        for seed in range(options.seeds):
            print(f"{name}: d {shape.hidden_size}, layers {shape.num_layers}, seed {seed}")
            tensors = tensors_of(shape, seed)
            with tempfile.TemporaryDirectory() as place:
                folder = write_checkpoint(
                    Path(place), shape, tensors, intermediate_size=shape.intermediate_size
                )
                measure(folder, tensors, options.tokens, seed)


if __name__ == "__main__":
    main()
