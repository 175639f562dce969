"""The catalog of tasks: what no memory holds is refused before anything is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.tasks.catalog import TASKS


@pytest.mark.parametrize("name", ["addition", "addition-chains", "parity"])
@pytest.mark.parametrize("sizes", [(2**14, 2**14 + 1), (10**30, 1), (1, 10**30)])
def test_examinations_that_are_too_large_are_refused(name: str, sizes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="--digits times --examples must be at most 268435456"):
        TASKS[name].draw(np.random.default_rng(0), *sizes)
