"""What each verb of the command line asks for, option by option, and what it then says.

The work below the verbs is replaced (``tests.support.below``); the numbers here are made up.
"""

from __future__ import annotations

from tests.support.verbs.bench import BENCH
from tests.support.verbs.chips import BUILD, COSIM, COSIM_FOLDER, PAGE, VERILOG
from tests.support.verbs.demo import DEMO, DEMO_AGAIN, REPORT
from tests.support.verbs.fit import FIT
from tests.support.verbs.models import (
    EVALUATE_CHOICES,
    EVALUATE_RUN,
    EVALUATE_TASK,
    EVALUATE_TEXT,
    EXPORT,
    EXPORT_BITNET,
    EXPORT_CHECKPOINT,
    EXPORT_HUGGING_FACE,
    EXPORT_PUBLISHED,
    GENERATE,
    INSPECT,
)
from tests.support.verbs.power import POWER, VALIDATION
from tests.support.verbs.training import COMPARE, CONFIG, TOKENIZE, TRAIN

CASES = {
    "tokenize": TOKENIZE,
    "config": CONFIG,
    "train": TRAIN,
    "compare": COMPARE,
    "evaluate text": EVALUATE_TEXT,
    "evaluate a run": EVALUATE_RUN,
    "evaluate a task": EVALUATE_TASK,
    "evaluate choices": EVALUATE_CHOICES,
    "export": EXPORT,
    "export a published one": EXPORT_PUBLISHED,
    "export for Hugging Face": EXPORT_HUGGING_FACE,
    "export packed trits": EXPORT_BITNET,
    "export back": EXPORT_CHECKPOINT,
    "inspect": INSPECT,
    "generate": GENERATE,
    "bench": BENCH,
    "fit": FIT,
    "verilog": VERILOG,
    "build": BUILD,
    "cosim": COSIM,
    "cosim a folder": COSIM_FOLDER,
    "power": POWER,
    "power, validation": VALIDATION,
    "demo": DEMO,
    "demo, trained already": DEMO_AGAIN,
    "report": REPORT,
    "page": PAGE,
}
