"""The model card of a Hugging Face folder: facts of the checkpoint, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmfree.hf.config import MatMulFreeConfig
from mmfree.tape.pow2 import Tape
from mmfree.training.metrics import read_rows

CARD_NAME = "README.md"
RECENT_STEPS = 50
"""Steps whose mean loss is given as the final one."""

_TEMPLATE = """\
---
library_name: mmfree
tags:
{tags}
# license: yours to choose, for example apache-2.0
---

# {title}

A MatMul-free language model ([arXiv 2406.02528](https://arxiv.org/abs/2406.02528)) with ternary
weights, made with mmfree.

| | |
|---|---|
{facts}

## Training

{training}

## Arithmetic, and its limits

{arithmetic}

## Loading

```python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("PATH", trust_remote_code=True)
```

The code is that of the package mmfree, which must be installed (`pip install 'mmfree[hf]'`).
`import mmfree.hf` does in place of `trust_remote_code=True`.

{loading}

## Licence

Not chosen yet. Whoever publishes this model writes `license: ...` into the block at the top of this
file; without one nobody may use it.
"""


@dataclass(frozen=True)
class TrainingRecord:
    """What metrics.csv says of a run.

    ``steps`` were done; ``last_loss`` is that of the last one, ``mean_loss`` the mean over the last
    ``recent``, in nats.
    """

    steps: int
    last_loss: float
    mean_loss: float
    recent: int


def read_training_record(path: Path) -> TrainingRecord | None:
    """The record of a run; None if there is no such file, or no step in it.

    Raises
    ------
    InputError
        If the file is no table of step, loss and learning rate (``mmfree.training.metrics``).
    """
    rows = read_rows(path)
    if not rows:
        return None
    losses = [loss for _, loss, _ in rows]
    steps = rows[-1][0] + 1
    recent = losses[-RECENT_STEPS:]
    return TrainingRecord(steps, losses[-1], sum(recent) / len(recent), len(recent))


def model_card(config: MatMulFreeConfig, tape: Tape | None, record: TrainingRecord | None) -> str:
    """The text of ``README.md``: Markdown with YAML front matter.

    ``tape`` and ``record``: None if there is none.
    """
    model = config.model_config()
    predicts_text = model.head_size == model.vocab_size
    tags = ["mmfree", "matmul-free", "ternary", *(["text-generation"] if predicts_text else [])]
    kind = (config.tokenizer or {}).get("kind", "unknown")
    task = (config.recipe or {}).get("task", "unknown")
    facts = {
        "Task, tokenizer": f"{task}, {kind}",
        "Parameters": f"{model.num_parameters:,}",
        "Ternary weights": f"{model.num_ternary_weights:,}, 1.6 bits each on a tape",
        "Shape": (
            f"width {model.hidden_size}, intermediate {model.intermediate_size}, {model.num_layers}"
            f" layers, {model.vocab_size} token ids, {model.head_size} rows of the head"
        ),
        "Forget gate": model.gate,
        "State": f"{model.num_state_words:,} words, whatever the length",
        **_tape_facts(tape),
    }
    return _TEMPLATE.format(
        tags="\n".join(f"- {tag}" for tag in tags),
        title=f"MatMul-free language model, {model.num_parameters:,} parameters",
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        training=_training(config.recipe, record),
        arithmetic=_arithmetic(config, predicts_text),
        loading=_loading(kind, predicts_text),
    )


def _tape_facts(tape: Tape | None) -> dict[str, str]:
    if tape is None:
        return {"Tape": "none was made when this card was written"}
    bits = 8 * tape.num_bytes / tape.config.num_parameters
    return {
        "Tape": f"{tape.num_bytes:,} bytes, {bits:.2f} bits per parameter with everything it holds",
        "Tape's sha256": f"`{tape.sha256}`",
    }


def _training(recipe: dict[str, Any] | None, record: TrainingRecord | None) -> str:
    if recipe is None:
        lines = ["The checkpoint does not say how it was trained."]
    else:
        lines = ["Recipe: " + ", ".join(f"{name} {value}" for name, value in recipe.items()) + "."]
    if record is not None:
        lines.append(
            f"{record.steps:,} steps were done; the loss of the last one was {record.last_loss:.4f}"
            f" nats, and {record.mean_loss:.4f} on average over the last {record.recent}. That is"
            " training loss: nothing here was measured on held-out data."
        )
    return "\n\n".join(lines)


def _arithmetic(config: MatMulFreeConfig, predicts_text: bool) -> str:
    mode = {
        "fakequant": (
            "computes in the integers of mmfree's specification (int8 activations, int16 residual,"
            " table functions): logits are multiples of 1/512 in [-64, 64), equal to those of the"
            " golden model and of the generated chip"
        ),
        "float": (
            "uses the same ternary weights with activations that are not quantized, so its logits"
            ' are not those of the chip (`mode="fakequant"` gives them)'
        ),
    }[config.mode]
    lines = [
        (
            "`model.safetensors` holds latent float32 weights; every forward pass makes them"
            f' ternary. As stored here (`mode`: "{config.mode}") the model {mode}.'
        ),
        (
            "Weights must stay float32: rounding would move some across the thresholds between -1,"
            " 0 and 1."
        ),
    ]
    if not predicts_text:
        lines.append(
            "The head's rows are answers, not token ids: there is no `generate`, and no loss on"
            " token ids."
        )
    return "\n\n".join(lines)


def _loading(kind: str, predicts_text: bool) -> str:
    if kind in ("bytes", "tokenizers") and predicts_text:
        return (
            '`AutoTokenizer.from_pretrained` gives the tokenizer, and `pipeline("text-generation",'
            ' model="PATH", trust_remote_code=True)` both. Prompts of different length are padded'
            " on the left."
        )
    if predicts_text:
        return (
            "Prompts are encoded by mmfree: `mmfree.text.tokenizers.tokenizer_from_dict` reads"
            f" `mmfree_tokenizer.json` (kind {kind})."
        )
    return (
        'Prompts are encoded by mmfree: `mmfree.text.tokenizers.tokenizer_from_dict({"kind":'
        f' "{kind}"}}).encode(...)`.'
    )
