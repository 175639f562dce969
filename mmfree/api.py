"""mmfree from Python: what the command line does, as functions.

    import mmfree

    mmfree.train("addition", "runs/a")
    mmfree.export("runs/a", "a.tape")
    model = mmfree.load("a.tape")                       # golden model; backend="rtl": the chip
    print(mmfree.generate(model, "123+456"))
    print(mmfree.cosim("a.tape", prompt="123+456").bit_exact)

Everything heavy is imported when a function needs it. Bad input raises
``mmfree.errors.InputError``, a missing program ``ToolMissing``, a failed check ``CheckFailed``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmfree.inference.backends import Backend
    from mmfree.inference.ranges import Range
    from mmfree.inference.scoring import TaskResult, TextResult
    from mmfree.tape.pow2 import Tape
    from mmfree.tape.reading import AnyTape
    from mmfree.training.loop import TrainingResult
    from sim.cosim.run import CosimResult
    from sim.cosim.run_folder import Sequence

__all__ = ["cosim", "evaluate", "export", "generate", "load", "train", "verilog"]

AnyPath = str | os.PathLike[str]
"""A path, in any form."""

RANDOM_PROMPT_TOKENS = 16
"""Tokens that a co-simulation plays if it is given no prompt."""


def load(model: AnyPath, backend: str | None = None, *, lanes: int = 64) -> Backend:
    """A checkpoint folder or a tape, ready to run.

    Parameters
    ----------
    model
        Folder of a checkpoint, trained here or published, or a tape.
    backend
        "float", "fakequant", "golden" or "rtl"; None: fakequant for a checkpoint, float for a
        published one, golden for a tape.
    lanes
        Of the simulated chip ("rtl").
    """
    from mmfree.inference.backends import load_backend

    return load_backend(Path(model), backend, lanes)


def train(
    config: AnyPath,
    out: AnyPath,
    *,
    gate: str | None = None,
    data: AnyPath | Iterable[AnyPath] | None = None,
    tokenizer: str | None = None,
    seed: int = 0,
    field: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    extend: bool = False,
    force: bool = False,
    tensorboard: bool = False,
    shard: bool = False,
) -> TrainingResult:
    """Train a preset, or what a JSON file describes, into the checkpoint folder ``out``.

    ``data``: text or a folder of token shards (docs/data.md); None: Python's documentation.
    ``field``: of a record, that holds its text. ``tokenizer``: bytes, bpe:SIZE, or a file; None:
    that of the shards or of the config. ``minutes``: plan the run for this time. ``steps``: in
    place of the recipe's. ``resume``: go on where the run stands; ``extend``: train it further.
    ``shard``: spread the model over processes.
    """
    from mmfree.training.presets import run_config
    from mmfree.training.resumption import text_of
    from mmfree.training.train import train as run

    folder = Path(out)
    files = [] if data is None else _paths(data)
    goes_on = resume or extend
    known, known_field = text_of(folder, files, field, goes_on=goes_on)
    asked = run_config(
        str(config),
        gate=gate,
        tokenizer=tokenizer,
        data=known,
        field=known_field,
        steps=steps,
        goes_on=folder if goes_on else None,
    )
    return run(
        asked,
        folder,
        data=files,
        field=field,
        seed=seed,
        minutes=minutes,
        resume=resume,
        extend=extend,
        force=force,
        tensorboard=tensorboard,
        shard=shard,
    )


@dataclass(frozen=True)
class Exported:
    """A tape that was written; ``ranges`` of its intermediates on real data, if it was played, and
    which data these were.
    """

    tape: AnyTape
    ranges: list[Range]
    source: str = ""


def export(
    checkpoint: AnyPath,
    out: AnyPath,
    *,
    data: AnyPath | Iterable[AnyPath] | None = None,
    field: str | None = None,
    allow_saturation: bool = False,
    force: bool = False,
) -> Exported:
    """Write a checkpoint, trained here or published, as the tape ``out``.

    A model trained here is played on ``data`` first (text or shards, as ``train`` takes them; None:
    what its own training held out), and refused if its values often saturate, unless
    ``allow_saturation``.
    """
    from mmfree.errors import InputError
    from mmfree.files.atomic import reserved
    from mmfree.inference.backends import is_published, load_tape_or_export
    from mmfree.inference.ranges import measure_ranges, real_data, refuse_saturation
    from mmfree.published.export import export_published
    from mmfree.tape.pow2 import write_tape
    from mmfree.tape.reading import open_tape
    from mmfree.text.sources import DEFAULT_FIELD
    from mmfree.text.tokenizers import tokenizer_from_dict

    folder, path = Path(checkpoint), Path(out)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a checkpoint folder")
    files = [] if data is None else _paths(data)
    if field is not None and not files:
        raise InputError("--field is of the records of --data: give both, or neither")
    with reserved(path, force=force):
        if is_published(folder):
            if files or allow_saturation:
                raise InputError(
                    "--data and --allow-saturation are for models trained here: a published one is"
                    " exported without playing it"
                )
            export_published(folder, path)
            return Exported(open_tape(path), [])
        tape = load_tape_or_export(folder)
        tokenizer = tokenizer_from_dict(tape.tokenizer)
        real = real_data(tokenizer, files, field=field or DEFAULT_FIELD, run=folder)
        ranges = measure_ranges(tape, real.ids)
        if not allow_saturation:
            refuse_saturation(tape, ranges, real.source)
        write_tape(tape, path)
        return Exported(tape, ranges, real.source)


def evaluate(
    model: AnyPath | Backend,
    *,
    data: AnyPath | None = None,
    field: str | None = None,
    words: bool = False,
    task: str | None = None,
    digits: int | None = None,
    examples: int | None = None,
    seed: int = 0,
) -> TextResult | TaskResult:
    """Score a model on a text (``data``; None: what a checkpoint's own training held out, or that
    of the built-in text), or on a checkable task, which a model for a task is asked by default.
    """
    from mmfree.errors import InputError
    from mmfree.inference.scoring import evaluate_task, score_text
    from mmfree.tasks.catalog import tasks_of
    from mmfree.text.sources import DEFAULT_FIELD

    backend = _loaded(model)
    own = tasks_of(backend.tokenizer)
    if task is None and not own:
        if field is not None and data is None:
            raise InputError("field is of the records of data: give both, or neither")
        if (digits, examples) != (None, None):
            raise InputError("digits and examples are for tasks: the model is for text")
        run = None
        if isinstance(model, str | os.PathLike) and Path(model).is_dir():
            run = Path(model)
        return score_text(backend, _path(data), words=words, field=field or DEFAULT_FIELD, run=run)
    if data is not None or field is not None or words:
        raise InputError(
            "data, field and words are for models of text: a task makes its own examples"
        )
    name = task if task is not None else own[0]
    return evaluate_task(backend, name, digits=digits, examples=examples, seed=seed)


def generate(
    model: AnyPath | Backend,
    prompt: str,
    tokens: int = 200,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop: int | None = None,
) -> str:
    """What a model writes after a prompt; the sum, for a model that adds."""
    from mmfree.inference.generate import generate as pieces_of

    pieces = pieces_of(
        _loaded(model), prompt, tokens, temperature=temperature, seed=seed, stop=stop
    )
    return "".join(text for text, _ in pieces)


def verilog(
    source: AnyPath,
    out: AnyPath,
    *,
    lanes: int | None = None,
    bits: str | None = None,
    force: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write the accelerator for a tape, or for the sizes in a JSON file, into the folder ``out``:
    Verilog, memory files, the tape and design.json, whose contents are returned.

    ``lanes``, ``bits``: None: 64 and "2", of a JSON file its own; others than its own are refused.
    ``progress`` is told what takes time.
    """
    from hdl.toolchain.emit import VERILOG_FOLDER, write_verilog
    from mmfree.chip.design import Design
    from mmfree.chip.sizing import design_for, refuse_another_design
    from mmfree.chip.weight_codes import WEIGHT_CODES
    from mmfree.errors import InputError
    from mmfree.files.atomic import read_json
    from mmfree.files.folders import new_folder
    from mmfree.tape.reading import open_chip_tape

    path = Path(source)
    tape = None if path.suffix == ".json" else open_chip_tape(path)
    if tape is not None:
        design = design_for(tape, lanes, bits)
    else:
        design = Design.from_dict(read_json(path), str(path))
        refuse_another_design(design, lanes, bits, path)
    if design.weight_code not in WEIGHT_CODES:
        raise InputError(
            f"{path}: weight_code must be one of {', '.join(WEIGHT_CODES)}, got"
            f" {design.weight_code!r}, for which there is no array"
        )
    with new_folder(Path(out), VERILOG_FOLDER, force=force) as folder:
        progress("generating, and synthesizing the product units to count their LUTs ...")
        return write_verilog(design, folder, tape)


def cosim(
    source: AnyPath,
    *,
    prompt: str | None = None,
    tokens: int = 0,
    temperature: float = 0.0,
    stop: int | None = None,
    seed: int = 0,
    lanes: int | None = None,
    bits: str | None = None,
    profile: bool = False,
    waveform: AnyPath | None = None,
    simulator: str = "verilator",
    force: bool = False,
) -> CosimResult:
    """Play a tape on the simulated chip and on the golden model, and compare every bit.

    Parameters
    ----------
    source
        A tape; or a folder that ``verilog`` wrote for one, whose Verilog and memory files are
        simulated as they are, also if they were altered.
    prompt
        None: random tokens, from ``seed``. ``tokens`` are generated after it.
    lanes, bits
        None: 64 and "2", of a folder its own; others than a folder's are refused.
    waveform
        File for a VCD of the run, or of the first token that differs. With ``force`` one that is
        there is replaced.
    """
    from mmfree.chip.sizing import design_for, refuse_another_design
    from mmfree.files.atomic import reserved
    from mmfree.tape.reading import open_chip_tape
    from sim.cosim.chip_folder import read_chip_folder
    from sim.cosim.run import cosim as play
    from sim.cosim.run import cosim_folder

    path = Path(source)
    chip = read_chip_folder(path) if path.is_dir() else None
    tape = open_chip_tape(path) if chip is None else chip.tape
    sequence = _sequence(tape, prompt, tokens, temperature, stop, seed)
    file = _path(waveform)
    with ExitStack() as stack:
        if file is not None and not file.is_dir():
            stack.enter_context(reserved(file, force=force))
        if chip is None:
            return play(
                [tape],
                design_for(tape, lanes, bits),
                [sequence],
                seed=seed,
                profile=profile,
                waveform=file,
                simulator=simulator,
            )
        refuse_another_design(chip.design, lanes, bits, chip.path)
        return cosim_folder(
            chip, [sequence], seed=seed, profile=profile, waveform=file, simulator=simulator
        )


def _sequence(
    tape: Tape, prompt: str | None, tokens: int, temperature: float, stop: int | None, seed: int
) -> Sequence:
    """What a co-simulation plays."""
    import numpy as np

    from mmfree.errors import InputError
    from mmfree.golden.sampling import seed_registers, temperature_code
    from mmfree.text.tokenizers import tokenizer_from_dict
    from sim.cosim.run_folder import Sequence

    tokenizer = tokenizer_from_dict(tape.tokenizer)
    if tokens < 0:
        raise InputError(f"--tokens must be 0 or more, got {tokens}")
    if tokens and not tokenizer.feeds_back:
        raise InputError(
            f"--tokens: a model for {tokenizer.kind} reads out its answer and generates nothing"
        )
    code = temperature_code(temperature)
    seed_registers(seed)
    if (code or stop is not None) and not tokens:
        raise InputError("--temperature and --stop need --tokens: nothing is chosen without")
    if prompt is not None:
        ids = tokenizer.encode(prompt)
    else:
        rng = np.random.default_rng(seed)
        ids = rng.integers(0, tape.config.vocab_size, RANDOM_PROMPT_TOKENS).tolist()
    return Sequence(prompt=ids, generate=tokens, temperature=code, seed=seed, stop=stop)


def _paths(data: AnyPath | Iterable[AnyPath]) -> list[Path]:
    return [Path(path) for path in ([data] if isinstance(data, str | os.PathLike) else data)]


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)


def _loaded(model: AnyPath | Backend) -> Backend:
    return load(model) if isinstance(model, str | os.PathLike) else model
