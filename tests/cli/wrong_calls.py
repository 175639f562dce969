"""Calls of the command line that cannot work, and what each is told.

    python -m tests.cli.wrong_calls

in a folder of ``write_files`` makes them all, and prints what came of each: a JSON line.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import io
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

HEAVY = ("torch", "amaranth")
"""What takes seconds to import: a wrong call is refused before."""

VERBS_AND_WORDS = {
    "trian text --out new": "'trian' is no verb; did you mean train?",
    "Train text --out new": "'Train' is no verb; did you mean train?",
    "fly": "'fly' is no verb; `mmfree help` lists them",
    "sums.tape inspect": "'sums.tape' stands before the verb: write mmfree inspect sums.tape ...",
    "--json inspect sums.tape": "'--json' stands before the verb: write mmfree inspect --json",
    "--verison": "--verison: a verb comes first; did you mean --version?",
    "-v": "-v: a verb comes first; `mmfree help` lists them",
    "--version=2": "--version takes no value, got '--version=2'",
    "help generat": "'generat' is no verb; did you mean generate?",
    "help train text": "'text' is not expected here: help takes one verb",
    "inspect": "mmfree inspect needs MODEL|SHARDS: for example, mmfree inspect ",
    "train text": "mmfree train needs --out: for example, mmfree train text --out ",
    "train --data text.txt text --out new": "(--data takes every word after it)",
    "inspect sums.tape text.tape": "'text.tape' is not expected here: quote what has spaces",
    "generate text.tape --prompt The cat": "'cat' is not expected here: quote what has spaces",
    "inspect sums.tape --jso": "--jso: no such option; did you mean --json?",
    "build sums.tape -board ulx3s-85f --out new": "-board: no such option; did you mean --board?",
    "train text --batch_size 3 --out new": "--batch_size: no such option; ",
    "verilog sums.tape --Lanes 64 --out new": "--Lanes: no such option; did you mean --lanes?",
    "inspect sums.tape --prompt a": "--prompt: no such option; see `mmfree help inspect`",
    "generate sums.tape --prompt": "--prompt needs a value: --prompt TEXT",
    "cosim sums.tape --simulator": "--simulator needs a value: --simulator verilator|icarus",
    "generate sums.tape --prompt --tokens 3": "--prompt needs a value: --prompt TEXT",
    "generate sums.tape --prompt -1+2": "for a value that begins with -, write --prompt=-1+2",
    "demo --force=yes --out new": "--force takes no value, got '--force=yes'",
}

VALUES = {
    "verilog sums.tape --lanes many --out new": "--lanes must be a whole number, got 'many'",
    "verilog sums.tape --lanes 48 --out new": "--lanes must be a power of two in 4..1048576, got",
    "cosim sums.tape --lanes 0": "--lanes must be a power of two in 4..1048576, got 0",
    "demo --lanes 3 --out new": "--lanes must be a power of two",
    "verilog sums.tape --bits 3 --out new": "--bits must be one of 2, 1.67, 1.6, got '3'",
    "power sums.tape --bits 1.66": "got '1.66'; did you mean 1.6?",
    "cosim sums.tape --simulator icarsu": "got 'icarsu'; did you mean icarus?",
    "cosim sums.tape --tokens -1": "--tokens must be at least 0, got -1",
    "cosim sums.tape --seed -1": "--seed must lie in 0..2^64-1, got -1",
    "inspect sums.tape --seed 1.5": "--seed must be a whole number, got '1.5'",
    "cosim text.tape --tokens 2 --temperature 9": "--temperature must lie in 0..3.98, got 9",
    "cosim text.tape --tokens 2 --temperature inf": "--temperature must be a number, got 'inf'",
    "cosim text.tape --tokens 2 --temperature nan": "--temperature must be a number, got 'nan'",
    "cosim text.tape --tokens 2 --stop 999": "stop token 999 is not in the vocabulary of 256",
    "cosim text.tape --temperature 1": "--temperature and --stop need --tokens",
    "cosim text.tape --memory axi128x3": "ports must be a power of two in 1..32, got 3",
    "cosim text.tape --memory axi48": "memory axi48: a port of 48 bits does not divide",
    "cosim text.tape --memory ddr4": "--memory: memory 'ddr4' is unknown: block, or axi",
    "cosim text.tape --memory axi64:7Q": "--memory: memory axi64:7Q: a size is a number of bytes",
    "cosim text.tape --memory axi64:0": "--memory: memory axi64:0: a size is a number of bytes",
    "cosim text.tape --memory block:64M": "block RAM has the image's size; leave it out",
    "cosim text.tape --memory axi64:14K": "the memory 0.014 MB: 0.011 MB too small",
    "cosim text.tape --memory axi64 --lanes 64": "--lanes 64: the ports of axi64 feed 40 lanes",
    "cosim text.tape --memory axi64 --bits 2": "--bits 2: the ports of axi64 feed 40 lanes, of 1.6",
    "cosim text.tape --memory axi64 --latency 60": "--latency must be LOW:HIGH cycles, such as",
    "cosim text.tape --memory axi64 --latency 9:4": "LOW:HIGH cycles in 2..10000, got 9:4",
    "cosim text.tape --memory axi64 --withheld 91": "--withheld must lie in 0..90 percent of the",
    "cosim text.tape --memory axi64 --withheld much": "--withheld must be a number, got 'much'",
    "cosim text.tape --latency 5:9": "--latency and --withheld are of an external memory",
    "cosim text.tape --withheld 0": "--latency and --withheld are of an external memory",
    "cosim text.tape --memory axi64 --simulator icarus": "icarus cannot simulate the external",
    "generate text.tape --prompt a --tokens 0": "--tokens must be at least 1, got 0",
    "generate text.tape --prompt a --temperature -1": "--temperature must lie in 0..3.98, got -1",
    "generate text.tape --prompt a --top-k 0": "--top-k must be at least 1, got 0",
    "generate text.tape --prompt a --top-p 2": "--top-p must lie above 0 and be at most 1, got 2",
    "bench run --backend gold": "got 'gold'; did you mean golden?",
    "bench run --backend cpu --threads 0": "--threads must be at least 1, got 0",
    "bench run --backend golden --lanes 16": "only the simulated chip has lanes; give",
    "bench run --seconds 0": "--seconds must be above 0",
    "generate run --prompt a --backend gold": "got 'gold'; did you mean golden?",
    "generate sums.tape --prompt hello": "two decimal numbers such as 123+456, got 'hello'",
    "generate sums.tape --prompt 1+2 --temperature 1": "a model for addition reads out its answer",
    "generate sums.tape --prompt 1+2 --tokens 3": "a model for addition reads out its answer",
    "generate text.tape --prompt a --lanes 16": "only the simulated chip has lanes; give --backend",
    "evaluate run --backend golden,float --lanes 16": "only the simulated chip has lanes; give",
    "generate text.tape --prompt a --backend rtl --top-k 3": "the chip chooses among all tokens",
    "generate text.tape --prompt a --top-p 0.9 --temperature 0": "--temperature 0 draws nothing",
    "evaluate run --backend golden,flaot": "got 'flaot'; did you mean float?",
    "evaluate run --backend golden,golden": "'golden,golden' names one twice",
    "evaluate run --examples none": "--examples must be a whole number, got 'none'",
    "evaluate sums.tape --digits 0": "--digits must be at least 1, got 0",
    "evaluate sums.tape --task adition": "got 'adition'; did you mean addition?",
    "evaluate text.tape --task addition": "--task addition: the model is for bytes",
    "evaluate run --task parity": "--task parity: the model is for bytes",
    "evaluate run --digits 3": "a model for text: --digits and --examples belong to --task",
    "evaluate run --ranges": "--ranges: backend fakequant does not show them; use golden or cpu",
    "evaluate sums.tape --data text.txt": "a model for addition: use --task",
    "evaluate run --data text.txt --task addition": "give --data or --task, not both",
    "evaluate run --field body": "--field is of the records of --data: give both, or neither",
    "build text.tape --board ulx4s-85 --out new": "got 'ulx4s-85'; did you mean ulx3s-85f?",
    "build text.tape --board ulx3s-85f --clock 0 --out new": "--clock must be above 0, got 0 MHz",
    "build text.tape --board ulx3s-85f --clock 500 --out new": "--clock must lie in 3.125..400 MHz",
    "build text.tape --board ulx3s-85f --seed 3000000000 --out new": "--seed must lie in 0..2^31-1",
    "fit 380m": "380m: no such file or folder; did you mean 370m?",
    "fit 370m --part kv26": "got 'kv26'; did you mean kv260?",
    "fit 370m --memory ddr4": "--memory: memory 'ddr4' is unknown: block, or axi and the width",
    "fit 370m --memory axi128x3": "ports must be a power of two in 1..32, got 3",
    "power text.tape --part ecp5-58": "got 'ecp5-58'; did you mean ecp5-",
    "power text.tape --clock=-3": "--clock must be above 0, got -3 MHz",
    "power": "give a tape, a checkpoint folder or a run folder, or --validate",
    "power text.tape --validate": "--validate predicts published systems, and takes no tape",
    "power text.tape --prompt a --activity a.json": "--prompt: the activity of --activity is",
    "train adition --out new": "nor a .json file; did you mean addition?",
    "train text --gate sigmod --out new": "got 'sigmod'; did you mean sigmoid?",
    "train text --tokenizer byte --out new": "did you mean bytes?",
    "train text --tokenizer bpe:many --out new": "needs a number of tokens such as bpe:4096",
    "train text --minutes 0 --out new": "--minutes must be above 0, got 0",
    "train text --steps 0 --out new": "--steps must be at least 1, got 0",
    "train text --teacher none --out new": "none: no checkpoint: config.json is missing",
    "train addition --teacher run --out new": "a teacher of task text, and the run learns addition",
    "train addition --data text.txt --out new": "--data is for text",
    "train text --resume --out new": "no checkpoint: config.json is missing",
    "train text --width 99999999 --out new": "hidden_size must be an integer in 1..65535",
    "train text --rate fast --out new": "--rate must be a number, got 'fast'",
    "config txet": "nor a .json file; did you mean text?",
    "config text --layers 0": "--layers must be at least 1, got 0",
    "config text --lenght 9": "--lenght: no such option; did you mean --length?",
    "compare addition --out new": "a comparison is made on text; task addition is none",
    "compare txet --out new": "nor a .json file; did you mean text?",
    "compare text --baseline addition --out new": "addition: config: task text needs vocab_size 256"
    " and head_size 256, got 31 and 10",
    "compare text --baseline none.json --out new": "none.json: no such file",
    "compare text --teacher none --out new": "none: no checkpoint: config.json is missing",
    "compare text --seeds 0 --out new": "--seeds must be at least 1, got 0",
    "compare text --rates 0.01 -1 --out new": "--rates must be above 0, got -1",
    "tokenize text.txt --tokenizer bpe --out new": "bpe: no such file; a tokenizer is bytes, ",
    "export run --format hff --out new": "got 'hff'; did you mean hf?",
    "export run --format hf --data text.txt --out new": "belong to --format tape",
    "demo txt --out new": "got 'txt'; did you mean text?",
}

FILES = {
    "inspect none.tape": "none.tape: no such file",
    "inspect text.txt": "text.txt: not a tape",
    "inspect cut.tape": "cut.tape: ",
    "generate none --prompt a": "none: no such file",
    "generate full --prompt a": "full: ",
    "generate sums.tape --prompt 1+2 --backend float": "needs the checkpoint folder",
    "evaluate run --data none.txt": "none.txt: ",
    "evaluate run --choices none.jsonl": "none.jsonl: ",
    "evaluate run --choices full": "full: ",
    "evaluate run --data empty.txt": "empty.txt: the file is empty; text is needed",
    "evaluate run --data latin.txt": "latin.txt: not UTF-8 text: byte 0xff at offset 0",
    "export none --out new.tape": "none: ",
    "export sums.tape --out new.tape": "sums.tape: ",
    "export run --out text.tape": "text.tape: exists already; --force overwrites it",
    "export run --data none.txt --out new.tape": "none.txt: ",
    "export run --out text.txt/new.tape": "Not a directory",
    "export run --format bitnet --out run": "the folder that is read; give another --out",
    "tokenize none.txt --out new": "none.txt: ",
    "tokenize empty.txt --out new": "empty.txt: the file is empty; text is needed",
    "tokenize latin.txt --out new": "latin.txt: not UTF-8 text: byte 0xff at offset 0",
    "tokenize text.txt --out full": "full: exists already; --force overwrites it",
    "tokenize text.txt --out full --force": "full: exists and holds no token shards",
    "tokenize text.txt --out text.txt/new": "Not a directory",
    "tokenize text.txt --out /proc/new": "/proc/",
    "train none.json --out new": "none.json: no such file",
    "train bad.json --out new": 'bad.json: expected a JSON object with "model" and "recipe"',
    "config none.json": "none.json: no such file",
    "config full": "full: neither a preset",
    "train full --out new": "full: neither a preset",
    "train text --data none.txt --out new": "none.txt: ",
    "train text --data empty.txt --out new": "empty.txt: the file is empty; text is needed",
    "train text --out text.txt": "text.txt: ",
    "train text --out text.txt/new": "Not a directory",
    "train text --out run": "--resume goes on with it",
    "train text --out ''": "--out must be a path, got ''",
    "compare text --data none.txt --out new": "none.txt: ",
    "compare text --out text.txt/new": "Not a directory",
    "verilog none.tape --out new": "none.tape: no such file",
    "verilog bad.json --out new": "bad.json: unknown field 'modle'",
    "verilog text.tape --out full": "full: exists already; --force overwrites it",
    "verilog text.tape --out text.txt": "text.txt: not a folder; give another --out",
    "verilog text.tape --out text.txt/new": "Not a directory",
    "build text.txt --board ulx3s-85f --out new": "text.txt: not a tape",
    "build text.tape --board ulx3s-85f --out full": "full: exists already; --force overwrites it",
    "build text.tape --board ulx3s-85f --out text.txt/new": "Not a directory",
    "cosim none.tape": "none.tape: no such file",
    "cosim full": "full: ",
    "cosim text.tape --waveform full": "full: ",
    "cosim text.tape --waveform text.txt": "text.txt: exists already; --force overwrites it",
    "cosim text.tape --waveform text.txt/a.vcd": "Not a directory",
    "fit none": "none: no such file or folder; shapes by name: 370m, 1.3b, 2.7b, addition, ",
    "fit full": "full: no model in this folder, neither config.json nor model.tape",
    "fit text.txt": "text.txt: not a tape",
    "fit bad.json": "bad.json: unknown field 'modle'; known: ",
    "power none.tape": "none.tape: no such file",
    "power text.tape --technology none.toml": "none.toml: ",
    "power text.tape --build full": "full",
    "power text.tape --activity text.txt": "text.txt: not valid JSON",
    "power text.tape --out full": "full: exists already; --force overwrites it",
    "power text.tape --out text.txt/new": "Not a directory",
    "report none": "none: no such file or folder; give a tape, a checkpoint folder or",
    "report text.txt": "text.txt: not a tape",
    "report full": "full: neither a demo's folder",
    "page none.tape --out new": "none.tape: no such file",
    "page text.tape --out text.txt": "text.txt: exists already; --force overwrites it",
    "demo --out text.txt": "text.txt",
    "demo --out text.txt/new": "Not a directory",
    "demo --out run --force": "run: a checkpoint; a demo has one within its own folder",
}

WRONG = VERBS_AND_WORDS | VALUES | FILES
"""Words after ``mmfree`` -> a part of the one line that is said."""


def write_files(folder: Path) -> None:
    """What the calls find: tapes, the start of a training run, text and what is none."""
    from mmfree.tape.pow2 import write_tape
    from tests.support.models import SMALL_TEXT
    from tests.support.verbs.case import SUM_TAPE, TEXT_TAPE

    write_tape(SUM_TAPE, folder / "sums.tape")
    write_tape(TEXT_TAPE, folder / "text.tape")
    (folder / "cut.tape").write_bytes((folder / "text.tape").read_bytes()[:-40])
    (folder / "text.txt").write_text("a small text, again and again. " * 100)
    (folder / "empty.txt").touch()
    (folder / "latin.txt").write_bytes(b"\xff\xfe" * 500)
    (folder / "bad.json").write_text('{"modle": {}}')
    (folder / "full").mkdir()
    (folder / "full" / "notes.txt").write_text("mine")
    # Weights that cannot be read: what is refused is refused before.
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text(json.dumps(SMALL_TEXT.to_dict()))
    (folder / "run" / "tokenizer.json").write_text('{"kind": "bytes"}')
    (folder / "run" / "training.json").write_text("{}")
    (folder / "run" / "model.safetensors").write_bytes(b"none")


class Refuse(importlib.abc.MetaPathFinder):
    """Notes who asks for what is HEAVY, and does not give it, so that each call is told apart."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name in HEAVY:
            self.asked.append(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def call(words: list[str], refuse: Refuse) -> dict[str, Any]:
    """What came of one call."""
    from mmfree.cli.main import main

    refuse.asked.clear()
    out, err = io.StringIO(), io.StringIO()
    started = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: object = main(words)
        except SystemExit as ended:
            code = ended.code
    return {
        "code": code,
        "out": out.getvalue(),
        "err": err.getvalue().splitlines(),
        "heavy": [*refuse.asked, *(name for name in HEAVY if name in sys.modules)],
        "seconds": time.process_time() - started,
    }


if __name__ == "__main__":
    refuse = Refuse()
    sys.meta_path.insert(0, refuse)
    for line in WRONG:
        print(json.dumps(call(shlex.split(line), refuse)), flush=True)
