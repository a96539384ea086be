"""Strict YAML: what becomes of each notation, and where each problem is said to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.errors import ConfigError
from app.config.yamltext import MAX_DEPTH, read_document

ONE = "allowed: one plain YAML document"


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_document(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("n", "n"),
        ("0", 0),
        ("-12", -12),
        ("+5", 5),
        ("012", "012"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1.5E-3", 0.0015),
        ("01.5", "01.5"),
        (".inf", ".inf"),
        (".", "."),
        ("-", [None]),
        ("~x", "~x"),
        ("=", "="),
        ("<<", "<<"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ('"\\u00e9"', "é"),
        ("{a: null, b: ~, c:, d: Null}", {"a": None, "b": None, "c": None, "d": None}),
        ("{1: a, true: b, null: c}", {"1": "a", "true": "b", "null": "c"}),
        ("&anchor [1, [2]]", [1, [2]]),
        ("\ufeff---\na: 1\n...\n", {"a": 1}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
    ],
)
def test_values(text: str, value: object) -> None:
    document = read_document(text, "f.yaml")
    assert document.value == value
    assert type(document.value) is type(value)
    assert document.problems == []


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "null", "--- ~\n..."])
def test_an_empty_document(text: str) -> None:
    assert complaint(text) == "f.yaml: found an empty file, allowed: a YAML document"


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        (
            "a: [1",
            1,
            6,
            "while parsing a flow sequence, expected ',' or ']', but got '<stream end>'",
        ),
        ("a: 1\n b: 2", 2, 3, "mapping values are not allowed here"),
        ("a:\n\t- 1", 2, 1, r"found character '\t' that cannot start any token"),
        ("a: 'x", 1, 6, "found unexpected end of stream"),
        ("a: 1\n---\nb: 2", 3, 1, "found a second document"),
        ("a: 1\n--- # nothing\n", 3, 1, "found a second document"),
        ("a: &x 1\nb: *x", 2, 4, "found an alias, which is not supported"),
        ("a: &x [*x]", 1, 8, "found an alias, which is not supported"),
        ("a: 1\nb: !thing 5", 2, 4, 'found "5" as "!thing", which is not supported'),
        ("a: !!set {x}", 1, 4, 'found the tag "!!set", which is not supported'),
        ("a: !!bool yes", 1, 4, 'found "yes" as "!!bool", which is not supported'),
        ("a: !!python/name:os.system ''", 1, 4, "which is not supported"),
        ("? [a]\n: 1", 1, 3, "found a key that is no text, which is not supported"),
        ("a: 1\nb: x\0", 2, 5, "found the character U+0000"),
        ('a: "\\UFFFFFFFF"', 1, 7, "found an escape that is no character"),
        ('a: "\\U00110000"', 1, 7, "found an escape that is no character"),
        ("a: " + "9" * 5000, 1, 4, "which is not supported"),
        ("a: " + "[" * 5000, 1, 3 + MAX_DEPTH, f"found more than {MAX_DEPTH} levels"),
        ("&a x: &a y", 1, 7, "found duplicate anchor 'a'; first occurrence, second occurrence"),
    ],
)
def test_notation_that_cannot_be_read(text: str, line: int, column: int, what: str) -> None:
    message = complaint(text)
    assert message.startswith(
        f"f.yaml:{line}: found invalid YAML in line {line}, column {column} ("
    )
    assert what in message
    assert message.endswith(ONE)
    assert "\n" not in message


def test_a_key_that_stands_twice_is_told_with_both_lines() -> None:
    document = read_document("a: 1\nb:\n  c: 1\n  'c': 2\na: 3\na: 4\n", "f.yaml")
    assert [str(problem) for problem in document.problems] == [
        "f.yaml:4: b.c: found the key a second time, allowed: each key once (first in line 3)",
        "f.yaml:5: a: found the key a second time, allowed: each key once (first in line 1)",
        "f.yaml:6: a: found the key a second time, allowed: each key once (first in line 5)",
    ]


def test_each_value_has_the_line_of_its_key() -> None:
    document = read_document("# pool\na:\n\n  b: 1\n  c:\n    - x\n    - y\n", "f.yaml")
    assert document.lines == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 4,
        ("a", "c"): 5,
        ("a", "c", 0): 6,
        ("a", "c", 1): 7,
    }


@given(st.text())
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        read_document(text, "f.yaml")
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - raised or not, both are right


@given(st.text(alphabet="ab: -[]{},\n\t#&*!|>'\"%@?~01.\\\0x", max_size=40))
def test_any_yaml_like_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        read_document(text, "f.yaml")
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017
