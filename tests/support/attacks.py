"""Bad inputs that every service must withstand, by number. Tests name the numbers that they try; see test_attacks_covered.

Where a number stands for something that only a product's service has, the test ledger has a route of the same kind.
"""

from typing import Final

import pytest

__all__ = ["ATTACKS", "attack"]

ATTACKS: Final = {
    1: "NUL in a text",
    2: "half a surrogate pair",
    3: "NaN",
    4: "Infinity",
    5: "a number that becomes infinite",
    6: "NaN as a text",
    7: "minus zero for an integer",
    8: "true for an integer",
    9: "a text for an integer",
    10: "3.0 for an integer",
    11: "an integer beyond 64 bits",
    12: "400 digits",
    13: "5,000 digits",
    14: "a key twice in one object",
    15: "an unknown key",
    16: "a key in other capitals",
    17: "a number for an instant",
    18: "milliseconds for an instant",
    19: "the last year, west of Greenwich",
    20: "the first year, east of Greenwich",
    21: "a leap second",
    22: "24:00",
    23: "an instant without an offset",
    24: "an offset that no place has",
    25: "an unknown time zone",
    26: "a path for a time zone",
    27: "a wall-clock time that is skipped",
    28: "a wall-clock time that comes twice",
    29: "an end before its start",
    30: "a start in the past",
    31: "other spellings of a UUID",
    32: "the nil UUID",
    33: "another patient's record",
    34: "another clinic's person",
    35: "a record that was deleted",
    36: "ids that are guessed one after the other",
    37: "yes for a boolean",
    38: "bidirectional override",
    39: "zero-width characters",
    40: "one name in two Unicode forms",
    41: "a text of 10 MB",
    42: "brackets 100,000 deep",
    43: "a list of a million",
    44: "a byte order mark",
    45: "UTF-16",
    46: "another content type",
    47: "a gzip bomb",
    48: "half a gzip file",
    49: "two lengths",
    50: "a length and chunks",
    51: "junk in a chunk's extension",
    52: "two hosts",
    53: "forged headers of a proxy or a person",
    54: "a header of 9 kB",
    55: "half a header",
    56: "a body that never comes",
    57: "a client that leaves during its answer",
    58: "keep-alive of HTTP/1.0",
    59: "TRACE, CONNECT, unknown methods",
    60: "dots, slashes and semicolons in a path",
    61: "a parameter twice",
    62: "line breaks in headers and in what is logged",
    63: "SQL in every text",
    64: "format strings and templates in every text",
    66: "HTML and scripts in names",
    67: "forged, foreign, early, late and huge tokens",
    68: "a one-time link used twice",
    69: "a webhook that is old, altered, written anew, or signed by another key",
    70: "an idempotency key with another body",
    71: "an idempotency key 100 times at once",
    72: "an idempotency key that is huge, empty, or no ASCII",
    74: "a step before its time",
    75: "a dose in another unit",
    76: "a dose of nothing, or of less",
    77: "more thrown away than was drawn",
    78: "drug whose waste was seen by who wasted it",
    79: "vitals that no body has",
    80: "numbers of samples that are none, or come again with other values: the answer is 200, each row is judged",
    81: "vitals after the session",
    82: "a questionnaire with an item missing, an item twice, or a score of its own",
    83: "a message to somebody else's address",
    91: "look-ups for loggers in every text",
    92: "a user agent without end",
    94: "impossible page sizes",
    95: "sorting by a field that is not offered",
}
"""Number and what it is. Those that are missing need a rule of a clinical service, or belong to the bus."""


def attack(*numbers: int) -> pytest.MarkDecorator:
    """Tags a test with the attacks that it tries."""
    unknown = set(numbers) - ATTACKS.keys()
    if unknown:
        raise ValueError(f"no such attacks: {sorted(unknown)}")
    return pytest.mark.attack(*numbers)
