import pytest

from gatewise.cells import CELLS


@pytest.fixture(autouse=True)
def _the_cells_of_the_house():
    """What a test registers is gone afterwards."""
    cells = dict(CELLS)
    yield
    CELLS.clear()
    CELLS.update(cells)
