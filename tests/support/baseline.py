"""What refactoring must not change: Verilog, tapes, cycles, cells, the command line's surface.

    python -m tests.support.baseline

writes tests/baseline.json again. A commit that changes it says why.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from amaranth.back import rtlil

from hdl.accelerator import Accelerator
from hdl.fabric.technology import Technology
from hdl.planning.cycles import cycles_per_token
from hdl.toolchain.audit import ecp5_cells
from hdl.toolchain.emit import TOP, convert_rtlil, convert_verilog
from mmfree.chip.design import Design
from mmfree.chip.layout import layout
from mmfree.chip.memory_map import chip_memories
from mmfree.chip.sizing import design_for_model
from mmfree.cli.parser import build_parser
from mmfree.contract.shape import ModelConfig
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.published.export import export_published
from mmfree.training.export import export_tape
from sim.cosim.run import cosim
from sim.cosim.run_folder import Sequence
from tests.support.published_checkpoints import Shape, checkpoint_tensors, write_checkpoint
from tests.support.sim.shapes import ADDITION, ODD

PATH = Path(__file__).parents[1] / "baseline.json"

DESIGNS = {
    "odd, 16 lanes, 2 bits": (20, 37, 1, 7, "sigmoid", 16, "2"),
    "addition, 64 lanes, 1.67 bits": (64, 128, 2, 31, "hard", 64, "1.67"),
}
"""Name -> hidden and intermediate size, layers, vocabulary, gate; lanes and weight code."""

CYCLES = {
    "addition, 64 lanes": (64, 128, 2, 31, "hard", 64, "2"),
    "text, 256 lanes": (256, 704, 6, 512, "hard", 256, "2"),
    "370M, 1,024 lanes": (1024, 2816, 24, 32000, "hard", 1024, "2"),
}
"""Likewise: what the cost model is asked for."""

SIMULATED_TOKENS = 3


def verilog_hashes() -> dict[str, str]:
    """sha256 of the Verilog of each of DESIGNS, and of the RTLIL in each part's own cells."""
    found = {}
    for name, sizes in DESIGNS.items():
        design = _design(*sizes)
        verilog = convert_verilog(convert_rtlil(Accelerator(design)), chip_memories(design))
        found[name] = _sha256(verilog.encode())
    for technology in (Technology.ECP5, Technology.ULTRASCALE_PLUS):
        text = convert_rtlil(Accelerator(ODD.design()), technology)
        found[f"odd, {technology.name}, RTLIL"] = _sha256(text.encode())
    return found


def large_verilog_hash() -> str:
    """sha256 of the Verilog of a design of 128 lanes."""
    design = _design(128, 256, 2, 256, "signed", 128, "1.6")
    return _sha256(
        convert_verilog(convert_rtlil(Accelerator(design)), chip_memories(design)).encode()
    )


def tape_hashes() -> dict[str, str]:
    """sha256 of a tape of each version, exported from weights of a fixed seed, and of an image's
    memory files.
    """
    model = MatMulFreeLM(ODD.config)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(_exact_floats(rng, tuple(parameter.shape)))
    found = {"pow2": export_tape(model, {"kind": "bytes"}).sha256}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = Shape(vocab_size=40, hidden_size=24, num_layers=2)
        shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint_tensors(shape).items()}
        tensors = {key: _exact_floats(rng, size).to(torch.bfloat16) for key, size in shapes.items()}
        write_checkpoint(folder / "published", shape, tensors)
        exported = export_published(folder / "published", folder / "a.tape")
        found["absmax"] = exported.sha256
    files = layout(ODD.tape(1, wild=False), ODD.design()).memory_files()
    found["image"] = _sha256("".join(files[name] for name in sorted(files)).encode())
    return found


def cycles() -> dict[str, int]:
    """Cycles per token of the cost model; of one design in simulation."""
    found = {}
    for name, (*shape, lanes, code) in CYCLES.items():
        found[name] = cycles_per_token(_config(*shape), _design(*shape, lanes, code))
    tape = ADDITION.tape(1, wild=False)
    result = cosim([tape], ADDITION.design(), [Sequence(prompt=list(range(SIMULATED_TOKENS)))])
    assert result.bit_exact, result.divergence
    found["addition, 64 lanes, simulated"] = round(result.cycles_per_token)
    return found


def cells() -> dict[str, int]:
    """Cells of the odd design after synthesis for the ECP5."""
    text = rtlil.convert(
        Accelerator(ODD.design()), name=TOP, emit_src=False, platform=Technology.ECP5
    )
    return dict(sorted(ecp5_cells({f"{TOP}.il": text}, TOP).items()))


def surface() -> dict[str, Any]:
    """Every verb, option, default and choice."""
    parser = build_parser()
    (verbs,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {
        verb: {
            " ".join(action.option_strings) or action.dest: ", ".join(
                f"{name} {getattr(action, name)!s}"
                for name in ("default", "choices", "nargs", "required", "metavar")
                if getattr(action, name) is not None
            )
            for action in options._actions
        }
        for verb, options in sorted(verbs.choices.items())
    }


MEASURES = {
    "verilog": verilog_hashes,
    "verilog, 128 lanes": large_verilog_hash,
    "tapes": tape_hashes,
    "cycles": cycles,
    "cells": cells,
    "surface": surface,
}


def _exact_floats(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Values that every machine draws alike: integers over a power of two."""
    return torch.from_numpy(rng.integers(-500, 500, shape) / 512).float()


def _config(d: int, i: int, layers: int, vocabulary: int, gate: str) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocabulary,
        head_size=vocabulary,
        hidden_size=d,
        intermediate_size=i,
        num_layers=layers,
        gate=gate,
    )


def _design(
    d: int, i: int, layers: int, vocabulary: int, gate: str, lanes: int, code: str
) -> Design:
    return design_for_model(_config(d, i, layers, vocabulary, gate), lanes, code)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    PATH.write_text(json.dumps({name: of() for name, of in MEASURES.items()}, indent=1) + "\n")
