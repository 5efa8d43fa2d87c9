"""The same prompt in other words or another form: changes that leave what is asked as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

FEWEST_LETTERS = 6
"""Of a word with a typo: two letters swapped inside a shorter one may make another word."""


def _typo(prompt: str) -> str:
    """Two inner letters of the longest plain word swapped, as a hasty hand does; names and numbers stay."""
    words = prompt.split(" ")
    plain = [place for place, word in enumerate(words) if word.isalpha() and word.islower()]
    if not plain or len(words[longest := max(plain, key=lambda place: len(words[place]))]) < FEWEST_LETTERS:
        return prompt
    word, middle = words[longest], len(words[longest]) // 2
    words[longest] = word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]
    return " ".join(words)


FORMS: Mapping[str, Callable[[str], str]] = {
    "plain": lambda prompt: prompt,
    "spaces": lambda prompt: f"  {prompt.replace('. ', '.  ')} \n",
    "polite": lambda prompt: f"Could you please help me with this? {prompt} Thank you!",
    "lower case": lambda prompt: prompt[:1].lower() + prompt[1:],
    "typo": _typo,
}
"""Forms in which people type; none of them is another question."""
DISTRACTORS: Mapping[str, Callable[[str], str]] = {
    "before": lambda prompt: f"It rained this morning, and the bus was late. {prompt}",
    "behind": lambda prompt: f"{prompt}\n(This message was sent from a phone.)",
}
"""Sentences about something else."""
