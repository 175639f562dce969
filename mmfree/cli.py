"""The command line ``mmfree``: options, errors and output; the verbs themselves stand in ``commands.py`` and the other modules of ``MODULES``.

Results go to stdout, progress to stderr. Exit code 0: everything asked for held. 1: a check failed. 2: the input cannot be used.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmfree import __version__
from mmfree.backends import BACKENDS
from mmfree.export_formats import FORMATS
from mmfree.formats import GATES
from mmfree.outcome import Outcome
from mmfree.recipe import PRESETS
from mmfree.tasks import TASKS
from mmfree.weight_codes import WEIGHT_CODES

MODULES = {"build": "build", "compare": "compare", "demo": "demo", "evaluate": "scores", "power": "power", "tokenize": "corpora"}
"""Verb -> module of mmfree that has it; the others stand in ``commands``."""

FAILED, UNUSABLE = 1, 2
FAILURES = ("DivergenceError", "MissedClockError", "MultiplierError")
"""Errors that mean: a check failed. (By name, for their modules are loaded when they are needed.)"""

EXTRAS = {
    "torch": "train",
    "safetensors": "train",
    "accelerate": "train",
    "tokenizers": "text",
    "sentencepiece": "text",
    "amaranth": "hdl",
    "cocotb": "sim",
    "cocotb_tools": "sim",
    "matplotlib": "plots",
    "squarify": "plots",
    "amaranth_boards": "boards",
    "datasets": "text",
    "pyarrow": "text",
    "transformers": "hf",
    "lm_eval": "hf",
}
"""Module that may be missing -> extra that installs it."""


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        outcome: Outcome = options.command(options)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        return 141
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        return _fail(f"{package} is not installed; `pip install 'mmfree[{extra}]'` does that", UNUSABLE)
    except (ValueError, OSError) as error:
        return _fail(str(error), UNUSABLE)
    except (RecursionError, ArithmeticError) as error:
        return _fail(f"a number or a nesting of the input is too large: {error}", UNUSABLE)
    except RuntimeError as error:
        if type(error).__module__.partition(".")[0] not in ("mmfree", "hdl", "sim"):
            raise
        return _fail(str(error), FAILED if type(error).__name__ in FAILURES else UNUSABLE)
    if options.json and outcome.values:
        print(json.dumps(outcome.values))
    elif outcome.text:
        print(outcome.text)
    return 0 if outcome.ok else FAILED


def _fail(message: str, code: int) -> int:
    # Of several processes the first speaks.
    if os.environ.get("RANK", "0") == "0":
        print(f"mmfree: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _verb(name: str) -> Callable[[argparse.Namespace], Outcome]:
    """The verb's function, imported when it is called."""

    def call(options: argparse.Namespace) -> Outcome:
        module = importlib.import_module(f"mmfree.{MODULES.get(name, 'commands')}")
        function: Callable[[argparse.Namespace], Outcome] = getattr(module, name)
        return function(options)

    return call


def build_parser() -> argparse.ArgumentParser:
    """Every verb and option."""
    parser = argparse.ArgumentParser(
        prog="mmfree",
        description="Ternary language models without matrix multiplication, from text to an addition-only chip.",
    )
    parser.add_argument("--version", action="version", version=f"mmfree {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (_add_tokenize, _add_train, _add_compare, _add_evaluate, _add_export, _add_inspect, _add_generate):
        add(verbs)
    for add in (_add_verilog, _add_build, _add_cosim, _add_power, _add_demo, _add_report):
        add(verbs)
    return parser


def _add(verbs: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=_verb(name))
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    return parser


def _add_out(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help=meaning)
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def _add_lanes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lanes", type=int, default=64, metavar="N", help="ternary additions per cycle, a power of two"
    )


def _add_design(parser: argparse.ArgumentParser) -> None:
    _add_lanes(parser)
    parser.add_argument(
        "--bits", choices=tuple(WEIGHT_CODES), default="2", help="storage of a weight, in bits"
    )


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="what plays the model; None: fakequant for a checkpoint, float for a published one, golden for a tape",
    )
    _add_lanes(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="CHECKPOINT|TAPE", help="folder or file")


def _backends(text: str) -> tuple[str, ...]:
    """The argument of ``evaluate --backend``."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in BACKENDS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(BACKENDS)}")
    if len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names one twice")
    return names


TOKENIZERS = "bytes, bpe:SIZE (learned from the text), a tokenizer.json, a SentencePiece .model, or a folder with one"


def _add_tokenize(verbs: Any) -> None:
    parser = _add(verbs, "tokenize", "write text as token shards, to train on without reading it whole")
    parser.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DATA",
        help="text, JSONL and Parquet files, folders of them, or hf:NAME[:CONFIG[:SPLIT]] (docs/data.md)",
    )
    parser.add_argument("--tokenizer", default="bytes", metavar="NAME", help=TOKENIZERS)
    parser.add_argument("--field", default="text", metavar="NAME", help="of a record, that holds its text")
    _add_out(parser, "folder of shards")


def _add_train(verbs: Any) -> None:
    parser = _add(verbs, "train", "train a model into a checkpoint folder")
    parser.add_argument("config", metavar="PRESET|CONFIG.json", help=f"{', '.join(PRESETS)}, or a file")
    parser.add_argument("--gate", choices=GATES, help="forget gate of a preset; None: the preset's own")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="text, as for tokenize, or a folder of shards; None: Python's documentation",
    )
    parser.add_argument(
        "--tokenizer", metavar="NAME", help=f"{TOKENIZERS}; None: that of the shards or of the config, else bytes"
    )
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="plan the run for this time in minutes; None: all steps"
    )
    parser.add_argument("--resume", action="store_true", help="go on where the checkpoint stands")
    parser.add_argument("--shard", action="store_true", help="spread weights and moments over the processes (of torchrun)")
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write events for TensorBoard, in the checkpoint's folder tensorboard"
    )
    _add_out(parser, "checkpoint folder")


def _add_compare(verbs: Any) -> None:
    parser = _add(verbs, "compare", "train a model and a Transformer of its size on the same text, and compare them")
    parser.add_argument("config", metavar="PRESET|CONFIG.json", help="text, or a file of task text")
    parser.add_argument("--data", type=Path, nargs="+", metavar="PATH", help="as of train")
    parser.add_argument("--tokenizer", metavar="NAME", help="as of train")
    parser.add_argument("--rates", type=float, nargs="+", metavar="R", help="learning rates to try; None: four")
    parser.add_argument("--baseline-rates", type=float, nargs="+", metavar="R", help="the Transformer's; None: four")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs at the best rate")
    _add_out(parser, "folder for all runs; what is finished there is taken")


def _add_evaluate(verbs: Any) -> None:
    parser = _add(verbs, "evaluate", "bits per byte of a text, accuracy on a task, or on multiple choice")
    _add_model(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="UTF-8 text, documents, or shards (what they hold out); None: what training held out of the built-in text",
    )
    parser.add_argument(
        "--words", action="store_true", help="perplexity per word, too, as it is published for WikiText-2"
    )
    parser.add_argument(
        "--choices", type=Path, metavar="FILE.jsonl", help="multiple choice: query, choices and gold on each line"
    )
    parser.add_argument("--task", metavar="NAME", help=f"one of {', '.join(TASKS)}")
    parser.add_argument(
        "--digits", type=int, metavar="N", help="columns of a sum (None: 100), or bits (None: 512)"
    )
    parser.add_argument(
        "--examples", type=int, metavar="K", help="examples; None: 1000, all held-out pairs, or all questions"
    )
    parser.add_argument(
        "--ranges", action="store_true", help="how close each intermediate comes to its limits (backend golden)"
    )
    parser.add_argument(
        "--backend",
        type=_backends,
        metavar="NAME[,NAME...]",
        help=f"what plays the model, of {', '.join(BACKENDS)}, several for one table; None: fakequant for a checkpoint, float for a published one, golden for a tape",
    )
    _add_lanes(parser)


def _add_export(verbs: Any) -> None:
    parser = _add(verbs, "export", "write a checkpoint as a tape, or for others")
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="folder: of a training run, or published with model_type hgrn_bit"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="UTF-8 text to watch ranges on; None: the built-in text"
    )
    parser.add_argument(
        "--allow-saturation", action="store_true", help="write a tape even if its values often saturate"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="tape",
        help="hf: a Hugging Face folder; bitnet: trits as Hugging Face packs them; checkpoint: from a Hugging Face folder (docs/huggingface.md)",
    )
    _add_out(parser, "tape file; folder in the other formats")


def _add_inspect(verbs: Any) -> None:
    parser = _add(verbs, "inspect", "print what is on a tape, segment by segment, or in token shards")
    parser.add_argument("tape", type=Path, metavar="TAPE|SHARDS", help="file, or folder of token shards, which is verified")


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0: always the likeliest token; at most 3.98"
    )
    parser.add_argument("--stop", type=int, metavar="ID", help="token that ends the text; None: no such")


def _add_generate(verbs: Any) -> None:
    parser = _add(verbs, "generate", "continue a prompt, or add: --prompt 123+456")
    _add_model(parser)
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="text to go on from")
    parser.add_argument("--tokens", type=int, default=200, metavar="N", help="tokens to generate")
    _add_sampling(parser)
    _add_backend(parser)


def _add_verilog(verbs: Any) -> None:
    parser = _add(verbs, "verilog", "generate the accelerator: Verilog, memory files, design.json")
    parser.add_argument(
        "source", type=Path, metavar="TAPE|LIMITS.json", help="a tape, or the sizes of a design (docs/accelerator.md)"
    )
    _add_design(parser)
    _add_out(parser, "folder")


def _add_build(verbs: Any) -> None:
    parser = _add(verbs, "build", "synthesize, place and route the accelerator with a tape in it: a bitstream")
    parser.add_argument("tape", type=Path, metavar="TAPE", help="file")
    parser.add_argument("--board", required=True, metavar="NAME", help="ulx3s-85f")
    parser.add_argument(
        "--clock", type=float, default=100.0, metavar="MHZ", help="clock to ask for; the PLL comes within 1 %%, and not above"
    )
    parser.add_argument(
        "--allow-slow", action="store_true", help="keep a result that is slower than the clock asked for"
    )
    _add_design(parser)
    _add_out(parser, "folder")


def _add_cosim(verbs: Any) -> None:
    parser = _add(verbs, "cosim", "play a tape on the simulated chip and the golden model, and compare every bit")
    parser.add_argument("tape", type=Path, metavar="TAPE", help="file")
    parser.add_argument("--prompt", metavar="TEXT", help="text to play; None: a random one of 16 tokens")
    parser.add_argument(
        "--tokens", type=int, default=0, metavar="N", help="tokens to generate after the prompt"
    )
    _add_sampling(parser)
    parser.add_argument("--profile", action="store_true", help="cycles by segment and cause")
    parser.add_argument(
        "--waveform", type=Path, metavar="FILE", help="VCD of the first token that differs, if one does"
    )
    parser.add_argument(
        "--simulator", choices=("verilator", "icarus"), default="verilator", help="icarus is about 50 times slower"
    )
    _add_design(parser)


def _add_power(verbs: Any) -> None:
    parser = _add(verbs, "power", "estimate watts and joules per token of a tape's accelerator on a part")
    parser.add_argument(
        "model", type=Path, nargs="?", metavar="TAPE|RUN", help="file, or folder of a demo; None: with --validate"
    )
    parser.add_argument(
        "--part",
        default="ecp5-85",
        metavar="NAME",
        help="ecp5-25, -45, -85, xc7a35t, xc7a100t, xc7z020, zu5ev, zu7ev, ku5p, vu13p, vu37p, ice40up5k",
    )
    parser.add_argument(
        "--technology", type=Path, metavar="FILE", help="parts of your own (docs/power.md); None: those that are known"
    )
    parser.add_argument(
        "--clock", type=float, metavar="MHZ", help="None: what was reached on the part, else 100"
    )
    parser.add_argument(
        "--build", type=Path, metavar="DIR", help="folder of `mmfree build`: its design and the clock that it reached"
    )
    parser.add_argument(
        "--activity", type=Path, metavar="FILE", help="activity.json of an earlier run; None: simulate"
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", help="text to measure activity on; None: 32 tokens of real data"
    )
    parser.add_argument(
        "--validate", action="store_true", help="predict published systems, and compare"
    )
    _add_design(parser)
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="folder for power.json, activity.json and a page; None: print only"
    )
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def _add_demo(verbs: Any) -> None:
    parser = _add(verbs, "demo", "train, export, generate the chip, simulate it, and compare: all of it once")
    parser.add_argument(
        "preset", nargs="?", choices=("addition", "text"), default="addition", help="model to train"
    )
    _add_lanes(parser)
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="folder for what it makes; None: runs/PRESET"
    )
    parser.add_argument("--force", action="store_true", help="train again if there is a trained model")


def _add_report(verbs: Any) -> None:
    parser = _add(verbs, "report", "one self-contained HTML page about a run")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a demo, or of a checkpoint")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; None: report.html in the folder")


if __name__ == "__main__":
    sys.exit(main())
