"""The filter grammar: what is read, what is refused and where, and that it reads itself back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.errors import InvalidRequest
from ksi_tui.engine.filter import (
    FIELDS,
    Comparison,
    Facts,
    Filter,
    FilterError,
    Pattern,
    Term,
    TextTerm,
    matches,
    parse,
)
from ksi_tui.engine.filter.grammar import MAX_CHARS, MAX_VALUES
from ksi_tui.engine.models import Priority, State
from ksi_tui.engine.views import Phase

REQUEST = Facts(
    request_id="r-81",
    session_id="acme-42",
    agent_id="Research-7",
    asked_model="gpt-4o-mini",
    model="claude-3:beta",
    provider="anthropic",
    status=State.RETRYING,
    phase=Phase.RETRYING,
    error_kind="api_rate_limit",
    error_message="Rate limit, please slow down",
    why="backoff 12 s (api_rate_limit)",
    priority=Priority.HIGH,
    metadata={"customer": "globex", "my key": "a, b", "tier": 3, "vip": True, "tags": ["x", "y"]},
    age_s=90.0,
    tokens=1500,
    cost=0.02,
    attempts=2,
    latency_s=61.5,
    ttft_s=None,
)
NOBODY = Facts(request_id="r-1", session_id="s-1", status=State.QUEUED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "acme",
        "ACME-42",
        "r-81",
        "slow",
        "rate_limit",
        "acme*",
        "*42",
        "ac*-42",
        "nobody,acme",
        '"limit, please"',
        'limit", "please',
        "claude-3:beta",
        "session:acme",
        "SESSION:Acme",
        "session:acme*42",
        "session=acme-42",
        "agent:research*",
        "model:gpt-4o model:claude",
        "provider:openai,anthropic",
        "status:retrying",
        "status:retry*,failed",
        "error:api_rate_limit",
        'error:"slow down"',
        "why:backoff",
        "priority:high,critical",
        "meta.customer:globex",
        'meta."my key":"a, b"',
        "meta.tier:3",
        "meta.vip:true",
        r'meta.tags="[\"x\",\"y\"]"',
        "id:81",
        "id=R-81",
        "age>30s",
        "age>=90s",
        "age<2m",
        "age<=1.5m",
        "age=90",
        "tokens>1k",
        "tokens<1.6k",
        "cost>0.01",
        "cost<$1",
        "attempts>1",
        "latency>1m",
        "latency>61400ms",
        "-status:failed",
        "-agent:other",
        "-meta.absent:*",
        "-tokens>2000",
        "-nothing",
        "acme status:retrying -model:llama age>1m",
    ],
)
def test_holds(text: str) -> None:
    assert matches(parse(text), REQUEST)


@pytest.mark.parametrize(
    "text",
    [
        "globex",  # metadata and why are asked for by name
        "backoff",
        "42*",
        "*acme",
        "acme*acme-42",
        "session:acme-421",
        "session=acme",
        "agent:search*",
        "provider:openai",
        "status:queued",
        "meta.customer:initech",
        "meta.Customer:globex",
        "meta.vip:1",
        "priority:normal",
        "age>90s",
        "tokens<1500",
        "ttft>1s",
        "-ttft>1s",
        "ttft<1s",
        "-acme",
        "-status:retrying",
        "acme status:failed",
        "-tokens>1000",
    ],
)
def test_does_not_hold(text: str) -> None:
    assert not matches(parse(text), REQUEST)


@pytest.mark.parametrize("name", ["agent", "model", "provider", "error", "why", "meta.customer"])
def test_what_is_not_known_matches_no_value_and_every_negation(name: str) -> None:
    assert not matches(parse(f"{name}:*"), NOBODY)
    assert matches(parse(f"-{name}:*"), NOBODY)


@pytest.mark.parametrize("name", ["age", "tokens", "cost", "attempts", "latency", "ttft"])
@pytest.mark.parametrize("operator", [">", ">=", "<", "<=", "="])
@pytest.mark.parametrize("sign", ["", "-"])
def test_what_is_not_known_matches_no_comparison(name: str, operator: str, sign: str) -> None:
    assert not matches(parse(f"{sign}{name}{operator}0"), NOBODY)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  a   b ", "a b"),
        ("Session:A", "session:A"),
        ("age>90", "age>90s"),
        ("age>120s", "age>2m"),
        ("age>36h", "age>36h"),
        ("age>48h", "age>2d"),
        ("latency>250ms", "latency>0.25s"),
        ("tokens>=20000", "tokens>=20k"),
        ("tokens=1.5M", "tokens=1500k"),
        ("tokens=0", "tokens=0"),
        ("cost>$.5", "cost>0.5"),
        ("a**b", "a*b"),
        ('"a:b"', '"a:b"'),
        ('"-x"', '"-x"'),
        ('-"-x"', '-"-x"'),
        ('s" "x', '"s x"'),
        ('session:a","b', 'session:"a,b"'),
        (r'"say \"hi\" \\ there"', r'"say \"hi\" \\ there"'),
        (r"C\x", r"C\x"),
        ('meta."a b":x', 'meta."a b":x'),
        ('meta."ab":x', "meta.ab:x"),
        ("status:no_token", 'status:"no token"'),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert str(parse(text)) == normal


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("acme colour:red", 5, "no field 'colour'; fields: session:, agent:"),
        ("colour>5", 0, "no field 'colour'"),
        ("session.x:5", 0, "no field 'session.x'"),
        ("a -", 2, "- leaves out what stands right after it"),
        ("- a", 0, "- leaves out"),
        ("session:", 8, "a value is missing here: session:acme-42"),
        ("session:a,", 10, "a value is missing"),
        ("session:,a", 8, "a value is missing"),
        (",", 0, "a value is missing"),
        ('a "b', 2, "the quote is not closed"),
        ('session:"b', 8, "the quote is not closed"),
        ('session:""', 8, "a value is missing"),
        ("session>3", 0, "session has no order: session:acme-42"),
        ("meta:x", 0, "meta is asked by key: meta.customer:globex"),
        ("meta.a>3", 0, "meta has no order"),
        ("tokens:5", 0, "tokens is compared: tokens>1k"),
        ("age>", 4, "age is compared with a number: 30s, 5m"),
        ("age>soon", 4, "age is compared with a number"),
        ("age>-3s", 4, "age is compared with a number"),
        ("age>3w", 5, "no unit 'w'"),
        ("tokens>3s", 8, "no unit 's'; tokens is compared with a number: 1000, 20k"),
        ("tokens>9e9", 7, "tokens is compared with a number"),
        ("tokens>" + "9" * 400, 7, "the number is too large"),
        ("status:done", 0, "status is never done; it is queued, processing"),
        ("status=queue", 0, "status is never queue"),
        ("priority:urgent", 0, "priority is never urgent; it is critical, high"),
        ("a\0b", 1, "NUL"),
    ],
)
def test_refusals_say_where_and_what_is_allowed(text: str, position: int, says: str) -> None:
    with pytest.raises(FilterError) as refused:
        parse(text)
    assert refused.value.position == position
    assert says in refused.value.message
    assert str(refused.value) == refused.value.message
    assert isinstance(refused.value, InvalidRequest)


@pytest.mark.parametrize(
    "text",
    [
        "x" * (MAX_CHARS + 1),
        '"' + "\\" * (MAX_CHARS - 2) + '" ' + "\\",
        ",".join("a" for _ in range(MAX_VALUES + 1)),
        " ".join("age>1" for _ in range(MAX_VALUES + 1)),
    ],
)
def test_a_filter_is_bounded(text: str) -> None:
    with pytest.raises(FilterError):
        parse(text)


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_every_example_can_be_typed(field: Any) -> None:
    (term,) = parse(field.example).terms
    assert term.field == field.name
    assert str(parse(field.example)) == field.example


@given(st.text(alphabet=st.sampled_from('ab-:*,"\\ .<>=09smk\u00e9\ud800\nmetasessiontokens')))
def test_whatever_is_typed_is_read_or_refused_and_reads_itself_back(text: str) -> None:
    position = 0
    try:
        found = parse(text)
    except FilterError as refused:
        position = refused.position
    else:
        assert parse(str(found)) == found
    assert 0 <= position <= len(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except FilterError:
        return
    assert parse(str(found)) == found
    assert found.empty == (not text.strip())


texts = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=8)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    parts = draw(st.lists(texts, min_size=1, max_size=3))
    if len(parts) > 1:
        parts[0] = draw(st.sampled_from(["", parts[0]]))
        parts[-1] = draw(st.sampled_from(["", parts[-1]]))
    return Pattern(parts=tuple(parts))


text_terms = st.builds(
    TextTerm,
    field=st.sampled_from(["session", "agent", "model", "provider", "error", "why", "id"]),
    patterns=st.lists(patterns(), min_size=1, max_size=3).map(tuple),
    exact=st.booleans(),
    negated=st.booleans(),
)
words = st.builds(
    TextTerm,
    field=st.just(""),
    patterns=st.lists(patterns(), min_size=1, max_size=3).map(tuple),
    negated=st.booleans(),
)
labels = st.builds(
    TextTerm,
    field=st.just("meta"),
    key=texts,
    patterns=st.lists(patterns(), min_size=1, max_size=2).map(tuple),
    exact=st.booleans(),
    negated=st.booleans(),
)
comparisons = st.builds(
    Comparison,
    field=st.sampled_from(["age", "tokens", "cost", "attempts", "latency", "ttft"]),
    operator=st.sampled_from([">", ">=", "<", "<=", "="]),
    value=st.floats(min_value=0, max_value=1e12).map(lambda number: round(number, 9)),
    negated=st.booleans(),
)
terms: st.SearchStrategy[Term] = st.one_of(text_terms, words, labels, comparisons)
filters = st.lists(terms, max_size=4).map(lambda found: Filter(tuple(found)))


@given(filters)
def test_every_filter_reads_back_from_its_normal_form(wanted: Filter) -> None:
    assert parse(str(wanted)) == wanted


facts = st.builds(
    Facts,
    request_id=texts,
    session_id=texts,
    status=st.sampled_from(State),
    agent_id=st.none() | texts,
    model=st.none() | texts,
    error_message=st.none() | texts,
    metadata=st.dictionaries(texts, st.none() | st.integers() | texts, max_size=2),
    age_s=st.none() | st.floats(0, 100),
    tokens=st.none() | st.integers(0, 100),
)


@given(terms, facts)
def test_a_negation_is_the_complement_where_the_number_is_known(term: Term, found: Facts) -> None:
    positive, negative = _pair(term)
    both = [matches(Filter((each,)), found) for each in (positive, negative)]
    unknown = isinstance(term, Comparison) and term.field not in _known(found)
    assert sum(both) == (0 if unknown else 1)


def _pair(term: Term) -> tuple[Term, Term]:
    values = {name: getattr(term, name) for name in type(term).__dataclass_fields__}
    return type(term)(**values | {"negated": False}), type(term)(**values | {"negated": True})


def _known(found: Facts) -> set[str]:
    numbers = {"age": found.age_s, "tokens": found.tokens}
    return {name for name, value in numbers.items() if value is not None}


@given(filters, filters, facts)
def test_more_terms_never_find_more(one: Filter, other: Filter, found: Facts) -> None:
    both = Filter(one.terms + other.terms)
    assert matches(both, found) == (matches(one, found) and matches(other, found))


@given(texts, texts, texts)
def test_stars_anchor(before: str, inside: str, after: str) -> None:
    whole = Facts(request_id="r", session_id=before + inside + after, status=State.QUEUED)

    def found(*parts: str) -> bool:
        term = TextTerm(field="session", patterns=(Pattern(parts=parts),))
        return matches(Filter((term,)), whole)

    assert found(inside)
    assert found(before, after)
    assert found(before, "")
    assert found("", after)
    assert found("", inside, "")
    assert not found(before + inside + after + "x", "")


def test_what_stands_between_stars_does_not_overlap() -> None:
    found = Facts(request_id="r", session_id="abab", status=State.QUEUED)
    assert matches(parse("session:ab*ab"), found)
    assert not matches(parse("session:aba*bab"), found)
    assert not matches(parse("session:ab*ab*ab"), found)
    assert matches(parse("session:a*b*b"), found)
