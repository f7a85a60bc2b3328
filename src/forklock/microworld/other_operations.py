"""Operations that take a string or a number."""

from __future__ import annotations

from forklock.microworld.list_operations import LIST_OPERATIONS
from forklock.microworld.operations import Operation

VOWELS = "aeiouAEIOU"


def _digits(number: int, k: int) -> list[int]:
    return [int(digit) for digit in str(abs(number))]


def _without_vowels(text: str, k: int) -> str:
    return "".join(letter for letter in text if letter not in VOWELS)


def _count_vowels(text: str, k: int) -> int:
    return sum(letter in VOWELS for letter in text)


def _filtered(condition: str) -> tuple[str, ...]:
    """Right styles of keeping letters."""
    return (
        f"= ''.join({{v}} for {{v}} in {{i}} if {condition})",
        f"= ''.join([{{v}} for {{v}} in {{i}} if {condition}])",
        f"{{o}} = ''\nfor {{v}} in {{i}}:\n    if {condition}:\n        {{o}} += {{v}}",
    )


STRING_OPERATIONS = (
    Operation(
        "s_reverse",
        "string",
        "string",
        lambda s, k: s[::-1],
        ("reverse it", "reverse the string", "put the letters in reverse order"),
        ("= {i}[::-1]", "= ''.join(reversed({i}))", "{o} = ''\nfor {v} in {i}:\n    {o} = {v} + {o}"),
        "= reversed({i})",
    ),
    Operation(
        "s_upper",
        "string",
        "string",
        lambda s, k: s.upper(),
        ("turn it to upper case", "make all letters upper case", "write the string in upper case"),
        ("= {i}.upper()", "= ''.join({v}.upper() for {v} in {i})", "{o} = ''\nfor {v} in {i}:\n    {o} += {v}.upper()"),
        "{i}.upper()",
    ),
    Operation(
        "s_no_vowels",
        "string",
        "string",
        _without_vowels,
        ("remove the vowels", "drop all vowels", "keep the letters that are not vowels"),
        _filtered("{v} not in 'aeiouAEIOU'"),
        "= ''.join({v} for {v} in {i} if {v} not in 'aeiou')",
    ),
    Operation(
        "s_no_spaces",
        "string",
        "string",
        lambda s, k: s.replace(" ", ""),
        ("remove the spaces", "drop all spaces", "leave out the spaces"),
        ("= {i}.replace(' ', '')", "= ''.join({i}.split())", *_filtered("{v} != ' '")),
    ),
    Operation(
        "s_unique",
        "string",
        "string",
        lambda s, k: "".join(dict.fromkeys(s)),
        (
            "remove repeated letters and keep the order",
            "keep the first of equal letters",
            "drop repeated letters in order",
        ),
        (
            "= ''.join(dict.fromkeys({i}))",
            "{o} = ''\nfor {v} in {i}:\n    if {v} not in {o}:\n        {o} += {v}",
            "= ''.join(sorted(set({i}), key={i}.index))",
        ),
        "= ''.join(set({i}))",
    ),
    Operation(
        "s_count_vowels",
        "string",
        "number",
        _count_vowels,
        ("count the vowels", "find how many vowels there are", "take the number of vowels"),
        (
            "= sum(1 for {v} in {i} if {v} in 'aeiouAEIOU')",
            "= len([{v} for {v} in {i} if {v} in 'aeiouAEIOU'])",
            "{o} = 0\nfor {v} in {i}:\n    if {v} in 'aeiouAEIOU':\n        {o} += 1",
        ),
    ),
    Operation(
        "s_word_lengths",
        "string",
        "list",
        lambda s, k: [len(word) for word in s.split()],
        ("take the length of each word", "list the lengths of the words", "replace each word by its length"),
        (
            "= [len({v}) for {v} in {i}.split()]",
            "= list(map(len, {i}.split()))",
            "{o} = []\nfor {v} in {i}.split():\n    {o}.append(len({v}))",
        ),
        "= [len({v}) for {v} in {i}.split(' ')]",
    ),
)


def _remainder(number: int, k: int) -> int:
    return number % k


NUMBER_OPERATIONS = (
    Operation(
        "n_add",
        "number",
        "number",
        lambda n, k: n + k,
        ("add {k} to it", "increase it by {k}", "add {k}"),
        ("= {i} + {k}", "{i} += {k}", "= sum([{i}, {k}])"),
    ),
    Operation(
        "n_remainder",
        "number",
        "number",
        _remainder,
        ("take the remainder by {k}", "find the remainder of division by {k}", "compute it modulo {k}"),
        ("= {i} % {k}", "{i} %= {k}", "= {i} - {i} // {k} * {k}"),
    ),
    Operation(
        "n_digit_sum",
        "number",
        "number",
        lambda n, k: sum(_digits(n, k)),
        ("add up its digits", "take the sum of its digits", "compute the sum of the digits"),
        (
            "= sum(int({v}) for {v} in str(abs({i})))",
            "= sum(map(int, str(abs({i}))))",
            "{o} = 0\nfor {v} in str(abs({i})):\n    {o} += int({v})",
        ),
        "= sum(int({v}) for {v} in str({i}))",
    ),
    Operation(
        "n_count_up",
        "number",
        "list",
        lambda n, k: list(range(1, n + 1)),
        ("list the numbers from 1 up to it", "count from 1 up to it", "make the list of numbers from 1 to it"),
        (
            "= list(range(1, {i} + 1))",
            "= [{v} for {v} in range(1, {i} + 1)]",
            "{o} = []\nfor {v} in range({i}):\n    {o}.append({v} + 1)",
        ),
        "= list(range(1, {i}))",
    ),
    Operation(
        "n_digits",
        "number",
        "list",
        _digits,
        ("list its digits", "make the list of its digits", "split it into digits"),
        (
            "= [int({v}) for {v} in str(abs({i}))]",
            "= list(map(int, str(abs({i}))))",
            "{o} = []\nfor {v} in str(abs({i})):\n    {o}.append(int({v}))",
        ),
    ),
)

OPERATIONS: dict[str, Operation] = {
    operation.name: operation for operation in (*LIST_OPERATIONS, *STRING_OPERATIONS, *NUMBER_OPERATIONS)
}
