"""The detector's task: pictures of rectangles, and which cell of which grid has to find which of them.

As in YOLO and SSD the cell that holds a rectangle's centre answers for it: a cell of the fine grid for a small one, of
the coarse grid for a large one. A box is (left, top, right, bottom), from 0 to 1.
"""

import numpy as np

from tests.families.data import Array

SIDE = 48
CLASSES = 2  # filled, hollow
GRIDS = (6, 3)
ANCHORS = (0.22, 0.45)
CELLS = sum(grid * grid for grid in GRIDS)
_LARGE = 0.32


def corners(grid: int) -> Array:
    """Left and top of every cell, row by row, in cells: float32 (grid², 2)."""
    y, x = np.mgrid[:grid, :grid]
    return np.stack([x.ravel(), y.ravel()], axis=-1).astype(np.float32)


def rectangles(count: int, part: int = 0) -> tuple[Array, Array, Array]:
    """Pictures and what is to be found in them.

    Returns:
        Pictures (n, 48, 48, 1) with one or two rectangles each; the boxes that cells have to find (n, CELLS, 5), the
        last number being 1 where there is one; and the scores (n, CELLS, CLASSES) that they have to give.
    """
    random = np.random.default_rng(part)
    pictures = random.normal(0.2, 0.05, size=(count, SIDE, SIDE, 1))
    found, scores = np.zeros((count, CELLS, 5)), np.zeros((count, CELLS, CLASSES))
    for index in range(count):
        for left_half in (True, False)[: random.integers(1, 3)]:
            centre = random.uniform((0.2 if left_half else 0.6, 0.25), (0.4 if left_half else 0.8, 0.75))
            size = random.uniform(0.15, 0.4) * random.uniform(0.8, 1.2, size=2)
            kind = int(random.integers(CLASSES))
            _draw(pictures[index], centre, size, hollow=kind == 1)
            cell = _cell(centre, size)
            found[index, cell] = [*(centre - size / 2), *(centre + size / 2), 1]
            scores[index, cell] = np.eye(CLASSES)[kind]
    return pictures.astype(np.float32), found.astype(np.float32), scores.astype(np.float32)


def _draw(picture: Array, centre: Array, size: Array, hollow: bool) -> None:
    left, top = np.round((centre - size / 2) * SIDE).astype(int)
    right, bottom = np.round((centre + size / 2) * SIDE).astype(int)
    picture[top:bottom, left:right] += 0.6
    if hollow:
        picture[top + 2 : bottom - 2, left + 2 : right - 2] -= 0.6


def _cell(centre: Array, size: Array) -> int:
    level = int(size.mean() > _LARGE)
    column, row = (centre * GRIDS[level]).astype(int)
    return level * GRIDS[0] ** 2 + int(row) * GRIDS[level] + int(column)
