"""Ids that are not those of the reference's tokenizer: one cause that explains all of them is told alone.

Ordinary words of this tokenizer are in small letters, its first token is not.
"""

import pytest

from firstfault.lm.token_ids import Tokens, id_differences

PIECES = {1: "<S>", 2: "<end>", 3: " Why", 4: " is", 5: " it", 6: "?", 7: "<", 8: "end", 9: ">", 10: "s", 11: "\n"}
KNOWN = Tokens(1, 2, {"<S>": 1, "<end>": 2}, lambda ids: "".join(PIECES.get(each, "#") for each in ids))
RIGHT = [1, 3, 4, 5, 6, 2, 11]


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        (RIGHT, []),
        ([1, *RIGHT], ["bos_doubled"]),
        (RIGHT[1:], ["bos_missing"]),
        (RIGHT[3:], ["truncation"]),
        ([1, *RIGHT[4:]], ["truncation"]),
        (RIGHT[:-1], ["truncation"]),
        (RIGHT[1:4], ["bos_missing", "truncation"]),
        ([1, 3, 4, 5, 6, 7, 8, 9, 11], ["special_token_split"]),
        ([7, 10, 9, 3, 4, 5, 6, 7, 8, 9, 11], ["special_token_split"]),
        ([20, 21, 22, 23, 24, 25, 26, 27], ["tokenizer_mismatch"]),
        ([1, 20, 21, 22], ["tokenizer_mismatch"]),
        ([*RIGHT, 2], ["template_mismatch"]),
        ([*RIGHT, 11], ["template_mismatch"]),
    ],
)
def test_ids_differ_by_one_cause_where_one_explains_them(ids, named):
    """A text cut at its start, or in ids of another tokenizer, lacks the first token too, and is told by its cause."""
    assert [each.fault for each in id_differences(ids, RIGHT, KNOWN, "a prompt")] == named
