"""Text preparation that belongs to a protocol."""

import re
import unicodedata

_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]")
_TO_ASCII = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u2033", '"'),
        **{
            "æ": "ae",
            "œ": "oe",
            "ø": "o",
            "ß": "ss",
            "đ": "d",
            "ð": "d",
            "þ": "th",
            "ł": "l",
            "\u0131": "i",
            "ə": "@",
        },
    }
)


def split_at_non_words(text: str) -> str:
    """Lower case, split at every non-word character, joined by single blanks.

    What microsoft/LoRA@c4593f0 gpt2_decode.py does with `--tokenize --lower` before WebNLG is scored. Applied to its
    own result it changes nothing.
    """
    return " ".join(_WORD_OR_SIGN.findall(text.lower()))


def fold_to_ascii(text: str) -> str:
    """Lower case without accents, typographic dashes and quotation marks as ASCII has them.

    Stands for the WebNLG 2017 scripts' unidecode: equal on every letter of the corpus; scripts other than Latin
    stay as they are.
    """
    decomposed = unicodedata.normalize("NFKD", text.lower().translate(_TO_ASCII))
    return "".join(character for character in decomposed if not unicodedata.combining(character))
