"""What a player takes of memory, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from mmfree.inference.native import huge_pages
from mmfree.inference.native.huge_pages import huge_share
from mmfree.tape.pow2 import write_tape
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.random_tapes import realistic_tape

SIZES = {"hidden_size": 512, "intermediate_size": 1536, "num_layers": 16, "vocab_size": 8192}

PLAYED = """\
import json, sys
from pathlib import Path
from mmfree.inference.native.player import Player
from mmfree.tape.reading import open_tape

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) << 10

before = resident()
tape = open_tape(Path(sys.argv[1]))
player = Player(tape, 1)
embedding = tape.config.vocab_size * tape.config.hidden_size
taken = resident() - before
print(json.dumps([taken, player.weights_bytes() + embedding, player.huge_pages()]))
"""


@pytest.mark.parametrize("version", [1, 2])
def test_weights_lie_in_memory_once(version: int, tmp_path: Path) -> None:
    """Packed, and the embedding: neither the tape's codes nor the trits beside them."""
    path = tmp_path / "a.tape"
    if version == 1:
        config = ModelConfig(head_size=SIZES["vocab_size"], gate="hard", **SIZES)
        write_tape(realistic_tape(0, config), path)
    else:
        path = random_absmax_tape(tmp_path, AbsmaxConfig(**SIZES), 0).path
    words = [sys.executable, "-c", PLAYED, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    taken, needed, huge = json.loads(done.stdout)
    # 56 M weights at 2 bits, and 4 MB.
    assert needed > 18e6
    assert needed <= taken <= 1.3 * needed + (1 << 20)
    assert huge is not None
    assert 0 <= huge <= 1


def test_huge_pages_are_counted_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaps = tmp_path / "smaps"
    smaps.write_text(
        "400000-600000 rw-p 00000000 00:00 0\nRss: 9 kB\nAnonHugePages:      2048 kB\n"
        "600000-a00000 rw-p 00000000 00:00 0\nAnonHugePages:      2048 kB\n"
        "a00000-c00000 rw-p 00000000 00:00 0\nAnonHugePages:         0 kB\n"
    )
    monkeypatch.setattr(huge_pages, "SMAPS", smaps)
    assert huge_share(0x600000, 4 << 20) == 0.5
    assert huge_share(0x600000, 1 << 20) == 1
    assert huge_share(0xA00000, 1 << 20) == 0
    monkeypatch.setattr(huge_pages, "SMAPS", tmp_path / "none")
    assert huge_share(0x600000, 1) is None
