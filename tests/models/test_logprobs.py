"""The mass of each label against a sum over all answers, and answers that nothing can be said of."""
# ruff: noqa: RUF001 - labels of many scripts

import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pld_dspy.models.logprobs import (
    Token,
    gold_probability,
    label_distribution,
    label_probabilities,
    read_tokens,
)
from pld_dspy.models.reading.labels import read_label

DOMAINS = ("gender", "profession", "race", "religion")
NLI = ("Entailment", "Contradiction", "NotMentioned")


def token(text, *others, p=None):
    """A generated token and its alternatives, as (text, probability); the rest is its own."""
    own = 1 - sum(share for _, share in others) if p is None else p
    pairs = [(text, own), *others]
    top = tuple((as_bytes(t), math.log(share) if share else -math.inf) for t, share in pairs)
    return Token(as_bytes(text), top[0][1], top)


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


def shares(tokens, labels=DOMAINS, **options):
    found = label_probabilities(tokens, labels, **options)
    assert all(0 < p <= 1 for p in found.values())
    assert not found or sum(found.values()) == pytest.approx(1, abs=1e-9)
    return found


def test_alternatives_are_gathered_whatever_their_form():
    said = token(
        " race", ("Race", 0.1), ("_race", 0.05), ("**Gender", 0.2), ("gend", 0.1), ('"rel', 0.05)
    )
    assert shares([said]) == pytest.approx({"race": 0.65, "gender": 0.3, "religion": 0.05})


def test_what_fits_no_label_is_left_out_and_the_rest_is_normalised():
    said = token("race", ("The", 0.3), ("gender", 0.2), ("racecar", 0.1))
    assert shares([said]) == pytest.approx({"race": 2 / 3, "gender": 1 / 3})


def test_labels_that_share_their_first_token_are_told_apart_at_the_next():
    tokens = [token("R", ("gender", 0.2)), token("elig", ("ace", 0.25)), token("ion", ("x", 0.9))]
    expected = {"gender": 0.2, "religion": 0.8 * 0.75, "race": 0.8 * 0.25}
    assert shares(tokens) == pytest.approx(expected)


def test_an_alternative_that_leads_to_several_labels_is_split_and_one_that_leads_to_all_left_out():
    assert shares([token("gender", ("r", 0.4))]) == pytest.approx(
        {"gender": 0.6, "race": 0.2, "religion": 0.2}
    )
    assert shares([token("gender", ('"', 0.4), ("race", 0.3))]) == pytest.approx(
        {"gender": 0.5, "race": 0.5}
    )


@pytest.mark.parametrize(
    "form", ["NotMentioned", "Not mentioned", "not-mentioned.", "NOT_MENTIONED"]
)
def test_spaces_inside_a_label_do_not_matter(form):
    tokens = [token(form[:3], ("Ent", 0.3)), token(form[3:], (" entailed", 0.9))]
    assert shares(tokens, NLI) == pytest.approx({"NotMentioned": 0.7, "Entailment": 0.3})


@pytest.mark.parametrize("end", ["", "\n", ".", "<|im_end|>", " because it is old"])
def test_a_label_that_starts_another_one_is_decided_by_what_follows(end):
    labels = ("C", "C++", "Java")
    short = [token("C", ("Java", 0.2)), token(end, ("++", 0.25))]
    expected = {"C": 0.6, "C++": 0.2, "Java": 0.2}
    assert shares(short, labels, answer="C") == pytest.approx(expected)
    long = [token("C", ("Java", 0.2)), token("++", (end, 0.25))]
    expected = {"C": 0.2, "C++": 0.6, "Java": 0.2}
    assert shares(long, labels) == pytest.approx(expected)


def test_the_end_of_the_tokens_decides_too():
    assert shares([token("C", ("Java", 0.2))], ("C", "C++", "Java")) == pytest.approx(
        {"C": 0.8, "Java": 0.2}
    )


@pytest.mark.parametrize(
    "lead",
    [
        ["Answer", ":"],
        ["Answer: "],
        ["**", "Bias", " domain", ":**", " "],
        ["The", " answer", " is"],
        ["[[ ##", " bias_domain", " ## ]]", "\n"],
        ['{"', "bias", "_domain", '":', ' "'],
        ["", "\n", " "],
    ],
)
def test_a_lead_in_is_stepped_over(lead):
    tokens = [*(token(text, ("Well", 0.0)) for text in lead), token(" race", ("gender", 0.25))]
    assert shares(tokens) == pytest.approx({"race": 0.75, "gender": 0.25})


def test_a_label_in_place_of_the_lead_in_has_its_mass():
    tokens = [token("Answer", ("gender", 0.4)), token(":"), token(" race", ("religion", 0.5))]
    assert shares(tokens) == pytest.approx({"gender": 0.4, "race": 0.3, "religion": 0.3})


def test_letters_are_not_looked_for_inside_words():
    tokens = [token("A", ("B", 0.2)), token("nswer: "), token("b", ("Based", 0.2), ("a", 0.3))]
    assert shares(tokens, ("a", "b")) == pytest.approx({"a": 0.24 / 0.84, "b": 0.6 / 0.84})


@pytest.mark.parametrize(
    ("tokens", "labels"),
    [
        ([], DOMAINS),
        ([token("race", ("gender", 0.5))], ()),
        ([token("It", ("race", 0.4)), token(" is hard to say")], DOMAINS),
        ([token("prof", ("race", 0.4))], DOMAINS),
        ([token("not", ("gender", 0.1)), token(" race")], DOMAINS),
        ([token("race"), token(" or gender")], DOMAINS),
        ([Token(b"race", -0.1)], DOMAINS),
        ([token("race", ("gender", 0.0), p=0.0)], DOMAINS),
        ([token("?", ("!", 0.4))], ("?", "!", "")),
    ],
    ids=[
        "nothing",
        "open set",
        "prose",
        "cut off",
        "negated",
        "two labels",
        "no alternatives",
        "no mass",
        "empty label",
    ],
)
def test_where_nothing_can_be_said_nothing_is(tokens, labels):
    assert label_probabilities(tokens, labels) == {}


def test_tokens_that_lead_to_another_label_than_was_read_say_nothing():
    tokens = [token("race", ("gender", 0.4))]
    assert shares(tokens, answer="race")
    assert label_probabilities(tokens, DOMAINS, answer="gender") == {}


def test_a_character_in_two_tokens_is_put_together():
    first, second = "é".encode()[:1], "é".encode()[1:]
    tokens = [token(first, ("b", 0.3)), token(second + b"t"), token("é")]
    assert shares(tokens, ("été", "blé")) == pytest.approx({"été": 0.7, "blé": 0.3})


def test_labels_that_differ_only_in_signs_or_case_stay_apart():
    assert shares([token("-1", ("1", 0.4))], ("-1", "1")) == pytest.approx({"-1": 0.6, "1": 0.4})
    assert shares([token("a", ("A", 0.4))], ("A", "a")) == pytest.approx({"a": 0.6, "A": 0.4})


@pytest.mark.parametrize(
    ("tokens", "labels", "expected"),
    [
        (
            [token("**"), token("-", ("0", 0.2)), token("1", p=1.0), token("**")],
            ("-1", "0", "1"),
            {"-1": 0.8, "0": 0.2},
        ),
        ([token("-1", ("1", 0.3))], ("-1", "1", "2"), {"-1": 0.7, "1": 0.3}),
        ([token("-", ("2", 0.25)), token("1")], ("-1", "2"), {"-1": 0.75, "2": 0.25}),
        (
            [token("1", ("2", 0.2)), token(".", ("5", 0.0)), token("5", ("\n", 0.25))],
            ("1", "1.5", "2"),
            {"1": 0.2, "1.5": 0.6, "2": 0.2},
        ),
        (
            [token("1", ("2", 0.2)), token("."), token("\n")],
            ("1", "1.5", "2"),
            {"1": 0.8, "2": 0.2},
        ),
        (
            [token("C", ("Java", 0.2)), token("#", (".", 0.5))],
            ("C", "C#", "Java"),
            {"C": 0.4, "C#": 0.4, "Java": 0.2},
        ),
        (
            [token("答案："), token("积", ("消", 0.1)), token("极")],
            ("积极", "消极"),
            {"积极": 0.9, "消极": 0.1},
        ),
        (
            [token("答案是"), token("积极", ("消极", 0.25))],
            ("积极", "消极"),
            {"积极": 0.75, "消极": 0.25},
        ),
        ([token("e\u0301te\u0301", ("or", 0.1))], ("été", "or"), {"été": 0.9, "or": 0.1}),
    ],
)
def test_what_a_label_needs_is_followed_too(tokens, labels, expected):
    assert shares(tokens, labels) == pytest.approx(expected)


@st.composite
def answers(draw):
    """Words of two to three tokens in which any two part at one token, and a model over them."""
    first = draw(st.lists(st.sampled_from("bcdfg"), min_size=1, max_size=4, unique=True))
    # Below the token that is generated there is a choice; below any other there is none.
    stem, others = first[0], first[1:]
    second = draw(st.lists(st.sampled_from("klmnp"), min_size=2, max_size=4, unique=True))
    weights = st.lists(st.floats(0.01, 1), min_size=5, max_size=5)
    level_1 = dict(zip([stem, *others, "?"], draw(weights), strict=False))
    level_2 = dict(zip([*second, "!"], draw(weights), strict=False))
    return stem, level_1, second[0], level_2


@given(answers())
def test_shares_equal_the_sum_over_all_the_answers_of_a_model(model):
    stem, level_1, second, level_2 = model
    spread = [{k: v / sum(d.values()) for k, v in d.items()} for d in (level_1, level_2)]
    words = {stem + b: spread[0][stem] * p for b, p in spread[1].items() if b != "!"}
    words |= {a + "z": p for a, p in spread[0].items() if a not in {stem, "?"}}
    total = sum(words.values())
    tokens = [
        Token(
            chosen.encode(),
            math.log(dist[chosen]),
            tuple((t.encode(), math.log(p)) for t, p in dist.items()),
        )
        for chosen, dist in zip((stem, second), spread, strict=True)
    ]
    found = shares(tokens, tuple(words))
    assert found == pytest.approx({word: p / total for word, p in words.items()})


ODD = st.sampled_from(
    [
        b"",
        b"\n",
        b" ",
        b"<|im_end|>",
        b"\xff",
        b"\xe2\x80",
        b"race",
        b"Gen",
        b"der",
        b"r",
        b":",
        b"**",
    ]
)
LOGPROB = st.floats(-9, 0.5)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(Token, ODD, LOGPROB, st.lists(st.tuples(ODD, LOGPROB), max_size=4).map(tuple)),
        max_size=5,
    ),
    st.lists(st.sampled_from([*DOMAINS, "r", "", "R", "ra ce"]), max_size=4),
)
def test_any_tokens_give_shares_of_labels_or_nothing(tokens, labels):
    found = shares(tokens, tuple(labels))
    assert set(found) <= set(labels)
    if found:
        said = read_label(b"".join(t.text for t in tokens).decode(errors="ignore"), labels)
        assert said in found


def entry(text, logprob=-0.5, top=None, **more):
    return {"token": text, "logprob": logprob, "top_logprobs": top, **more}


def test_tokens_are_read_from_mappings_and_from_objects():
    raw = [entry("é", bytes=[195, 169], top=[{"token": "x", "logprob": -2, "bytes": None}])]
    expected = [Token("é".encode(), -0.5, ((b"x", -2.0),))]
    assert read_tokens({"content": raw}) == expected
    objects = [
        SimpleNamespace(**{**raw[0], "top_logprobs": [SimpleNamespace(token="x", logprob=-2)]})
    ]
    assert read_tokens(SimpleNamespace(content=objects)) == expected


def test_the_bytes_of_a_token_count_for_more_than_its_text():
    assert read_tokens({"content": [entry("\ufffd", bytes=[195])]})[0].text == b"\xc3"
    assert read_tokens({"content": [entry("a", bytes=[999])]})[0].text == b"a"
    assert read_tokens({"content": [entry("a", bytes=7)]})[0].text == b"a"
    assert read_tokens({"content": [entry("\ud800", bytes=[])]})[0].text == b"?"


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": "race"},
        {"content": [None]},
        {"content": [entry(None)]},
        {"content": [entry("a", logprob=None)]},
        {"content": [entry("a", logprob=math.nan)]},
        {"content": [entry("a"), {"token": "b"}]},
        {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5}]},
    ],
)
def test_what_has_another_form_gives_no_tokens(logprobs):
    assert read_tokens(logprobs) == []


def test_alternatives_of_another_form_are_left_out():
    assert read_tokens({"content": [entry("a", top={"a": -0.5})]})[0].top == ()
    top = [None, {"token": "b", "logprob": -1}, {"token": "c"}]
    assert read_tokens({"content": [entry("a", top=top)]})[0].top == ((b"b", -1.0),)


def test_the_share_of_gold_is_zero_outside_the_alternatives_and_none_where_nothing_is_known():
    top = [
        {"token": "race", "logprob": math.log(2 / 3)},
        {"token": "gender", "logprob": -1.0986123},
    ]
    said = {"logprobs": {"content": [entry("race", math.log(2 / 3), top)]}}
    assert gold_probability(said, DOMAINS, "race", "gender") == 0.333333
    assert gold_probability(said, DOMAINS, "race", "religion") == 0.0
    assert gold_probability(said, DOMAINS, "race", "age") is None
    assert gold_probability(said, DOMAINS, None, "race") is None
    assert gold_probability(said, DOMAINS, "gender", "race") is None
    assert gold_probability({}, DOMAINS, "race", "race") is None


@pytest.mark.parametrize("answer", ["q1", None])
def test_a_label_with_several_words_has_the_sum_of_their_probabilities(answer):
    shown = {"q1": ("job", "career"), "q2": ("country",), "q3": ("weather",)}
    tokens = [token("career", ("job", 0.3), ("country", 0.2), ("The", 0.05))]
    found = label_distribution(tokens, tuple(shown), answer=answer, shown=shown)

    assert found["q1"] / found["q2"] == pytest.approx((0.45 + 0.3) / 0.2)
    # One that is not among the alternatives has what the least of them has.
    assert found["q3"] / found["q2"] == pytest.approx(0.05 / 0.2)
    assert sum(found.values()) == pytest.approx(1)


def test_the_share_of_gold_is_that_of_all_its_words():
    top = [
        {"token": "job", "logprob": math.log(0.3)},
        {"token": "country", "logprob": math.log(0.2)},
    ]
    said = {"logprobs": {"content": [entry("career", math.log(0.5), top)]}}
    shown = {"q1": ("job", "career"), "q2": ("country",)}

    assert gold_probability(said, tuple(shown), "q1", "q1", shown=shown) == pytest.approx(0.8)
    assert gold_probability(said, tuple(shown), "q1", "q2", shown=shown) == pytest.approx(0.2)
