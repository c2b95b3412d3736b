"""Which position each slot of a KV cache holds, for every sequence of a batch. Needs numpy only."""

import numpy as np

PADDING = -1


def nested(values):
    """Numbers, or a list of them for each sequence of a batch (lists, arrays, tensors, ranges) -> lists of ints, one
    for each sequence, and whether it was a batch."""
    values = values.tolist() if hasattr(values, "tolist") else list(values)
    batch = bool(values) and hasattr(values[0], "__len__")
    return [[int(value) for value in row] for row in (values if batch else [values])], batch


def sequences_of(positions):
    """Positions of one sequence, or of each of a batch -> the latter; padding is -1. ValueError unless all sequences
    have as many rows, and each sequence's positions, the padding left out, follow each other."""
    rows = [[max(p, PADDING) for p in row] for row in nested(positions)[0]]
    if len({len(row) for row in rows}) != 1:
        raise ValueError("each sequence of a batch needs a position for every row; -1 for padding")
    for row in rows:
        own = [p for p in row if p != PADDING]
        if not own or own != list(range(own[0], own[0] + len(own))):
            raise ValueError(f"positions {own}: a sequence needs one at least, and they have to follow each other")
    return rows


class Slots:
    """What was fed, pass by pass. The cache itself forgets: its user crops it, and a window drops the oldest."""

    def __init__(self):
        self._fed = []

    def feed(self, rows, before):
        """A pass over `rows` (sequences_of) with `before` tokens in the cache: what was fed beyond them is cropped.
        ValueError when the cache holds tokens whose positions nobody said."""
        if len(self._fed) != len(rows):
            self._fed = [[] for _ in rows]
        for at, row in enumerate(rows):
            known = self._fed[at][:before]
            own = next(p for p in row if p != PADDING)
            untold = list(range(own - (before - len(known)), own))
            if untold and (untold[0] != (known[-1] + 1 if known else 0)):
                raise ValueError(f"the cache holds {before} tokens, and of {len(untold)} of them no phase() told "
                                 "the positions")
            self._fed[at] = known + untold + row

    def columns(self, sequence, count):
        """position -> column of a cache that shows its last `count` slots. Of two slots for one position (a token fed
        again) the later counts. ValueError for a cache of more slots than were fed."""
        fed = self._fed[sequence]
        if count > len(fed):
            raise ValueError(f"a cache of {count} slots for {len(fed)} tokens is not known: use a DynamicCache")
        return {p: column for column, p in enumerate(fed[len(fed) - count:]) if p != PADDING}


def to_positions(values, columns, filling):
    """[..., slots] -> [..., positions from 0 to the last]: positions without a slot get `filling`."""
    out = np.full((*values.shape[:-1], max(columns) + 1), filling, dtype=values.dtype)
    out[..., list(columns)] = values[..., list(columns.values())]
    return out
