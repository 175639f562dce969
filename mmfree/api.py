"""mmfree from Python: what the command line does, as functions.

    import mmfree

    mmfree.train("addition", "runs/a")
    mmfree.export("runs/a", "a.tape")
    model = mmfree.load("a.tape")                       # in integers; backend="rtl": the chip
    print(mmfree.generate(model, "123+456"))
    print(mmfree.cosim("a.tape", prompt="123+456").bit_exact)

Everything heavy is imported when a function needs it. Bad input raises
``mmfree.errors.InputError``, a missing program ``ToolMissing``, a failed check ``CheckFailed``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfree.argument_types import checked

if TYPE_CHECKING:
    from hdl.planning.parts import Peer
    from hdl.planning.projection import Projection
    from hdl.toolchain.products import ProductUnit
    from mmfree.chip.design import Design
    from mmfree.chip.external_memory import ExternalMemory
    from mmfree.inference.backends import Backend
    from mmfree.inference.ranges import Range
    from mmfree.inference.scoring import TaskResult, TextResult
    from mmfree.inference.shapes import Shape
    from mmfree.tape.reading import AnyTape
    from mmfree.training.loop import TrainingResult
    from sim.cosim.run import CosimResult
    from sim.cosim.run_folder import Sequence
    from sim.memory.model import Behaviour
    from sim.power.interval import Interval

__all__ = ["cosim", "evaluate", "export", "fit", "generate", "load", "train", "verilog"]

AnyPath = str | os.PathLike[str]
"""A path, in any form."""

RANDOM_PROMPT_TOKENS = 16
"""Tokens that a co-simulation plays if it is given no prompt."""


@checked
def load(model: AnyPath, backend: str | None = None, *, lanes: int | None = None) -> Backend:
    """A model, ready to run.

    Parameters
    ----------
    model
        A tape; the folder of a checkpoint, trained here or published; or a run folder that has one
        of them or both, as a demo leaves it.
    backend
        "float", "fakequant", "golden", "cpu" or "rtl"; None: cpu for a tape, also that of a run
        folder (golden, which has the same integers, where cpu's library cannot be compiled);
        fakequant for a checkpoint, float for a published one.
    lanes
        Of the simulated chip ("rtl"); None: 64.
    """
    from mmfree.inference.backends import load_backend

    return load_backend(Path(model), backend, lanes)


@checked
def train(
    config: AnyPath,
    out: AnyPath,
    *,
    gate: str | None = None,
    data: AnyPath | Iterable[AnyPath] | None = None,
    tokenizer: AnyPath | None = None,
    seed: int = 0,
    field: str | None = None,
    teacher: AnyPath | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    width: int | None = None,
    layers: int | None = None,
    rate: float | None = None,
    batch: int | None = None,
    length: int | None = None,
    resume: bool = False,
    extend: bool = False,
    force: bool = False,
    tensorboard: bool = False,
    shard: bool = False,
) -> TrainingResult:
    """Train a preset, or what a JSON file describes, into the checkpoint folder ``out``.

    ``data``: text or a folder of token shards (docs/data.md); None: Python's documentation.
    ``field``: of a record, that holds its text. ``tokenizer``: bytes, bpe:SIZE, or a file; None:
    that of the shards or of the config. ``teacher``: checkpoint of a model with the same tokenizer
    to learn from besides. ``minutes``: plan the run for this time. ``steps``, ``rate``, ``batch``,
    ``length``: in place of the recipe's (the rate is the largest learning rate). ``width``,
    ``layers``: in place of the model's (``mmfree.training.presets.changed``). ``resume``: go on
    where the run stands; ``extend``: train it further. ``shard``: spread the model over processes.
    """
    from mmfree.threads import prepare_waiting
    from mmfree.training.folder import check_options, check_place, prepared, text_of
    from mmfree.training.presets import run_config

    folder = Path(out)
    files = [] if data is None else _paths(data)
    taught_by = None if teacher is None else Path(teacher)
    goes_on = resume or extend
    check_options(folder, seed=seed, minutes=minutes, resume=resume, extend=extend, force=force)
    check_place(folder, resume=resume, extend=extend, force=force)
    known, known_field = text_of(folder, files, field, goes_on=goes_on)
    asked = run_config(
        str(config),
        gate=gate,
        tokenizer=None if tokenizer is None else str(tokenizer),
        data=known,
        field=known_field,
        steps=steps,
        width=width,
        layers=layers,
        rate=rate,
        batch=batch,
        length=length,
        goes_on=folder if goes_on else None,
    )
    with prepared(
        asked,
        folder,
        data=files,
        field=field,
        teacher=taught_by,
        resume=resume,
        extend=extend,
        shard=shard,
        tensorboard=tensorboard,
    ) as corpus:
        prepare_waiting()
        from mmfree.training.train import train as run

        return run(
            asked,
            folder,
            data=files,
            field=field,
            teacher=taught_by,
            seed=seed,
            minutes=minutes,
            resume=resume,
            extend=extend,
            force=force,
            tensorboard=tensorboard,
            shard=shard,
            corpus=corpus,
        )


@dataclass(frozen=True)
class Exported:
    """A tape that was written; ``ranges`` of its intermediates on real data, if it was played, and
    which data these were.
    """

    tape: AnyTape
    ranges: list[Range]
    source: str = ""


@checked
def export(
    checkpoint: AnyPath,
    out: AnyPath,
    *,
    data: AnyPath | Iterable[AnyPath] | None = None,
    field: str | None = None,
    allow_saturation: bool = False,
    force: bool = False,
) -> Exported:
    """Write a checkpoint, trained here or published, or that of a run folder, as the tape ``out``.

    A model trained here is played on ``data`` first (text or shards, as ``train`` takes them; None:
    what its own training held out), and refused if its values often saturate, unless
    ``allow_saturation``.
    """
    from mmfree.errors import InputError
    from mmfree.files.atomic import reserved
    from mmfree.inference.backends import is_published, load_trained_tape, tokenizer_at
    from mmfree.inference.places import checkpoint_of
    from mmfree.inference.ranges import measure_ranges, real_data, refuse_saturation
    from mmfree.published.export import export_published
    from mmfree.tape.pow2 import write_tape
    from mmfree.tape.reading import open_tape
    from mmfree.text.sources import DEFAULT_FIELD

    folder, path = checkpoint_of(Path(checkpoint)), Path(out)
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
        # Before torch is loaded: what cannot be read is refused at once.
        tokenizer = tokenizer_at(folder)
        real = real_data(tokenizer, files, field=field or DEFAULT_FIELD, run=folder)
        tape = load_trained_tape(folder)
        ranges = measure_ranges(tape, real.ids)
        if not allow_saturation:
            refuse_saturation(tape, ranges, real.source)
        write_tape(tape, path)
        return Exported(tape, ranges, real.source)


@checked
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
    """Score a model on a text (``data``; None: what its own training held out, if that lies at the
    model or at the path that it was loaded from, or else that of the built-in text), or on a
    checkable task, which a model for a task is asked by default.
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
        return score_text(
            backend,
            _path(data),
            words=words,
            field=field or DEFAULT_FIELD,
            run=backend.training,
        )
    if data is not None or field is not None or words:
        raise InputError(
            "data, field and words are for models of text: a task makes its own examples"
        )
    name = task if task is not None else own[0]
    return evaluate_task(backend, name, digits=digits, examples=examples, seed=seed)


@checked
def generate(
    model: AnyPath | Backend,
    prompt: str,
    tokens: int | None = None,
    *,
    temperature: float | None = None,
    seed: int = 0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: str | None = None,
) -> str:
    """What a model writes after a prompt, without it; the sum, for a model that adds.

    Parameters
    ----------
    tokens
        How many at most; None: 200. A model for a task takes none.
    temperature
        0: always the most likely token; None: 0.5 for text. Another ``seed`` draws others.
    top_k, top_p
        Drawn from the ``top_k`` likeliest tokens only; from the fewest whose probabilities reach
        ``top_p``. The simulated chip chooses among all, and takes neither.
    stop
        Text before which it ends.
    """
    from mmfree.inference.generate import generate as pieces_of

    pieces = pieces_of(
        _loaded(model),
        prompt,
        tokens,
        temperature=temperature,
        seed=seed,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
    )
    return "".join(text for text, _ in pieces)


@dataclass(frozen=True, kw_only=True)
class Generated:
    """An accelerator that was written to ``folder``.

    Attributes
    ----------
    design
        Its sizes and limits.
    multipliers
        Cells of the RTLIL that multiply: 0.
    units
        What products of two variables are made by, kind by kind.
    unit_luts
        LUT4-equivalents of all of them (ECP5, Yosys estimate).
    products_per_token
        That they make; None without a tape.
    tape_sha256, padding_share
        Of the tape, and the share of the lanes' work that is padding, 0..1; None without a tape.
    files
        Name of a file in the folder -> its sha256; design.json has none.
    description
        What design.json holds.
    """

    folder: Path
    design: Design
    multipliers: int
    units: tuple[ProductUnit, ...]
    unit_luts: int
    products_per_token: int | None
    tape_sha256: str | None
    padding_share: float | None
    files: dict[str, str]
    description: dict[str, Any]

    @property
    def lanes(self) -> int:
        """Ternary additions per cycle."""
        return self.design.lanes

    def to_dict(self) -> dict[str, Any]:
        """``description``: plain JSON types."""
        return dict(self.description)


@checked
def verilog(
    source: AnyPath,
    out: AnyPath,
    *,
    lanes: int | None = None,
    bits: str | None = None,
    memory: str | None = None,
    force: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Generated:
    """Write an accelerator into the folder ``out``: Verilog, memory files, the tape and
    design.json.

    Parameters
    ----------
    source
        A tape, a checkpoint folder or a run folder; or the sizes of a design in a JSON file.
    lanes, bits
        None: 64 and "2", of a demo or a JSON file its own; others than a file's are refused.
    memory
        Where the weights are: "block" RAM, or an external memory and perhaps its size, in bytes or
        with K, M or G ("axi128x4:64M"); its ports decide lanes and bits. None: block, of a JSON
        file its own.
    force
        Replace what an earlier call wrote there.
    progress
        Is told what takes time.
    """
    from mmfree.chip.design import Design
    from mmfree.chip.folder import VERILOG_FOLDER
    from mmfree.chip.memory_image import check_capacity, plan_memory_image
    from mmfree.chip.sizing import refuse_another_design
    from mmfree.chip.weight_codes import WEIGHT_CODES
    from mmfree.errors import InputError, not_one_of
    from mmfree.files.atomic import read_json
    from mmfree.files.folders import new_folder, refuse_to_replace_folder

    path, folder = Path(source), Path(out)
    tape = None
    external, capacity = _memory(memory)
    refuse_to_replace_folder(folder, force)
    if path.suffix == ".json":
        design = Design.from_dict(read_json(path), str(path))
        refuse_another_design(design, lanes, bits, path)
        if memory is not None and external != design.external:
            raise InputError(
                f"--memory {memory}: the design in {path} has {design.memory}; leave the option out"
            )
    else:
        tape, design = chip_for(path, lanes, bits, memory=external, progress=progress)
    if capacity is not None and tape is not None:
        check_capacity(plan_memory_image(tape, design, path), capacity)
    if design.weight_code not in WEIGHT_CODES:
        raise not_one_of(f"{path}: weight_code", design.weight_code, WEIGHT_CODES)
    with new_folder(folder, VERILOG_FOLDER, force=force) as made:
        # Not before all is checked that was asked for.
        from hdl.toolchain.emit import write_verilog
        from hdl.toolchain.products import ProductUnit

        progress(f"generating {design.lanes:,} lanes, and synthesizing product units to size them")
        description = write_verilog(design, made, tape)
    return Generated(
        folder=folder,
        design=design,
        multipliers=description["multipliers"],
        units=tuple(ProductUnit(**unit) for unit in description["shift_and_add_units"]),
        unit_luts=description["shift_and_add_luts"],
        products_per_token=description["shift_and_add_products_per_token"],
        tape_sha256=description.get("tape_sha256"),
        padding_share=description.get("padding_share"),
        files=description["files"],
        description=description,
    )


@dataclass(frozen=True, kw_only=True)
class OnPart:
    """A model on a part: the fastest design that fits, or the one that lacks least.

    ``joules_per_token`` is a rough interval, of the part and of reading its memory; None for what
    does not fit. ``peers``: what others publish for such a model on this part.
    """

    projection: Projection
    joules_per_token: Interval | None
    peers: tuple[Peer, ...]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What of a model was planned, part by part: projected, nothing was built or measured."""

    shape: Shape
    parts: tuple[OnPart, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        config = self.shape.config
        return {
            "model": self.shape.name,
            "config": config.to_dict(),
            "ternary_weights": config.num_ternary_weights,
            "published": self.shape.published,
            "batch": 1,
            "label": "projected",
            "parts": [
                entry.projection.to_dict()
                | {
                    "joules_per_token": asdict(entry.joules_per_token)
                    if entry.joules_per_token is not None
                    else None,
                    "peers": [asdict(peer) for peer in entry.peers],
                }
                for entry in self.parts
            ],
        }


@checked
def fit(model: AnyPath, *, part: str = "all", memory: str | None = None) -> Fitted:
    """Whether a model fits parts, and how fast it would run there, before anything is built.

    Parameters
    ----------
    model
        A shape by name ("370m", "1.3b", "2.7b", or a preset); a tape, a checkpoint or a run folder;
        or a JSON file with a model's config. Of any only the shape is looked at.
    part
        A part or a board, by name (docs/fit.md); "all".
    memory
        "block" RAM, or the ports of an external memory ("axi128x4"); None: block RAM if all of it
        fits there, else the fastest ports.
    """
    from hdl.planning.parts import find_part, known_parts, peers_of
    from mmfree.chip.external_memory import BLOCK, find_memory
    from mmfree.errors import InputError
    from mmfree.inference.shapes import find_shape

    try:
        find_memory(BLOCK if memory is None else memory)
    except InputError as error:
        raise InputError(f"--memory: {error}") from None
    parts = known_parts().values() if part == "all" else (find_part(part),)
    shape = find_shape(Path(model))
    # Not before all is checked that was asked for.
    from hdl.planning.projection import project
    from sim.power.projected import projected_joules

    weights = shape.config.num_ternary_weights
    projections = [project(shape.config, each, memory) for each in parts]
    return Fitted(
        shape=shape,
        parts=tuple(
            OnPart(
                projection=projection,
                joules_per_token=projected_joules(projection),
                peers=tuple(peers_of(projection.part, shape.name, weights)),
            )
            for projection in projections
        ),
    )


def chip_for(
    model: AnyPath,
    lanes: int | None = None,
    bits: str | None = None,
    *,
    memory: ExternalMemory | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[AnyTape, Design]:
    """A model's tape, and the design that plays it.

    Parameters
    ----------
    model
        A tape; a checkpoint, trained here or published, which is exported; or a run folder with one
        of them.
    lanes, bits
        None: 64 and "2", of a demo its own.
    memory
        An external memory for the weights, whose ports decide lanes and bits.
    progress
        Is told what takes time.

    Raises
    ------
    InputError
        If there is no model; if it is a folder of Verilog, which may have been altered; or if other
        lanes or bits are asked for than a memory's.
    """
    from mmfree.chip.sizing import design_for, design_for_memory
    from mmfree.errors import InputError
    from mmfree.inference.backends import load_tape_or_export
    from mmfree.inference.places import TAPE_NAME, find_model, holds_verilog
    from mmfree.report.record import design_of_demo

    path = Path(model)
    if holds_verilog(path):
        raise InputError(
            f"{path}: a folder that `mmfree verilog` wrote, which `mmfree cosim` alone takes as it"
            f" lies there; give the tape in it, {path / TAPE_NAME}"
        )
    if memory is not None:
        for option, asked, given in (("--lanes", lanes, memory.lanes), ("--bits", bits, "1.6")):
            if asked not in (None, given):
                raise InputError(
                    f"{option} {asked}: the ports of {memory.name} feed {memory.lanes} lanes, of"
                    " 1.6 bits each; leave the option out"
                )
    found = find_model(path)
    if found.tape is None:
        progress(f"exporting {found.checkpoint} to a tape")
    tape = load_tape_or_export(path)
    if memory is not None:
        return tape, design_for_memory(tape.config, memory)
    if found.run and (own := design_of_demo(path)) is not None:
        lanes = own.lanes if lanes is None else lanes
        bits = own.weight_code if bits is None else bits
    return tape, design_for(tape, lanes, bits)


@checked
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
    memory: str | None = None,
    latency: str | None = None,
    withheld: float | None = None,
    profile: bool = False,
    waveform: AnyPath | None = None,
    simulator: str = "verilator",
    force: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> CosimResult:
    """Play a model on the simulated chip and on the golden model, and compare every bit.

    Parameters
    ----------
    source
        A tape, a checkpoint folder or a run folder; or a folder that ``verilog`` wrote for one,
        whose Verilog and memory files are simulated as they are, also if they were altered.
    prompt
        None: random tokens, from ``seed``. ``tokens`` are generated after it.
    lanes, bits
        None: 64 and "2", of a demo or a folder of Verilog its own; others than those of a folder of
        Verilog, or of an external memory, are refused.
    memory
        Where the weights are: "block" RAM, or an external memory and perhaps its size, in bytes or
        with K, M or G ("axi128x4:64M"). None: block, of a folder of Verilog its own.
    latency, withheld
        Of the model of an external memory: least and most cycles from an address to its data
        ("60:200"; None: these), and percent of the cycles in which it gives nothing (None: 0).
    waveform
        File for a VCD of the run, or of the first token that differs. With ``force`` one that is
        there is replaced.
    progress
        Is told what takes time.
    """
    from mmfree.chip.memory_image import check_capacity, plan_memory_image
    from mmfree.chip.sizing import refuse_another_design
    from mmfree.errors import InputError
    from mmfree.files.atomic import reserved
    from mmfree.inference.places import holds_verilog
    from sim.cosim.chip_folder import read_chip_folder
    from sim.cosim.due import check_sequences
    from sim.memory.model import check_simulator
    from sim.tracing.waveform import check_waveform

    path = Path(source)
    external, capacity = _memory(memory)
    if holds_verilog(path):
        chip = read_chip_folder(path)
        tape, design = chip.tape, chip.design
        refuse_another_design(design, lanes, bits, path)
        if memory is not None and external != design.external:
            raise InputError(
                f"--memory {memory}: the design in {path} has {design.memory}; leave the option out"
            )
    else:
        chip = None
        tape, design = chip_for(path, lanes, bits, memory=external, progress=progress)
    check_simulator(design, simulator)
    if capacity is not None:
        check_capacity(plan_memory_image(tape, design, path), capacity)
    sequence = _sequence(tape, prompt, tokens, temperature, stop, seed)
    check_sequences([sequence], [tape])
    file = _path(waveform)
    asked: dict[str, Any] = {
        "seed": seed,
        "profile": profile,
        "waveform": file,
        "simulator": simulator,
        "behaviour": _behaviour(design, latency, withheld, seed),
    }
    with ExitStack() as stack:
        if file is not None and not file.is_dir():
            stack.enter_context(reserved(file, force=force))
        check_waveform(file)
        # Not before all is checked that was asked for.
        from sim.cosim.run import cosim as play
        from sim.cosim.run import cosim_folder

        progress(f"generating, compiling and simulating {design.lanes:,} lanes ({simulator})")
        if chip is None:
            result = play([tape], design, [sequence], **asked)
        else:
            result = cosim_folder(chip, [sequence], **asked)
    text = _written(tape, sequence, result) if prompt is not None else None
    return replace(result, tape_sha256=tape.sha256, text=text)


def _memory(name: str | None) -> tuple[ExternalMemory | None, int | None]:
    """The external memory of a name, if it is one, and its size in bytes, if that is given."""
    from mmfree.chip.external_memory import find_memory, split_capacity
    from mmfree.errors import InputError

    if name is None:
        return None, None
    try:
        kind, capacity = split_capacity(name)
        return find_memory(kind), capacity
    except InputError as error:
        raise InputError(f"--memory: {error}") from None


def _behaviour(
    design: Design, latency: str | None, withheld: float | None, seed: int
) -> Behaviour | None:
    """How the external memory of a design behaves; None if it has none."""
    from mmfree.errors import InputError
    from sim.memory.model import Behaviour, read_latency

    if design.external is None:
        if latency is not None or withheld is not None:
            raise InputError(
                "--latency and --withheld are of an external memory: give --memory, too, such as"
                " axi128x4"
            )
        return None
    asked: dict[str, Any] = {}
    if latency is not None:
        asked["latency"] = read_latency(latency)
    if withheld is not None:
        asked["withheld"] = withheld
    return Behaviour(**asked, seed=seed)


def _written(tape: AnyTape, sequence: Sequence, result: CosimResult) -> str | None:
    """What the chip wrote after a prompt, or read out of it; None if it did not come to the end."""
    from mmfree.inference.tape_backends import tokenizer_of

    if result.tokens != result.verdict.due["rows"]:
        return None
    tokenizer = tokenizer_of(tape)
    played = len(sequence.prompt)
    rows = result.rows[0][played - 1 :] if tokenizer.feeds_back else result.rows[0]
    return tokenizer.decode(rows)


def _sequence(
    tape: AnyTape, prompt: str | None, tokens: int, temperature: float, stop: int | None, seed: int
) -> Sequence:
    """What a co-simulation plays."""
    import numpy as np

    from mmfree.errors import InputError
    from mmfree.golden.sampling import seed_registers, temperature_code
    from mmfree.inference.tape_backends import tokenizer_of
    from sim.cosim.run_folder import Sequence

    # A published checkpoint may be without one: its tokens are numbers then.
    named = prompt is None and tape.tokenizer.get("kind") == "none"
    tokenizer = None if named else tokenizer_of(tape)
    if tokens < 0:
        raise InputError(f"--tokens must be 0 or more, got {tokens}")
    if tokens and tokenizer is not None and not tokenizer.feeds_back:
        raise InputError(
            f"--tokens: a model for {tokenizer.kind} reads out its answer and generates nothing"
        )
    code = temperature_code(temperature)
    seed_registers(seed)
    if (code or stop is not None) and not tokens:
        raise InputError("--temperature and --stop need --tokens: nothing is chosen without")
    if prompt is not None and tokenizer is not None:
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
