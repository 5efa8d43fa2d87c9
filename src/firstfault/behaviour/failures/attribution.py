"""Which spans of a prompt a failing answer hangs on: by leaving them out, and only where that beats leaving out others.

Leaving the top spans out must move the margin log p(expected) − log p(given) by a twentieth of it, and more than 95 %
of 200 random removals of as many spans do. Both are done in the whole prompt and in 19 others from which some spans
were taken at random, since the top spans were chosen in the whole one: there they win by themselves.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from firstfault.behaviour.failures.spans import Span, spans_of, without
from firstfault.errors import Missing
from firstfault.lm.margin import Margin

REMOVALS = 200
"""Random removals that the top spans must beat: their 95th percentile is known to ±1.5 %."""
BEATEN = 0.95
"""Of the random removals: the customary level."""
CONTEXTS = 20
"""The whole prompt, and others without some of its spans; ten random removals in each."""
DROPPED = 0.25
"""Of the other spans, in a context: enough to change it, and most of the prompt is still there."""
TOP = 0.1
"""Of the spans, at most, are top ones, or two where that is more: "half of the prompt" explains nothing."""
LEADING = 0.5
"""Of the largest move, which another span must reach to be a top one too."""
LEAST = 0.05
"""Of the margin, which leaving the top spans out must move: less may be more than others do, and changes nothing."""
FEWEST, TWO = 4, 8
"""Spans below which there are too few others to be removed in the place of one, and of two."""
Margins = Callable[[Sequence[str]], list[float]]


@dataclass(frozen=True)
class Weight:
    """One span: by how much leaving it out moves the margin towards what is expected, in nat.

    `gradient` is its gradient × input (what it takes from the margin, to first order), `attention` how the answer's
    beginning attends to it, which is shown, and is no cause; None where they can't be seen.
    """

    span: Span
    moves: float
    gradient: float | None = None
    attention: float | None = None


@dataclass(frozen=True)
class Attribution:
    """The margin of a failing prompt, the weight of each span, and whether the top ones explain it.

    `top` are the places of the top spans, `moves` how far leaving them out moves the margin (the mean over the
    contexts), and `beats` the share of random removals that move it less; `why` says what could not be done.
    """

    margin: float = 0.0
    weights: tuple[Weight, ...] = ()
    top: tuple[int, ...] = ()
    moves: float = 0.0
    beats: float = 0.0
    why: str = ""

    @property
    def explains(self) -> bool:
        """Whether leaving the top spans out moves the margin more than 95 % of random removals, and by a part of it."""
        return not self.why and self.moves > LEAST * abs(self.margin) and self.beats > BEATEN

    @property
    def top_text(self) -> str:
        """The top spans, as they stand in the prompt."""
        return " … ".join(self.weights[place].span.text.strip() for place in self.top)

    def __str__(self) -> str:
        if self.why:
            return self.why
        measured = (
            f"moves the margin of {self.margin:.2g} nat by {self.moves:+.2g}, more than {self.beats:.0%} of random "
            "removals do"
        )
        if not self.explains:
            return f"no span explains it: leaving out the top {len(self.top)} {measured}"
        return f"leaving out {len(self.top)} of {len(self.weights)} spans {measured}"


def attribution(prompt: str, margin: Margin, seed: int = 0) -> Attribution:
    """What of a prompt its failing answer hangs on."""
    try:
        found = by_leaving_out(prompt, margin, seed)
        return _beside(prompt, margin, found)
    except Missing as reason:
        return Attribution(why=f"no span was weighed: {reason}")


def by_leaving_out(prompt: str, margin: Margins, seed: int = 0) -> Attribution:
    """The weights of a prompt's spans, and whether the top ones explain it."""
    spans = spans_of(prompt)
    if len(spans) < FEWEST:
        return Attribution(why=f"no span was weighed: the prompt has {len(spans)} words, {FEWEST} are needed")
    whole, *others = margin([prompt, *(without(prompt, spans, {place}) for place in range(len(spans)))])
    weights = tuple(Weight(span, other - whole) for span, other in zip(spans, others, strict=True))
    top = _top(weights)
    moves, beats = _against_random(prompt, spans, top, margin, random.Random(seed))
    return Attribution(whole, weights, top, moves, beats)


def _top(weights: Sequence[Weight]) -> tuple[int, ...]:
    """The spans that move the margin most, up to a tenth of all or two, none by less than half of the first."""
    order = sorted(range(len(weights)), key=lambda place: -weights[place].moves)
    if weights[order[0]].moves <= 0:
        return (order[0],)
    most = max(round(TOP * len(weights)), 1 + (len(weights) >= TWO))
    least = LEADING * weights[order[0]].moves
    return tuple(sorted(place for place in order[:most] if weights[place].moves >= least))


def _against_random(
    prompt: str, spans: Sequence[Span], top: Sequence[int], margin: Margins, draw: random.Random
) -> tuple[float, float]:
    """How far the top spans move the margin on average over contexts, and the share of random removals below that."""
    rest = [place for place in range(len(spans)) if place not in top]
    texts = []
    for context in range(CONTEXTS):
        gone = {place for place in rest if context and draw.random() < DROPPED}
        left = [place for place in rest if place not in gone]
        removed = [draw.sample(left, min(len(top), len(left))) for _ in range(REMOVALS // CONTEXTS)]
        texts += [without(prompt, spans, gone | set(each)) for each in ([], top, *removed)]
    values, size = margin(texts), 2 + REMOVALS // CONTEXTS
    by_context = [values[at : at + size] for at in range(0, len(values), size)]
    moves = sum(each[1] - each[0] for each in by_context) / CONTEXTS
    random_moves = [value - each[0] for each in by_context for value in each[2:]]
    return moves, sum(each < moves for each in random_moves) / len(random_moves)


def _beside(prompt: str, margin: Margin, found: Attribution) -> Attribution:
    """The same with gradients and attention beside, where they can be seen."""
    if found.why:
        return found
    gradients = _by_span(prompt, found.weights, margin, margin.by_gradient)
    attended = _by_span(prompt, found.weights, margin, margin.attention)
    weights = tuple(
        Weight(
            each.span,
            each.moves,
            None if gradients is None else -gradients[place],
            None if attended is None else attended[place],
        )
        for place, each in enumerate(found.weights)
    )
    return Attribution(found.margin, weights, found.top, found.moves, found.beats)


def _by_span(
    prompt: str, weights: Sequence[Weight], margin: Margin, of_tokens: Callable[[str], list[float]]
) -> list[float] | None:
    """Numbers of tokens, added up by the spans in which most of each token lies; None where they can't be seen."""
    try:
        values, places = of_tokens(prompt), margin.places(prompt)
    except Missing:
        return None
    sums = [0.0] * len(weights)
    for value, (start, end) in zip(values, places, strict=True):
        middle = (start + end) / 2
        inside = (at for at, each in enumerate(weights) if each.span.start <= middle < each.span.end)
        place = next(inside, None) if end > start else None
        if place is not None:
            sums[place] += value
    return sums
