import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for the helper module that stands beside the tests
from autoencoding import CASES, trained  # type: ignore[import-not-found]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    draw = random.Random(0)
    words = "the king and his men went to a far land of old".split()  # noqa: SIM905
    lines = [" ".join(draw.choice(words) for _ in range(draw.randint(2, 5))) for _ in range(80)]
    (folder / "lines.txt").write_text("\n".join(lines))
    t = np.arange(300)
    np.save(folder / "waves.npy", np.stack([3 * np.sin(t / 5) + 7, np.cos(t / 3)], 1))
    return folder


@pytest.fixture(scope="session")
def runs(files, tmp_path_factory):
    """Finished runs, by case; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = {case: trained(files, case, folder / case)[0].folder for case in CASES}
    torch.set_num_threads(threads)
    return made
