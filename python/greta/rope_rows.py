"""The two orders of the values of a head that is rotated by RoPE. Needs numpy only.

halves: value i turns with i + head_dim / 2 (transformers). pairs: 2 i turns with 2 i + 1 (llama-architecture GGUFs,
whose converter reorders the rows of Wq and Wk).
"""

import numpy as np


def halves_to_pairs(values, head_dim):
    """Reorders the last axis (heads of head_dim values, head after head): i -> 2 i, i + head_dim / 2 -> 2 i + 1."""
    heads = values.reshape(*values.shape[:-1], -1, 2, head_dim // 2)
    return np.ascontiguousarray(heads.swapaxes(-1, -2)).reshape(values.shape)


def pairs_to_halves(values, head_dim):
    """The way back."""
    heads = values.reshape(*values.shape[:-1], -1, head_dim // 2, 2)
    return np.ascontiguousarray(heads.swapaxes(-1, -2)).reshape(values.shape)
