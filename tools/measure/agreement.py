"""How far the readings of a checkpoint agree: golden, fake-quantized, float, and training's own.

    python -m tools.measure.agreement runs/addition/checkpoint
    python -m tools.measure.agreement runs/text/checkpoint --data book.txt --bytes 50000

Measured: logits that differ from the golden model's, and for text the bits per byte of each. The
reading of training has the fast scan, golden the sequential one.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mmfree.inference.backends import load_backend
from mmfree.tasks.addition import SUM_KINDS, draw_sums, sum_ids
from mmfree.text.corpus import read_text
from mmfree.text.loading import load_corpus
from mmfree.text.tokenizer import Tokenizer, reads_text
from mmfree.text.windows import streams
from mmfree.training.checkpoint import load_checkpoint


def inputs(tokenizer: Tokenizer, text: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, targets, mask) of text, or of sums of 100 digits (targets are not used)."""
    if reads_text(tokenizer):
        (tokens,) = tokenizer.encode_texts([text.decode("utf-8")])
        batch = streams(tokens, start=tokenizer.start)
        return batch.ids, batch.targets, batch.mask
    rng = np.random.default_rng(0)
    ids = np.concatenate([sum_ids(*draw_sums(rng, kind, 100, 20)) for kind in SUM_KINDS])
    return ids, np.zeros_like(ids), np.ones(ids.shape, dtype=bool)


def held_out(data: Path | None, size: int) -> bytes:
    """The first ``size`` bytes of a text, less a character that they cut."""
    text = read_text(data) if data else load_corpus([]).validation.tobytes()
    return text[:size].decode("utf-8", errors="ignore").encode("utf-8")


def bits_per_byte(
    logits: np.ndarray, targets: np.ndarray, mask: np.ndarray, num_bytes: int
) -> float:
    """Cross-entropy in bits of the scored positions, per byte of their text."""
    tensors = torch.from_numpy(logits[mask]).double(), torch.from_numpy(targets[mask])
    return float(F.cross_entropy(*tensors, reduction="sum")) / math.log(2) / num_bytes


def compare(folder: Path, data: Path | None, size: int) -> dict[str, object]:
    """Logits that differ, and for text the bits per byte of every mode."""
    checkpoint = load_checkpoint(folder)
    text = held_out(data, size)
    ids, targets, mask = inputs(checkpoint.tokenizer, text)
    logits = {}
    for name in ("golden", "fakequant", "float"):
        backend = load_backend(folder, name)
        values, _ = backend.run(ids, backend.state(len(ids)))
        # Exact: a power of two, and logits of 16 bits.
        logits[name] = values.astype(np.float32) * np.float32(2.0**-backend.fraction_bits)
    with torch.no_grad():
        fast, _ = checkpoint.model(torch.from_numpy(ids), mode="train")
    logits["train"] = fast.numpy()
    due = (*ids.shape, checkpoint.config.model.head_size)
    for name, values in logits.items():
        if values.shape != due or not values.size:
            raise RuntimeError(f"{name}: logits of {values.shape}, due are {due}")
    result: dict[str, object] = {
        "logits": math.prod(due),
        "fakequant_differs_from_golden": int((logits["fakequant"] != logits["golden"]).sum()),
        "train_differs_from_golden": int((logits["train"] != logits["golden"]).sum()),
    }
    if checkpoint.config.recipe.task == "text":
        result["bits_per_byte"] = {
            name: bits_per_byte(values, targets, mask, len(text)) for name, values in logits.items()
        }
        result["bytes"] = len(text)
    return result


def main() -> None:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--data",
        type=Path,
        help="text that the model was not trained on; default: what training held out",
    )
    parser.add_argument("--bytes", type=int, default=50_000, help="of it, at most")
    options = parser.parse_args()
    print(json.dumps(compare(options.checkpoint, options.data, options.bytes), indent=1))


if __name__ == "__main__":
    main()
