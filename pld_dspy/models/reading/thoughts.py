"""Removes reasoning and code fences from a completion."""

import re

_NAMES = "think|thinking|thought|thoughts|reasoning|reflection|scratchpad"
_PAIRS = (
    # opening and closing of a thought: XML-like, Magistral, Kimi, Gemma's and OpenAI's channels
    (rf"<(?:{_NAMES})>", rf"</(?:{_NAMES})>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"◁think▷", r"◁/think▷"),
    (
        r"<\|channel\|?>(?:analysis|commentary|thought)\b",
        r"<\|channel\|>final(?:<\|message\|>)?|<channel\|>",
    ),
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[ \t]*[\w+-]*[ \t]*$\n?", re.MULTILINE)
_CONTROL = re.compile(r"<\|(?:start|end|message|return|channel|im_end|eot_id|endoftext)\|>")


def answer_part(text: str) -> str:
    """Return the text without reasoning (thoughts) and without code fence lines.

    Text after an unclosed opening tag is removed, and so is text before a closing tag without an
    opening one (the chat template may contain it).

    >>> answer_part("<think>It could be negative.</think>positive")
    'positive'
    >>> answer_part("<think> it could be negative, or rather")
    ''
    """
    for opening, closing in _PAIRS:
        if re.search(f"{opening}|{closing}", text, re.IGNORECASE) is None:
            continue
        # Nested thoughts end with the last closing tag.
        text = re.sub(f"(?is){opening}.*?(?:{closing})", "\n", text)
        text = re.split(f"(?i){closing}", text)[-1]
        text = re.split(f"(?i){opening}", text)[0]
        text = _CONTROL.sub("", text)
    return _FENCE.sub("", text).strip() if "```" in text or "~~~" in text else text.strip()
