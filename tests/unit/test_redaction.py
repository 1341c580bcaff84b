"""Credentials are taken out: by their shape, by their name, by their value, whole or cut, in one piece or in many."""

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import redaction

GONE = redaction.REDACTED
PASSWORD = "correct horse battery staple"  # noqa: S105 - made up
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA75\nq83vEiM0VniavN7wEj\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key sk-ant-api03-AbCdEf_12-34 end", f"key {GONE} end"),
        ("ghp_0123456789abcdef", GONE),
        ("github_pat_11AAAAAAA_bbbb", GONE),
        ("glpat-0123456789abcdef", GONE),
        ("xoxb-1234567890-abc", GONE),
        ("AKIAIOSFODNN7EXAMPLE", GONE),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", GONE),
        ("https://user:pass@example.com/x", f"https://{GONE}@example.com/x"),
        (KEY, GONE),
        (KEY[:60], GONE),
        (f'{{"a":"{KEY[:50]}","b":"c"}}', f'{{"a":"{GONE}","b":"c"}}'),
        ("task-force sky-high AKIA and eyJ", "task-force sky-high AKIA and eyJ"),
        ("password: hunter2hunter2", "password: hunter2hunter2"),
    ],
)
def test_well_known_shapes(text: str, expected: str) -> None:
    """What merely resembles one stays."""
    assert redaction.shapes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password: hunter2hunter2", f"password: {GONE}"),
        ("Authorization: Bearer abcdef123456", f"Authorization: Bearer {GONE}"),
        ('{"api_key":"0123456789"}', f'{{"api_key":"{GONE}"}}'),
        ("MY_TOKEN=0123456789; next", f"MY_TOKEN={GONE}; next"),
        ("token: short", "token: short"),
    ],
)
def test_what_is_called_a_secret(text: str, expected: str) -> None:
    """In messages of programs, where such a word is followed by its value."""
    assert redaction.named(text) == expected


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("ANTHROPIC_API_KEY", True), ("GITHUB_TOKEN", True), ("DB_PASSWORD", True), ("PGPASSWD", True),
        ("Session_Cookie", True), ("SENTRY_DSN", True), ("PATH", False), ("PAPERCLIP_RUN_ID", False), ("HOME", False),
    ],
)  # fmt: skip
def test_names_of_variables_that_hold_secrets(name: str, secret: bool) -> None:  # noqa: FBT001 - a table
    """Rather one too many: what is hidden by mistake can be looked up."""
    assert redaction.is_secret_name(name) is secret


@pytest.mark.parametrize(
    "text",
    ["{}", "It is {}.", "{0} and {0}", "x{}x", '"{}"'],
)
@pytest.mark.parametrize("value", [PASSWORD, "ümläut-geheim", 'with "quotes" and \\', "tab\tand more", "a+b(c)*[d]"])
def test_known_values_are_found_anywhere_also_as_json_writes_them(text: str, value: str) -> None:
    """Whatever characters they consist of."""
    known = redaction.Redactor([value])
    for form in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        assert known.clean(text.format(form)) == text.format(GONE)


def test_short_values_are_words_and_stay() -> None:
    """A password of five letters would make holes everywhere."""
    assert redaction.Redactor(["test", " ab\n"]).clean("a test of ab") == "a test of ab"


def test_without_values_only_shapes_count() -> None:
    """And nothing is shown of those that are known."""
    assert redaction.Redactor().clean(f"{PASSWORD} sk-0123456789") == f"{PASSWORD} {GONE}"
    assert PASSWORD not in repr(redaction.Redactor([PASSWORD]))


def test_the_lines_of_a_long_value_count_by_themselves() -> None:
    """A tool may print a certificate line by line."""
    known = redaction.Redactor(["first line of the value\nsecond line of the value\nshort"])
    assert known.clean("> second line of the value <\n> short <") == f"> {GONE} <\n> short <"


@pytest.mark.parametrize("cut", range(4, len(PASSWORD)))
def test_a_value_that_was_cut_is_found_at_either_end(cut: int) -> None:
    """Texts in the status are cut to a length, wherever that is."""
    known = redaction.Redactor([PASSWORD])
    assert known.clean("It is " + PASSWORD[:cut], cut_after=True) == f"It is {GONE}"
    assert known.clean(PASSWORD[-cut:] + " it is", cut_before=True) == f"{GONE} it is"
    whole = PASSWORD[:cut] + "."
    assert known.clean(whole, cut_before=True, cut_after=True) == whole


@hypothesis.given(st.text("ab", min_size=6, max_size=12), st.text("ab", max_size=14))
def test_the_longest_piece_of_a_cut_value_is_found(value: str, text: str) -> None:
    """However a value repeats itself: compared with trying every cut."""
    ends = [n for n in range(4, len(value)) if text.startswith(value[-n:])]
    heads = [n for n in range(4, len(value)) if text.endswith(value[:n])]
    assert redaction._tail_in_front(value, text) == max(ends, default=0)  # noqa: SLF001 - the rule itself
    assert redaction._head_at_end(value, text) == max(heads, default=0)  # noqa: SLF001


def test_a_large_value_costs_no_more_than_it_is_long() -> None:
    """A Secret may hold a megabyte: its lines count as one value then, and no cut of it is copied for each place."""
    lines = [f"line number {n} of many" for n in range(40_000)]
    large = redaction.Redactor(["\n".join(lines)])
    assert large.clean(lines[7]) == lines[7]
    text = "\n".join(lines[-100:])
    assert large.clean(text, cut_before=True) == GONE
    assert large.clean("\n".join(lines[:100]), cut_after=True) == GONE


LOG = (
    json.dumps({"type": "assistant", "text": f"It is {PASSWORD}!"}).encode()
    + b"\nnot json \xff sk-ant-0123456789 ends\r\n\n"
    + json.dumps({"text": "Grüße " * 50 + PASSWORD}, ensure_ascii=False).encode()
    + b"\nno newline, "
    + PASSWORD.encode()
)


@hypothesis.given(st.lists(st.integers(0, len(LOG)), max_size=12))
def test_any_chunking_of_a_stream_gives_the_same(cuts: list[int]) -> None:
    """A value that is split between two reads is found; every other byte stays, also what is no UTF-8."""
    stream = redaction.Stream(redaction.Redactor([PASSWORD]))
    edges = [0, *sorted(cuts), len(LOG)]
    out = b"".join(stream.feed(LOG[a:b]) for a, b in zip(edges, edges[1:], strict=False)) + stream.finish()
    expected = LOG.replace(PASSWORD.encode(), GONE.encode()).replace(b"sk-ant-0123456789", GONE.encode())
    assert out == expected


@pytest.mark.parametrize("shift", [0, 1, 5, 20, 4000, 4090, 4096])
def test_a_line_too_long_to_be_held_is_passed_on_in_pieces(shift: int) -> None:
    """Memory stays bounded, and no value hides where it is cut."""
    stream = redaction.Stream(redaction.Redactor([PASSWORD]))
    line = ("é" * 40_000).encode() + b"x" * shift + PASSWORD.encode() + b" sk-ant-0123456789 " + b"y" * 200_000
    out, longest = b"", 0
    for start in range(0, len(line), 1000):
        out += stream.feed(line[start : start + 1000])
        longest = max(longest, start + 1000 - len(out))
    out += stream.finish()
    assert out == line.replace(PASSWORD.encode(), GONE.encode()).replace(b"sk-ant-0123456789", GONE.encode())
    assert longest < 80_000


def test_a_long_line_is_cut_before_a_value_and_between_characters() -> None:
    """Not where the limit happens to fall."""
    stream = redaction.Stream(redaction.Redactor([PASSWORD]))
    assert stream.feed(b"a" * 65_530 + PASSWORD.encode() + b"b" * 4085) == b"a" * 65_530
    assert stream.finish() == GONE.encode() + b"b" * 4085
    assert stream.feed(("你" * 24_000).encode()).decode().endswith("你")
    assert stream.finish().decode().startswith("你")


def test_a_token_longer_than_what_is_held_is_cut_all_the_same() -> None:
    """Rather that than a line without end in memory."""
    stream = redaction.Stream(redaction.Redactor())
    token = b"sk-" + b"a" * 300_000
    out = b"".join(stream.feed(token[i : i + 1000]) for i in range(0, len(token), 1000)) + stream.finish()
    assert out.startswith(GONE.encode())
    assert len(out) < len(token)


def test_a_key_without_its_end_takes_no_other_line_with_it() -> None:
    """The next event of a log stays what it is."""
    stream = redaction.Stream(redaction.Redactor())
    out = stream.feed(b"-----BEGIN PRIVATE KEY-----MIIE\nnext -----\n") + stream.finish()
    assert out == GONE.encode() + b"\nnext -----\n"


def test_a_colour_in_a_token_hides_nothing() -> None:
    """Escape sequences go before credentials are looked for."""
    colored = "key sk-ant-\x1b[31mapi03-abcdefgh\x1b[0m \x1b]0;title\x07end"
    assert redaction.Redactor().clean(redaction.without_escapes(colored)) == f"key {GONE} end"
