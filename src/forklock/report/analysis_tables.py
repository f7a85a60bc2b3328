"""The tables of the analysis: entropies and mass, ranks, and the tokens that training moved most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forklock.analyze.classes import CLASSES
from forklock.analyze.report import SHOWN_MEASURES, words_for
from forklock.report.tables import Cell, Row, Table

NUM_TOKENS_SHOWN = 10
LEAST_CHANGE = 0.0005
"""Less would be written as zero."""
_RANKS = (
    ("top_token_changed", "the most likely token is another"),
    ("drawn_token_rose_in_rank", "the text's token rose in rank"),
    ("drawn_token_fell_in_rank", "the text's token fell in rank"),
    ("total_variation", "how far it moved (total variation)"),
)


def analysis_tables(summary: dict[str, Any]) -> Iterator[Table]:
    yield _measures(summary["classes"])
    yield _ranks(summary["classes"])
    for direction in ("rose", "fell"):
        found = summary["most_changed_tokens"][direction]
        if rows := [token for token in found if abs(token["change"]) >= LEAST_CHANGE]:
            yield _tokens(direction, rows)


def _measures(classes: dict[str, Any]) -> Table:
    groups = [name for name in ("all", "fork", "lock") if classes[name]["num_positions"]]
    rows = tuple(
        Row(Cell(words.strip()), tuple(_pair(classes[group][key]) for group in groups)) for key, words in SHOWN_MEASURES
    )
    columns = ("mean over positions", *(f"{group} ({classes[group]['num_positions']:,})" for group in groups))
    note = (
        "base → trained. Entropies in nats; Eq. 15's terms are -log KeptMass, (1 - T) Rényi entropy and T KL; gate, "
        "head and tail (Eq. 30) sum to the entropy. A difference under two standard errors is called noise."
    )
    return Table("analysis-measures", "What changed, by class of the base model", columns, rows, note)


def _pair(pair: dict[str, Any]) -> Cell:
    base, trained = pair["base"]["mean"], pair["trained"]["mean"]
    if base is None or trained is None:
        return Cell("-")
    difference = pair["difference"]
    return Cell(f"{base:.4f} → {trained:.4f}", _difference(difference, 4), words_for(difference))


def _change(change: dict[str, Any]) -> Cell:
    return Cell(_difference(change, 3), word=words_for(change))


def _difference(difference: dict[str, Any], digits: int) -> str:
    """With two standard errors."""
    error = "" if difference["standard_error"] is None else f" ± {2 * difference['standard_error']:.{digits}f}"
    return f"{difference['mean']:+z.{digits}f}{error}"


def _ranks(classes: dict[str, Any]) -> Table:
    groups = [name for name in ("all", *CLASSES) if classes[name]["num_positions"]]
    rows = tuple(
        Row(Cell(words), tuple(Cell(f"{classes[group][key]['mean']:.1%}") for group in groups)) for key, words in _RANKS
    )
    columns = ("share of positions", *(f"{group} ({classes[group]['num_positions']:,})" for group in groups))
    note = "Classes are those of the base model; the last row is a mean, not a share of positions."
    return Table("analysis-ranks", "How often ranks changed", columns, rows, note)


def _tokens(direction: str, found: list[dict[str, Any]]) -> Table:
    rows = tuple(
        Row(
            Cell(repr(token["token_text"])),
            (
                Cell(f"{token['num_positions']:,}"),
                Cell(f"{token['base_probability']:.3f}"),
                Cell(f"{token['trained_probability']:.3f}"),
                _change({"mean": token["change"], "standard_error": token["change_standard_error"]}),
            ),
        )
        for token in found[:NUM_TOKENS_SHOWN]
    )
    columns = ("token", "places", "base", "trained", "change")
    note = (
        "Mean probability of the token where the text has it, of tokens at 5 places or more; the largest of many "
        "changes are larger than they would be on other text."
    )
    return Table(f"tokens-{direction}", f"Tokens that {direction} most", columns, rows, note)
