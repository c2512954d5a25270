"""Label sets as people have them: signs, numbers, scripts, case pairs, one inside another."""
# ruff: noqa: RUF001 - labels of many scripts

from hypothesis import strategies as st

ATOMS = (
    *("-1", "0", "1", "+1", "1.5", "-0.5", "2", "10", "1/2", "3:1", "1,000", "-10", "1e5", "50%", "$5"),
    *("C", "C#", "C++", "c", "F#", ".NET", "Node.js", "A+", "A-", "A*", "AB", "ab", "O+", "O-", "AB-"),
    *("red", "Red", "RED", "dark red", "dark-red", "red/green", "red (dark)", "(red)", "red, green"),
    *("positive", "very positive", "non-positive", "positively", "Sci/Tech", "U.S.", "U.S", "e.g."),
    *("#tag", "tag", "@user", "a", "b", "A", "B", "us", "US", "x > 0", "x >= 0", "None", "yes", "no"),
    *("NotMentioned", "Mentioned", "not_mentioned", "Label A", "Label B", "class 1", "class 2"),
    *("积极", "消极", "中性", "中", "非常积极", "はい", "いいえ", "긍정", "부정", "ใช่", "ไม่ใช่"),
    *("إيجابي", "سلبي", "إيجابي جدا", "نعم", "לא", "да", "Да", "нет", "ναι", "हिंदी"),
    *("👍", "👎", "👍🏽", "❤️", "👩‍💻", "👩", "été", "e\u0301te\u0301", "ete", "ﬁne", "①", "ñ", "n\u0303"),
    *("+", "-", "++", "--", "?"),
)  # fmt: skip
LABELS = st.lists(
    st.one_of(
        st.sampled_from(ATOMS),
        st.tuples(
            st.sampled_from(ATOMS),
            st.sampled_from(("", " ", "-", "/", ", ")),
            st.sampled_from(ATOMS),
        ).map("".join),
    ),
    min_size=2,
    max_size=6,
    unique=True,
).map(tuple)
