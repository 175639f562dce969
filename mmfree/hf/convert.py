"""Between checkpoints of mmfree and Hugging Face folders, both ways, weights bit for bit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from mmfree.contract.tokenizers import SUBWORD_KINDS
from mmfree.errors import InputError
from mmfree.files.atomic import read_json
from mmfree.files.folders import FolderKind, new_folder
from mmfree.hf.card import CARD_NAME, model_card, read_training_record
from mmfree.hf.config import MatMulFreeConfig
from mmfree.hf.model import MatMulFreeForCausalLM
from mmfree.hf.tokenizer import hugging_face_tokenizer
from mmfree.tape.pow2 import Tape
from mmfree.training.checkpoint import CHECKPOINT_FOLDER, Checkpoint, load_checkpoint, write_model
from mmfree.training.export import export_tape
from mmfree.training.metrics import METRICS_NAME
from mmfree.training.recipe import CONFIG_NAME, TOKENIZER_NAME, RunConfig

MMFREE_TOKENIZER_NAME = "mmfree_tokenizer.json"
"""mmfree's own description of a tokenizer that carries data, kept for ``to_checkpoint``."""

HUGGING_FACE_FOLDER = FolderKind(
    last=CONFIG_NAME,
    own=re.compile(
        r"(config|generation_config|special_tokens_map|added_tokens|mmfree_tokenizer)\.json"
        r"|tokenizer(_config)?\.json|tokenizer\.model|vocab\.json|merges\.txt|README\.md"
        r"|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"
        r"|(modeling|configuration|tokenization)_\w+\.py"
    ),
)


def to_hugging_face(
    checkpoint: Path, out: Path, *, mode: str = "fakequant", force: bool = False
) -> Tape | None:
    """Write a checkpoint folder of mmfree as a Hugging Face folder.

    It has config, weights, tokenizer, generation config and model card.

    Parameters
    ----------
    checkpoint
        Folder of ``mmfree train``.
    out
        New folder; it appears only when it is whole.
    mode
        Arithmetic that ``from_pretrained`` uses (``MatMulFreeConfig``).
    force
        Overwrite what is there.

    Returns
    -------
    Tape or None
        The model as a tape, whose sha256 the card names; None if its weights cannot be exported.

    Raises
    ------
    InputError
        If the checkpoint cannot be used, or ``out`` exists.
    """
    loaded = load_checkpoint(checkpoint)
    model, tokenizer = wrap(loaded, mode), hugging_face_tokenizer(loaded.tokenizer)
    tape = _tape_or_none(loaded)
    record = read_training_record(checkpoint / METRICS_NAME)
    with new_folder(out, HUGGING_FACE_FOLDER, force=force) as folder:
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        if "data" in (own := loaded.tokenizer.to_dict()):
            (folder / MMFREE_TOKENIZER_NAME).write_text(json.dumps(own), encoding="utf-8")
        (folder / CARD_NAME).write_text(model_card(model.config, tape, record), encoding="utf-8")
    return tape


def to_checkpoint(source: Path, out: Path, *, force: bool = False) -> RunConfig:
    """Write a Hugging Face folder of mmfree as a checkpoint folder, and return its config.

    Every verb of mmfree reads the checkpoint, but training cannot be resumed from it: it has no
    state of the optimizer.

    Raises
    ------
    InputError
        If ``source`` is no such folder, its config has no recipe or names a token that ends a text,
        a tensor does not belong to it, or ``out`` exists.
    """
    path = source / CONFIG_NAME
    found = read_json(path)
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind != MatMulFreeConfig.model_type:
        raise InputError(
            f"{path}: model_type must be {MatMulFreeConfig.model_type!r}, got {kind!r}"
        )
    config = _read_config(source)
    if config.recipe is None:
        raise InputError(
            f"{path}: recipe is missing: set model.config.recipe (mmfree.training.recipe.Recipe)"
            " before saving the model"
        )
    model = _read_model(source)
    for place, found in (
        ("generation_config.json", model.generation_config),
        ("config.json", config),
    ):
        # A text of mmfree ends where the next document begins, with the start token.
        if (ends := found.eos_token_id) not in (None, config.bos_token_id):
            raise InputError(
                f"{source / place}: eos_token_id is {ends}, but a text of a checkpoint of mmfree"
                f" ends with its start token, {config.bos_token_id}, and nothing else: set it to"
                " null in both config.json and generation_config.json, and end texts with `mmfree"
                " generate --stop`"
            )
    data: dict[str, Any] = {"model": config.model_config().to_dict(), "recipe": config.recipe}
    kind = (config.tokenizer or {}).get("kind")
    if kind in SUBWORD_KINDS:
        own = (source / MMFREE_TOKENIZER_NAME).exists()
        data["tokenizer"] = MMFREE_TOKENIZER_NAME if own else TOKENIZER_NAME
    run = RunConfig.from_dict(data, str(path))
    if kind != run.tokenizer.kind:
        raise InputError(f"{path}: tokenizer: kind must be {run.tokenizer.kind!r}, got {kind!r}")
    with new_folder(out, CHECKPOINT_FOLDER, force=force) as folder:
        write_model(folder, run, model.model, run.tokenizer)
    return run


def _read_config(source: Path) -> MatMulFreeConfig:
    try:
        config: MatMulFreeConfig = MatMulFreeConfig.from_pretrained(source)
    except Exception as error:  # of whatever kind: fields of transformers' own may be anything
        raise InputError(f"{source / CONFIG_NAME}: {error}") from None
    return config


def _read_model(source: Path) -> MatMulFreeForCausalLM:
    try:
        model: MatMulFreeForCausalLM = MatMulFreeForCausalLM.from_pretrained(source)
    except InputError:
        raise
    except Exception as error:  # of whatever kind: damaged files reach several libraries
        raise InputError(f"{source}: the weights cannot be read: {error}") from None
    return model


def wrap(checkpoint: Checkpoint, mode: str = "fakequant") -> MatMulFreeForCausalLM:
    """A loaded checkpoint as a model for transformers, with the same weights; writes nothing."""
    tokenizer = checkpoint.tokenizer
    start = getattr(tokenizer, "start", None)
    # Bulky data are only in tokenizer.json.
    kind = {key: value for key, value in tokenizer.to_dict().items() if key != "data"}
    config = MatMulFreeConfig(
        mode=mode,
        recipe=checkpoint.config.to_dict()["recipe"],
        tokenizer=kind,
        bos_token_id=start,
        eos_token_id=start,
        **dict[str, Any](checkpoint.config.model.to_dict()),
    )
    model = MatMulFreeForCausalLM(config)
    model.model.load_state_dict(checkpoint.model.state_dict())
    model.generation_config = GenerationConfig(bos_token_id=start, eos_token_id=start)
    return model.eval()


def _tape_or_none(checkpoint: Checkpoint) -> Tape | None:
    try:
        return export_tape(checkpoint.model, checkpoint.tokenizer.to_dict())
    except InputError:
        return None
