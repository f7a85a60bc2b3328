"""The key-value cache of a batch whose rows come and go: a row a sequence, columns by position in the sequence.

Rows in use are always the first ones, so that a step runs on a plain slice. Space for all rows times columns is
bounded by a budget of tokens: as the longest sequence grows, there is room for fewer rows.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

SMALLEST_NUM_COLUMNS = 128


class SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values, shaped (rows, heads, columns, head size)."""

    def __init__(self, slots: Slots) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.slots = slots

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys = self._room_like(key_states)
        self.values = self._room_like(value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one new position of each row in use, at that row's own column."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        rows, columns, width = self.slots.rows, self.slots.columns, self.slots.width
        self.keys[rows, :, columns] = key_states[:, :, 0]
        self.values[rows, :, columns] = value_states[:, :, 0]
        return self.keys[: len(rows), :, :width], self.values[: len(rows), :, :width]

    def write_prompts(
        self, first_row: int, key_states: torch.Tensor, value_states: torch.Tensor, sources: torch.Tensor
    ) -> None:
        """The cached positions of new rows, as a prefill left them: each from its row of `sources`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        for room, states in ((self.keys, key_states), (self.values, value_states)):
            assert room is not None
            room[first_row : first_row + len(sources), :, : states.shape[2]] = states[sources]

    def move_row(self, source: int, destination: int) -> None:
        for room in (self.keys, self.values):
            if room is not None:
                room[destination] = room[source]

    def resize(self) -> None:
        """Make room for the slots' new numbers of rows and columns, and keep what fits."""
        if self.keys is None or self.values is None:
            return
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = self._room_like(old)
            rows, columns = min(len(old), len(new)), min(old.shape[2], new.shape[2])
            new[:rows, :, :columns] = old[:rows, :, :columns]
            setattr(self, name, new)

    def _room_like(self, states: torch.Tensor) -> torch.Tensor:
        _, heads, _, head_size = states.shape
        return states.new_zeros(self.slots.num_rows, heads, self.slots.num_columns, head_size)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.slots.width, 0

    def get_seq_length(self) -> int:
        return self.slots.width

    def get_max_length(self) -> int:
        return -1


class Slots(Cache):
    """Room for `num_rows` sequences of up to `num_columns` cached tokens."""

    def __init__(self, num_layers: int, budget_tokens: int, max_rows: int) -> None:
        self.budget_tokens = budget_tokens
        self.max_rows = max_rows
        self.num_columns = 0
        self.num_rows = 0
        self.width = 0
        self.rows = self.columns = torch.zeros(0, dtype=torch.long)
        self.slot_layers = [SlotLayer(self) for _ in range(num_layers)]
        super().__init__(layers=list(self.slot_layers))

    def rows_for(self, num_columns: int) -> int:
        """How many sequences fit when the longest needs so many columns; one always does."""
        return max(1, min(self.max_rows, self.budget_tokens // self.rounded(num_columns)))

    def fit(self, num_columns: int, num_rows: int) -> None:
        """Have at least so many columns and rows; narrow again when the long sequences are gone."""
        assert num_rows <= self.rows_for(num_columns)
        needed = self.rounded(num_columns)
        if needed > self.num_columns or num_rows > self.num_rows or needed * 4 <= self.num_columns:
            self.num_columns, self.num_rows = needed, self.rows_for(num_columns)
            for layer in self.slot_layers:
                layer.resize()

    def begin_step(self, lengths: torch.Tensor, width: int) -> None:
        """The next forward pass adds one token to each of the first rows, which hold `lengths` tokens."""
        self.columns, self.width = lengths, width
        self.rows = torch.arange(len(lengths), device=lengths.device)

    def write_prompts(self, first_row: int, prefilled: DynamicCache, sources: torch.Tensor) -> None:
        for layer, source in zip(self.slot_layers, prefilled.layers, strict=True):
            assert isinstance(source, CacheLayerMixin)
            assert source.keys is not None
            assert source.values is not None
            layer.write_prompts(first_row, source.keys, source.values, sources)

    def move_row(self, source: int, destination: int) -> None:
        for layer in self.slot_layers:
            layer.move_row(source, destination)

    def release(self) -> None:
        """Give the memory back now: slots and layers refer to each other, and would wait for the garbage collector
        while the next batch asks for as much again."""
        for layer in self.slot_layers:
            layer.keys = layer.values = None

    @staticmethod
    def rounded(num_columns: int) -> int:
        """By halves of powers of two, so that growing by one token seldom moves memory."""
        rounded = SMALLEST_NUM_COLUMNS
        while rounded < num_columns:
            rounded = rounded * 3 // 2 if rounded & (rounded - 1) == 0 else rounded // 3 * 4
        return rounded
