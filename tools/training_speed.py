"""Training speed beside a Transformer++ of the same size: same batch, precision, threads and compile setting, steps in turns.

    python tools/training_speed.py [--compile] [--precision bf16] [--threads 2] [--steps 10]

Measured: tokens per second of the fastest step each (forward, backward, clipping, AdamW), random tokens, d = 256, 6 layers, 4.95 M parameters, batch 16 x 256 unless told otherwise.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfree.config import ModelConfig
from mmfree.model import MatMulFreeLM
from mmfree.recipe import PRECISIONS
from mmfree.transformer import Transformer


def step_of(model: nn.Module, ids: Tensor, targets: Tensor, options: argparse.Namespace) -> Callable[[], None]:
    """A whole training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def loss_of() -> Tensor:
        logits, _ = model(ids, mode="train")
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    compiled = torch.compile(loss_of) if options.compile else loss_of

    def step() -> None:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            loss = compiled()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="timed steps of each")
    parser.add_argument("--batch", type=int, default=16, metavar="N")
    parser.add_argument("--length", type=int, default=256, metavar="N")
    parser.add_argument("--hidden", type=int, default=256, metavar="D")
    parser.add_argument("--intermediate", type=int, default=704, metavar="I")
    parser.add_argument("--layers", type=int, default=6, metavar="L")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=256,
        head_size=256,
        hidden_size=options.hidden,
        intermediate_size=options.intermediate,
        num_layers=options.layers,
    )
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    ids, targets = (torch.randint(0, 256, (options.batch, options.length), device=device) for _ in range(2))
    models: dict[str, nn.Module] = {"matmul-free": MatMulFreeLM(config).to(device), "transformer": Transformer(config).to(device)}
    steps = {name: step_of(model, ids, targets, options) for name, model in models.items()}
    for step in steps.values():
        step()
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.steps):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if device.type != "cpu":
                torch.accelerator.synchronize()
            seconds[name].append(time.perf_counter() - started)
    speed = {name: options.batch * options.length / min(times) for name, times in seconds.items()}
    result = {
        "label": "measured",
        "device": device.type,
        "threads": options.threads,
        "precision": options.precision,
        "compiled": options.compile,
        "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()},
        "tokens_per_second": {name: round(value) for name, value in speed.items()},
        "ratio": round(speed["matmul-free"] / speed["transformer"], 3),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
