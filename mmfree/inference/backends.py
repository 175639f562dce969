"""Backends: whatever turns token ids into logits. Torch is imported only for the two that need it.

A player of tapes beside the golden model registers in ``PLAYERS`` by its name.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.sizing import DEFAULT_LANES
from mmfree.errors import InputError, ToolMissing, not_one_of
from mmfree.files.atomic import read_json
from mmfree.inference.native.library import is_at_hand, load_library
from mmfree.inference.places import Place, find_model, training_of
from mmfree.inference.tape_backends import GoldenBackend, choosable_rows, tokenizer_of
from mmfree.published.export import export_published, read_tokenizer
from mmfree.published.hgrn_bit import CONFIG_NAME, MODEL_TYPE, model_type, read_config
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import AnyTape, open_tape
from mmfree.text.tokenizer import Tokenizer, document_ends
from mmfree.text.tokenizers import begin_with, tokenizer_from_dict
from mmfree.training.recipe import TOKENIZER_NAME

LOGITS = 1 << 24
"""Most logits held at a time: 64 MB."""

TORCH_BACKENDS = ("float", "fakequant")

PLAYERS = {"cpu": "mmfree.inference.cpu:load", "rtl": "sim.cosim.backend:load"}
"""Backend -> "module:function" that makes it of a tape and a number of lanes, loaded lazily."""

HARDWARE = ("rtl",)
"""Backends that are a chip: it has lanes, and chooses the next token itself, among all rows."""

BACKENDS = (*TORCH_BACKENDS, "golden", *PLAYERS)


class Backend(Protocol):
    """A model for B independent sequences at a time.

    A logit v stands for v / 2^fraction_bits nats. Backends that play integers yield integers;
    "float" yields float32 with 0 fraction bits.
    """

    name: str
    tokenizer: Tokenizer
    fraction_bits: int
    end_ids: tuple[int, ...]
    """Ids that end a generated text, and are no part of it: ``eos_token_id`` of a published
    checkpoint; of a model trained here those of ``document_ends``.
    """
    choosable: NDArray[np.bool_] | None
    """Rows of the head that can be chosen, [rows]; None: all. The others are padding of the
    vocabulary: they have logits, and no token."""
    training: Path | None
    """The folder of the checkpoint that lies where it was loaded from: it knows what its training
    held out."""

    def state(self, batch: int) -> Any:
        """State at the start of a sequence, in whatever form the backend keeps it."""
        ...

    def run(self, ids: NDArray[np.integer], state: Any) -> tuple[NDArray[Any], Any]:
        """Logits [B, T, rows] for ids [B, T], and the state after them."""
        ...


def run_in_parts(
    backend: Backend, ids: NDArray[np.integer], *, most_positions: int | None = None
) -> Iterator[tuple[slice, NDArray[Any], Any]]:
    """Run ids [B, T] from the start of a sequence, in parts of which memory holds only one.

    Yields the columns of each part, their logits and the state after them. ``most_positions``
    limits a part further, for a progress bar.
    """
    state = backend.state(len(ids))
    columns = max(1, LOGITS // (len(ids) * backend.tokenizer.head_size))
    columns = columns if most_positions is None else min(columns, most_positions)
    for first in range(0, ids.shape[1], columns):
        part = slice(first, first + columns)
        logits, state = backend.run(ids[:, part], state)
        yield part, logits, state


def most_likely(backend: Backend, logits: NDArray[Any]) -> NDArray[np.intp]:
    """The row that is chosen of logits [..., rows] at temperature 0, [...]: never padding."""
    if backend.choosable is not None:
        lowest = -np.inf if logits.dtype.kind == "f" else np.iinfo(logits.dtype).min
        logits = np.where(backend.choosable, logits, lowest)
    return np.asarray(logits.argmax(axis=-1))


class TorchBackend:
    """A model under torch: ``name`` is its mode, "float" or "fakequant"."""

    training: Path | None = None

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Tokenizer,
        fraction_bits: int = 0,
        *,
        end_ids: tuple[int, ...] = (),
        choosable: NDArray[np.bool_] | None = None,
    ) -> None:
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.fraction_bits, self.end_ids, self.choosable = fraction_bits, end_ids, choosable

    def state(self, batch: int) -> Any:
        """Zeros, a tensor [L, B, w]."""
        return self.model.initial_state(batch)

    def run(self, ids: NDArray[np.integer], state: Any) -> tuple[NDArray[Any], Any]:
        """See Backend; logits are int32 if the arithmetic is that of integers, else float32.

        Raises
        ------
        InputError
            If a logit is not finite.
        """
        import torch

        with torch.no_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int64))
            logits, state = self.model(tensor, state, mode=self.name)
        if not bool(torch.isfinite(logits).all()):
            raise InputError(
                f"backend {self.name}: logits are not finite: weights of the model are too large,"
                " or damaged"
            )
        nats: NDArray[np.float32] = logits.numpy()
        if not self.fraction_bits:
            return nats, state
        # Exact: fake-quantized logits are integers over a power of two.
        return (nats * np.float32(2.0**self.fraction_bits)).astype(np.int32), state


def load_checkpoint_backend(folder: Path, mode: str) -> TorchBackend:
    """A checkpoint trained here under torch, mode "float" or "fakequant"."""
    from mmfree.contract.pow2 import DEFAULT_FORMATS
    from mmfree.training.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(folder)
    fraction_bits = DEFAULT_FORMATS.residual_fb if mode == "fakequant" else 0
    tokenizer = checkpoint.tokenizer
    return TorchBackend(
        mode, checkpoint.model, tokenizer, fraction_bits, end_ids=document_ends(tokenizer)
    )


def load_tape_or_export(path: Path) -> AnyTape:
    """The tape at ``path``, else that of the checkpoint there, trained here or published.

    Raises
    ------
    InputError
        If there is neither (``mmfree.inference.places``).
    """
    found = find_model(path)
    if found.tape is not None:
        return open_tape(found.tape)
    assert found.checkpoint is not None
    if is_published(found.checkpoint):
        return _passing_tape(found.checkpoint)
    from mmfree.training.checkpoint import load_checkpoint
    from mmfree.training.export import export_tape

    checkpoint = load_checkpoint(found.checkpoint)
    return export_tape(checkpoint.model, checkpoint.tokenizer.to_dict())


def load_trained_tape(path: Path) -> Tape:
    """As ``load_tape_or_export``, of a model trained here; InputError, too, if it was not."""
    found = find_model(path)
    if found.tape is None and found.checkpoint is not None and is_published(found.checkpoint):
        raise InputError(f"{path}: a published checkpoint, and this is for models trained here")
    tape = load_tape_or_export(path)
    if not isinstance(tape, Tape):
        raise InputError(
            f"{path}: the tape of a published checkpoint, and this is for models trained here"
        )
    return tape


def _passing_tape(folder: Path, tokenizer: dict[str, Any] | None = None) -> AnyTape:
    """The tape of a published checkpoint, in a file that is deleted after it.

    ``tokenizer``: its description; None: as ``export_published`` finds it.
    """
    place = tempfile.mkdtemp(prefix="mmfree-")
    try:
        export_published(folder, Path(place) / "model.tape", tokenizer=tokenizer)
        tape = open_tape(Path(place) / "model.tape")
    except BaseException:
        shutil.rmtree(place)
        raise
    # Its arrays are read when they are asked for. At the latest the interpreter's end is its end.
    weakref.finalize(tape, shutil.rmtree, place, ignore_errors=True)
    return tape


def is_published(folder: Path) -> bool:
    """Whether a folder is a checkpoint that was not trained here."""
    return (folder / CONFIG_NAME).is_file() and model_type(folder) is not None


def _load_published(folder: Path, name: str, lanes: int | None) -> Backend:
    """The backend ``name`` for a published checkpoint."""
    config = read_config(folder)
    tokenizer = _published_tokenizer(folder)
    if name != "float":
        return play_tape(_passing_tape(folder, tokenizer), name, lanes)
    from mmfree.published.model import load_published

    described = tokenizer_from_dict(tokenizer)
    begin_with(described, config.bos_token_id)
    return TorchBackend(
        "float",
        load_published(folder),
        described,
        end_ids=config.end_ids,
        choosable=choosable_rows(described, config.head_size, config.end_ids),
    )


def _published_tokenizer(folder: Path) -> dict[str, Any]:
    """Description of a published checkpoint's tokenizer; InputError if it has none."""
    config = read_config(folder)
    tokenizer = read_tokenizer(folder, config.vocab_size, config.bos_token_id)
    if tokenizer["kind"] == "none":
        raise InputError(
            f"{folder}: no tokenizer: put tokenizer.json or tokenizer.model of the model into the"
            " folder"
        )
    return tokenizer


def tokenizer_at(path: Path) -> Tokenizer:
    """The tokenizer of the model at ``path``, as ``load_backend`` takes it, without its weights.

    Raises
    ------
    InputError
        If there is no model, or its tokenizer is missing or damaged.
    """
    found = find_model(path)
    if found.tape is not None:
        tape, place = open_tape(found.tape), path
        read = partial(tokenizer_of, tape)
    else:
        assert found.checkpoint is not None
        if is_published(found.checkpoint):
            return tokenizer_from_dict(_published_tokenizer(found.checkpoint))
        place = found.checkpoint / TOKENIZER_NAME
        read = partial(tokenizer_from_dict, read_json(place))
    try:
        return read()
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def play_tape(tape: AnyTape, name: str, lanes: int | None) -> Backend:
    """A player of a tape: "golden", or one of ``PLAYERS``, of ``lanes`` (None: 64).

    Raises
    ------
    InputError
        If the tape has no tokenizer, or one that is not its model's.
    """
    if name == "golden":
        return GoldenBackend(tape)
    module, _, function = PLAYERS[name].partition(":")
    backend: Backend = getattr(import_module(module), function)(tape, lanes or DEFAULT_LANES)
    return backend


def load_backend(path: Path, name: str | None = None, lanes: int | None = None) -> Backend:
    """The backend ``name`` for a tape, a checkpoint folder or a run folder.

    Parameters
    ----------
    path
        A tape; the folder of a checkpoint, trained here or published; or a run folder, of which the
        tape is played by "cpu", "golden" and "rtl", and the checkpoint by torch.
    name
        Of BACKENDS; None: ``tape_player`` for a tape, also that of a run folder, fakequant for a
        checkpoint, float for a published one.
    lanes
        Of the simulated chip, for "rtl" only; None: 64.

    Raises
    ------
    InputError
        If there is no model at ``path``, torch is asked to play a tape, the name is unknown,
        or it has no lanes.
    """
    if name is not None and name not in BACKENDS:
        raise not_one_of("--backend", name, BACKENDS)
    found = find_model(path)
    name = name or default_backend(found)
    check_backend(found, name)
    check_lanes_of([name], lanes)
    backend = _load(found, name, lanes)
    backend.training = training_of(path)
    return backend


def _load(found: Place, name: str, lanes: int | None) -> Backend:
    if found.checkpoint is not None and (found.tape is None or name in TORCH_BACKENDS):
        return _load_checkpoint(found.checkpoint, name, lanes)
    assert found.tape is not None
    tape = open_tape(found.tape)
    try:
        return play_tape(tape, name, lanes)
    except InputError as error:
        raise InputError(f"{found.path}: {error}") from None


def check_lanes_of(names: Iterable[str], lanes: int | None) -> None:
    """InputError if lanes are asked for, and none of the backends is a chip that has some."""
    if lanes is not None and not set(HARDWARE) & set(names):
        raise InputError(
            f"--lanes {lanes}: only the simulated chip has lanes; give --backend rtl, or leave"
            " --lanes out"
        )


def check_backend(found: Place, name: str) -> None:
    """InputError if a backend does not play what there is of a model; nothing is loaded for it."""
    if found.checkpoint is None:
        if name in TORCH_BACKENDS:
            raise InputError(
                f"{found.path}: backend {name} needs the checkpoint folder; a tape is played by"
                " cpu, golden or rtl"
            )
    elif name == "fakequant" and is_published(found.checkpoint):
        raise InputError(
            f"{found.checkpoint}: a published checkpoint (model_type {MODEL_TYPE!r}) is run by"
            f" float, cpu, golden or rtl, not by {name}: float has the released arithmetic, int8"
            " activations and ternary weights; the others have the integers of its tape"
        )


def default_backend(found: Place) -> str:
    """What plays a model if nobody says: ``tape_player`` a tape, float a published checkpoint, else
    fakequant.
    """
    if found.tape is not None:
        return tape_player()
    assert found.checkpoint is not None
    return "float" if is_published(found.checkpoint) else "fakequant"


SMALL_TAPE_BYTES = 2 << 20
"""Largest tape of which the golden model plays hundreds of tokens a second."""


@cache
def tape_player() -> str:
    """What plays tapes if nobody says: cpu; where its library cannot be had golden, which has the
    same integers, and a line on stderr says why.
    """
    try:
        load_library()
    except ToolMissing as error:
        print(f"mmfree: golden plays, which is slower: {error}", file=sys.stderr)
        return "golden"
    return "cpu"


def at_once(path: Path) -> str | None:
    """What plays a small tape of a model trained here before the fast player's library has been
    compiled, which takes longer than a text does: golden; None: whatever plays it anyway.
    """
    tape = find_model(path).tape
    if tape is None or is_at_hand() or tape.stat().st_size > SMALL_TAPE_BYTES:
        return None
    return "golden" if isinstance(open_tape(tape), Tape) else None


def _load_checkpoint(folder: Path, name: str, lanes: int | None) -> Backend:
    """The backend ``name`` for a checkpoint, trained here or published."""
    if is_published(folder):
        return _load_published(folder, name, lanes)
    if name in TORCH_BACKENDS:
        return load_checkpoint_backend(folder, name)
    return play_tape(load_tape_or_export(folder), name, lanes)
