"""Training speed and memory beside a Transformer++ of the same size.

    python -m tools.measure.training_speed --compile --precision bf16 --threads 2 --steps 10
    python -m tools.measure.training_speed --shape 370m --precision bf16 --compile --unfused

The second is for a GPU. Same batch, precision, threads and compile setting, steps in turns.
Measured, with random tokens: tokens per second of the fastest step of each (forward, backward,
clipping, AdamW); bytes of the tensors that autograd saves in the forward pass, without parameters;
on a CUDA device also the most memory a model has allocated with all it needs: parameters, moments,
gradients, activations. By default d = 256, 6 layers, 4.95 M parameters, batch 16 x 256. --unfused
adds the MatMul-free model without fused operations, never compiled (tools/experiments/unfused.py).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mmfree.comparison.speed import Contestant, race
from mmfree.contract.shape import ModelConfig
from mmfree.models import gpu_scan
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.models.transformer import Transformer
from mmfree.training.recipe import PRECISIONS
from tools.experiments.unfused import UnfusedLM

SHAPES = {
    "small": {"hidden": 256, "intermediate": 704, "layers": 6, "vocab": 256},
    # As the published MMfreeLM-370M.
    "370m": {"hidden": 1024, "intermediate": 2816, "layers": 24, "vocab": 32000},
}


def _bytes_of(tensors: Iterable[object]) -> int:
    return sum(t.nbytes for t in tensors if isinstance(t, Tensor))


class Weighed(Contestant):
    """A contestant whose memory is measured too."""

    peak_bytes = 0

    def timed_step(self) -> None:
        """A step, with its time and, on a CUDA device, its peak.

        No gradients of another model are held meanwhile.
        """
        device = self.ids.device
        if device.type != "cuda":
            super().timed_step()
            return
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        super().timed_step()
        moments = sum(_bytes_of(state.values()) for state in self.optimizer.state.values())
        more = torch.cuda.max_memory_allocated(device) - before
        self.peak_bytes = max(self.peak_bytes, _bytes_of(self.model.parameters()) + moments + more)

    def saved_bytes(self) -> int:
        """Bytes that autograd keeps for the backward pass: each storage once, no parameters."""
        parameters = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            # While the graph lives no address is used twice.
            loss = self.forward()
        del loss
        return sum(kept.values())


def measure(options: argparse.Namespace) -> dict[str, object]:
    """What ``main`` prints."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=options.vocab,
        head_size=options.vocab,
        hidden_size=options.hidden,
        intermediate_size=options.intermediate,
        num_layers=options.layers,
    )
    device = (
        torch.accelerator.current_accelerator()
        if torch.accelerator.is_available()
        else torch.device("cpu")
    )
    assert device is not None
    ids, targets = (
        torch.randint(0, options.vocab, (options.batch, options.length), device=device)
        for _ in range(2)
    )
    models: dict[str, nn.Module] = {
        "matmul-free": MatMulFreeLM(config),
        "transformer": Transformer(config),
    }
    if options.unfused:
        models["unfused"] = UnfusedLM(config)
    contestants = {
        name: Weighed(
            model.to(device),
            ids,
            targets,
            bf16=options.precision == "bf16",
            compiled=options.compile and name != "unfused",
        )
        for name, model in models.items()
    }
    measured: dict[str, object] = {}
    if options.steps:
        race(list(contestants.values()), options.steps)
        speed = {name: contestant.tokens_per_second for name, contestant in contestants.items()}
        measured["tokens_per_second"] = {name: round(value, 1) for name, value in speed.items()}
        measured["ratio"] = {
            name: round(speed["matmul-free"] / value, 3)
            for name, value in speed.items()
            if name != "matmul-free"
        }
        if device.type == "cuda":
            measured["peak_bytes"] = {name: c.peak_bytes for name, c in contestants.items()}
    measured["saved_bytes"] = {name: c.saved_bytes() for name, c in contestants.items()}
    kernels = gpu_scan.usable(torch.empty(0, device=device), config.gate)
    return {
        "label": "measured",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": options.threads,
        "precision": options.precision,
        "compiled": options.compile,
        "scan": "flash-linear-attention" if kernels else "torch",
        "batch": options.batch,
        "length": options.length,
        "config": config.to_dict(),
        "parameters": {
            name: sum(p.numel() for p in model.parameters()) for name, model in models.items()
        },
        **measured,
    }


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--unfused", action="store_true", help="also the MatMul-free model without fused operations"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument(
        "--steps",
        type=int,
        default=10,
        metavar="N",
        help="timed steps of each; 0: only what autograd saves",
    )
    parser.add_argument("--batch", type=int, default=16, metavar="N")
    parser.add_argument("--length", type=int, default=256, metavar="N")
    parser.add_argument(
        "--shape",
        choices=SHAPES,
        default="small",
        help="sizes that are not named by the options below (%(default)s)",
    )
    for name, metavar in (("hidden", "D"), ("intermediate", "I"), ("layers", "L"), ("vocab", "V")):
        parser.add_argument(f"--{name}", type=int, metavar=metavar)
    options = parser.parse_args(arguments)
    if options.steps < 0:
        parser.error(f"--steps must be 0 or more, got {options.steps}")
    for name, size in SHAPES[options.shape].items():
        if getattr(options, name) is None:
            setattr(options, name, size)
    torch.set_num_threads(options.threads)
    print(json.dumps(measure(options), indent=1))


if __name__ == "__main__":
    main()
