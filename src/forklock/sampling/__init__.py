"""Samples: the record that passes between stages, its shards on disk, and how they are drawn.

Synthesis and evaluation both draw through here. Nothing here knows what a right answer is.
"""

from forklock.sampling.degeneracy import degeneracy_of
from forklock.sampling.sample import Sample, read_keys, read_shard, write_shard
from forklock.sampling.shards import samples_in, shards_in
from forklock.sampling.tokens import SampleTokens, tokens_in

__all__ = [
    "Sample",
    "SampleTokens",
    "degeneracy_of",
    "read_keys",
    "read_shard",
    "samples_in",
    "shards_in",
    "tokens_in",
    "write_shard",
]
