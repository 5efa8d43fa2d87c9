"""The language of a text, told by its script and its most frequent words; a guess for texts of a sentence and more."""

from __future__ import annotations

import functools
import re
from collections import Counter

_WORD = re.compile(r"[^\W\d_]+")
FEWEST_HITS, LEAD = 3, 1.5

_FREQUENT = {
    "English": "the of and to in is that for it with as was on are this by from at be or an you not have which but they his her were how what do can my "
               "your we will if would their there when who i me he she has had been about out up so no all one",
    "German": "der die und das den von zu mit ist im für nicht auf ein eine sich dem des als auch es an werden aus er hat dass sie nach bei um wie über "
              "ich wir kann man wird war nur oder aber was wenn noch einen einer zum zur du mein ihr",
    "French": "le la les de des et est un une du en que qui dans pour pas sur par au il elle avec ne se ce sont plus je vous nous cette mais ou son sa "
              "aux être fait comme tout très leur été mon si d l j n c qu",
    "Spanish": "el la los las de que y en un una es por con para no se del al lo como más su pero sus le ya o este sí porque esta entre cuando muy sin "
               "sobre también me hasta hay donde quien yo mi está todo",
    "Italian": "il lo la gli le di che e è un una per non in con del della si da sono come più anche ma al dei nel alla ha questo o se suo ci cui delle mi "
               "perché molto quando dove io tutto questa essere",
    "Portuguese": "o a os as de que e em um uma é por com para não se do da no na mais como mas ao ele das dos seu sua ou quando muito já também pelo pela "
                  "até isso ela entre depois sem mesmo aos eu você está",
    "Dutch": "de het een en van is dat op te in voor met niet zijn aan er om ook als maar bij door over hij ze uit naar dan wat nog worden wordt heeft kan "
             "ik je mijn deze die werd hebben tot",
    "Swedish": "och att det som en på är av för den till med inte om ett han men var jag sig från vi så kan när år under också efter eller nu du har de hon",
    "Danish": "og at det som en på er af for den til med ikke om et han men var jeg sig fra vi så kan når blev også efter eller nu du har de der hun",
    "Polish": "i w na nie się z do to że jest o jak ale po co tak za od są przez dla czy tym jego już tylko być może ten ma oraz był",
    "Turkish": "ve bir bu için ile çok da de ne gibi daha olarak ama kadar var mi ben sen olan sonra değil en her ki o",
    "Czech": "a se na je že v to s z do o i jako za by ale po tak jsem pro jsou nebo které který když byl co si jen už ještě",
}
_SCRIPTS = {
    "Russian": r"[\u0400-\u04ff]", "Greek": r"[\u0370-\u03ff]", "Arabic": r"[\u0600-\u06ff]", "Hebrew": r"[\u0590-\u05ff]", "Hindi": r"[\u0900-\u097f]",
    "Thai": r"[\u0e00-\u0e7f]", "Korean": r"[\uac00-\ud7af]", "Japanese": r"[\u3040-\u30ff]", "Chinese": r"[\u4e00-\u9fff]",
}
_SCRIPT_OF = {language: re.compile(pattern) for language, pattern in _SCRIPTS.items()}
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")


@functools.cache
def _languages_of_words() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for language, words in _FREQUENT.items():
        for word in set(words.split()):
            found[word] = (*found.get(word, ()), language)
    return found


def language_of(text: str) -> str | None:
    """The language of a text, or None where its words don't tell: it is short, or a list of names and codes.

    A script tells where it has more letters than the Latin one. Else a language has at least 3 of its frequent words in the text,
    and 1.5 times as many as any other; a word that several languages share counts for each in part.
    """
    text = text[:1_000]
    if not text.isascii():
        latin = len(_LATIN.findall(text))
        for language, pattern in _SCRIPT_OF.items():
            letters = len(pattern.findall(text))
            if (letters > latin and letters >= 3) or (language == "Japanese" and letters >= 3 and latin < 10):
                return language
    hits: Counter[str] = Counter()
    shares: Counter[str] = Counter()
    for word in _WORD.findall(text.lower()):
        for language in (among := _languages_of_words().get(word, ())):
            hits[language] += 1
            shares[language] += 1 / len(among)          # type: ignore[assignment]
    ranked = shares.most_common(2)
    if not ranked or hits[ranked[0][0]] < FEWEST_HITS:
        return None
    second = ranked[1][1] if len(ranked) > 1 else 0.0
    return ranked[0][0] if ranked[0][1] >= LEAD * second and ranked[0][1] >= FEWEST_HITS / 2 else None
