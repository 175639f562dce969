"""Hugging Face folders in processes that do not import mmfree by themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers", reason="extra hf is not installed")
from mmfree.hf import MatMulFreeForCausalLM, to_hugging_face
from mmfree.hf.remote_code import AUTO_CLASSES, auto_map, write_remote_code
from mmfree.inference.backends import load_backend
from mmfree.inference.generate import generate

TEXT = "The quick"

PROGRAM = """
import json, sys
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, pipeline

folder, again, text = sys.argv[1:]
transformers.logging.disable_progress_bar()
assert not any(name.partition(".")[0] == "mmfree" for name in sys.modules)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
ids = tokenizer(text, return_tensors="pt")
model.save_pretrained(again)
tokenizer.save_pretrained(again)
write = pipeline("text-generation", model=again, trust_remote_code=True)
print(json.dumps({
    "logits": model(**ids).logits[0].tolist(),
    "mode": AutoConfig.from_pretrained(again, trust_remote_code=True).mode,
    "generated": tokenizer.decode(
        model.generate(**ids, max_new_tokens=6, do_sample=False)[0], skip_special_tokens=True
    ),
    "written": write(text, max_new_tokens=6, do_sample=False)[0]["generated_text"],
}))
"""

WITHOUT_PACKAGE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "mmfree":
            raise ModuleNotFoundError("No module named 'mmfree'", name="mmfree")

sys.meta_path.insert(0, Missing())
from transformers import AutoModelForCausalLM
try:
    AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
except ImportError as error:
    print(error)
"""


def run_alone(program: str, home: Path, *arguments: Path | str) -> str:
    """What a program of its own prints, without our test's modules and caches."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={"HF_HOME": str(home), "PATH": "", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("saved_again", [False, True])
def test_a_folder_is_loaded_without_importing_mmfree(
    saved_again: bool, folder: Path, run: Path, tmp_path: Path
) -> None:
    if saved_again:  # as a training run of transformers writes its checkpoints
        MatMulFreeForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "saved")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / "saved" / name).write_bytes((folder / name).read_bytes())
        folder = tmp_path / "saved"
    found = json.loads(run_alone(PROGRAM, tmp_path / "home", folder, tmp_path / "again", TEXT))
    golden = load_backend(run, "golden")
    ids = golden.tokenizer.encode(TEXT)
    logits, _ = golden.run(np.array([ids]), golden.state(1))
    assert found["logits"] == (logits[0] * 2.0**-golden.fraction_bits).tolist()
    assert found["mode"] == "fakequant"
    text = TEXT + "".join(text for text, _ in generate(golden, TEXT, 6, temperature=0))
    assert found["generated"].rstrip("\ufffd") == text.rstrip("\ufffd")
    assert found["written"].rstrip("\ufffd") == text.rstrip("\ufffd")


def test_a_missing_package_is_named(folder: Path, tmp_path: Path) -> None:
    said = run_alone(WITHOUT_PACKAGE, tmp_path / "home", folder)
    assert "requires the following packages that were not found in your environment: mmfree" in said


def test_every_folder_carries_the_files_that_its_config_names(
    addition_run: Path, tmp_path: Path
) -> None:
    to_hugging_face(addition_run, tmp_path / "hf")
    found = json.loads((tmp_path / "hf" / "config.json").read_text())["auto_map"]
    assert found == auto_map()
    for auto, place in found.items():
        file, _, name = place.partition(".")
        code = (tmp_path / "hf" / f"{file}.py").read_text()
        names: dict[str, object] = {}
        exec(code, names)
        assert names[name].__module__ == AUTO_CLASSES[auto][1], "not a copy of it"
        assert max(map(len, code.splitlines())) <= 100


def test_files_of_earlier_versions_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "modeling_mmfree.py").write_text("raise SystemExit('old')\n")
    write_remote_code(tmp_path)
    assert "SystemExit" not in (tmp_path / "modeling_mmfree.py").read_text()


def test_a_name_from_a_repository_does_not_stay(folder: Path, tmp_path: Path) -> None:
    """transformers puts a repository's name before the files, from where a copy has its own."""
    from mmfree.hf import MatMulFreeConfig

    names = {auto: f"someone/model--{place}" for auto, place in auto_map().items()}
    config = MatMulFreeConfig(auto_map=names)
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == auto_map()
    config.register_for_auto_class()
    MatMulFreeForCausalLM.register_for_auto_class()
    MatMulFreeForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert sorted(path.name for path in (tmp_path / "again").glob("*.py")) == [
        "configuration_mmfree.py",
        "modeling_mmfree.py",
    ], "no copies of our source"
