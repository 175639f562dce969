"""What installs a package that is missing, from where mmfree itself was installed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

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

CLONE = Path(__file__).parents[1]
"""Where pyproject.toml lies, if mmfree is run from a clone."""


def how_to_install(extra: str) -> str:
    """The command that installs an extra into the Python that runs."""
    beside = Path(sys.executable).with_name("pip")
    found = shutil.which("pip")
    own = found is not None and Path(found) == beside
    return f"{'pip' if own else f'{sys.executable} -m pip'} install {_requirement(extra)}"


def _requirement(extra: str) -> str:
    """What pip is to install: the clone in use, or what mmfree was installed from (PEP 610)."""
    if (CLONE / "pyproject.toml").is_file():
        return f"-e '{'.' if Path.cwd() == CLONE else CLONE}[{extra}]'"
    # Here, for they take longer to import than the help takes to be shown.
    from importlib.metadata import distribution
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    text = distribution("mmfree").read_text("direct_url.json")
    if text is None:  # from a registry
        return f"'mmfree[{extra}]'"
    record = json.loads(text)
    if "dir_info" in record:
        return f"'{url2pathname(urlsplit(record['url']).path)}[{extra}]'"
    prefix = f"{record['vcs_info']['vcs']}+" if "vcs_info" in record else ""
    return f"'mmfree[{extra}] @ {prefix}{record['url']}'"
