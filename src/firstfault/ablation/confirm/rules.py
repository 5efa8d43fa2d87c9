"""The rules of a confirmation, in the order in which they are asked: each with its reason, and what it earns.

What is no rule, but the measure itself: two arms are trained over the same seeds, and a repair is a gain beyond the
noise (`ablation.compare`); a target is healthy that reaches the mark of a simple model (`confirm.health`); deployment
faults are undone in the served path, without a training (`confirm.serving`); all within a budget (`confirm.budget`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Stage(StrEnum):
    """The question that a rule answers."""

    TESTED = "What is tested"
    EFFORT = "How long a trial goes on"
    ANSWER = "What a trial may say"
    CHOICE = "Which repair stands"
    SEARCH = "What is looked for where no suspect alone restores health"
    ACQUITTAL = "Whether a trial without gain acquits"


@dataclass(frozen=True)
class Rule:
    """One rule: its id, the question that it answers, and why it is there; `confirm.earned` says what it earns."""

    id: str
    stage: Stage
    reason: str


RULES: tuple[Rule, ...] = (
    Rule("code_raises", Stage.TESTED, "code that raises is not trained: every suspect stays untested"),
    Rule("no_swap", Stage.TESTED, "suspects that no swap undoes stay untested where their layer starts no search"),
    Rule("beside_the_score", Stage.TESTED, "faults that leave the score alone start no search for what raises it"),
    Rule(
        "rate_before_optimizer",
        Stage.TESTED,
        "the optimizer is not tested where Adam would only repair the rate: it is of Adam's kind, or the rate absurd",
    ),
    Rule("first_cure", Stage.TESTED, "the swaps of one fault are tried in order until one restores health"),
    Rule("replay_like_fit", Stage.TESTED, "a replay stands in for the user's `fit` only if both reach the same score"),
    Rule("hopeless", Stage.EFFORT, "a trial ends after a first seed that gains nothing"),
    Rule("short_of_the_mark", Stage.EFFORT, "a set of swaps ends after a first seed that stays below the mark"),
    Rule("doubt_adds_seeds", Stage.EFFORT, "a gain that three seeds leave in doubt gets two more"),
    Rule(
        "labels_of_a_guess",
        Stage.ANSWER,
        "that clean labels are learnt speaks against the target's own only where it does no better than guessing",
    ),
    Rule(
        "clean_labels_learnt",
        Stage.ANSWER,
        "where clean labels are not learnt either, they say nothing of the target's own",
    ),
    Rule("cut_trial", Stage.ANSWER, "a trial that the budget cut tells nothing, unless it gained over all seeds"),
    Rule(
        "short_gain",
        Stage.ANSWER,
        "a gain on fewer rows or epochs counts only if it beats the whole target: else it may be mere haste",
    ),
    Rule(
        "wild_inputs",
        Stage.CHOICE,
        "where repairs of the scaling and of the pace help alike, the scale of the prepared inputs tells the cause",
    ),
    Rule(
        "outputs_sum_to_one",
        Stage.CHOICE,
        "where one softmax less and another pace help alike, it is the softmax if the outputs sum to one",
    ),
    Rule(
        "frozen_parts",
        Stage.CHOICE,
        "where thawed parameters and another pace help alike, it is the frozen ones if there are any",
    ),
    Rule(
        "optimizer_last",
        Stage.CHOICE,
        "Adam repairs whatever is wrong with the pace: no evidence where a stronger suspect's repair restores health",
    ),
    Rule("best_gain", Stage.CHOICE, "only repairs that help as much as the best, within the spread of seeds, stand"),
    Rule("most_suspected", Stage.CHOICE, "of equal repairs, those of the most suspected fault stand"),
    Rule("proof_stands", Stage.CHOICE, "a fault that structure proves stands with any clear gain"),
    Rule("cured", Stage.SEARCH, "nothing is searched once a suspect's repair restores health"),
    Rule("searching_layers", Stage.SEARCH, "only a suspicion of the model or training starts a search"),
    Rule("sound_target", Stage.SEARCH, "a target at the mark of health is not searched for further gains"),
    Rule("trees_set_the_mark", Stage.SEARCH, "where a linear model finds nothing, boosted trees say what health is"),
    Rule("proof_acquits", Stage.SEARCH, "no fault is blamed that a check of this layer would prove, and did not find"),
    Rule("searched_layers", Stage.SEARCH, "the data or serving is blamed only where a finding points to it"),
    Rule("suspected_first", Stage.SEARCH, "a swap that undoes several faults speaks for the most suspected"),
    Rule("suspected_before", Stage.SEARCH, "faults that earlier layers' checks suspected come before the others"),
    Rule("symptoms_last", Stage.SEARCH, "a swap speaks for a cause before a symptom"),
    Rule(
        "nearest_layer_first",
        Stage.SEARCH,
        "this layer's faults come first, then those of the last layer, and so on to the first",
    ),
    Rule("sign_is_there", Stage.SEARCH, "of missing and double scaling, it is the double one if inputs are tiny"),
    Rule(
        "proof_explains_all",
        Stage.SEARCH,
        "nothing is sought beside a proven fault if health returns without its repair",
    ),
    Rule("all_at_once", Stage.SEARCH, "all that may be blamed is replaced, then all but the smallest set taken back"),
    Rule("small_parts", Stage.SEARCH, "such a set has no large or dear change that no finding calls for"),
    Rule("helpful_first", Stage.SEARCH, "of the swaps of one slot or fault, a set has the one that helped most"),
    Rule("usual_rate", Stage.SEARCH, "of the step sizes, where none helped, a set has the optimizer's usual one"),
    Rule("surplus", Stage.SEARCH, "what is found by searching must gain twice the noise: many were tried"),
    Rule("every_part_needed", Stage.SEARCH, "a set counts only if each part is needed by more than the noise"),
    Rule("no_single_beside_proof", Stage.SEARCH, "beside a proven fault no other single repair is looked for"),
    Rule("singles", Stage.SEARCH, "the single swaps outside the suspects are tried, where no set restores health"),
    Rule("single_cure", Stage.SEARCH, "the search of single swaps ends with the first that restores health"),
    Rule(
        "kept_back",
        Stage.SEARCH,
        "where something helps in part, single swaps end at 70 % of the budget: the rest is for a set that has it",
    ),
    Rule("grown_sets", Stage.SEARCH, "the best partial repair grows by one swap at a time, to at most three"),
    Rule("proof_is_in", Stage.SEARCH, "beside a proven fault only a set that undoes it too is believed"),
    Rule("crash_acquits_nothing", Stage.ACQUITTAL, "a changed training that crashed acquits its fault of nothing"),
    Rule("sound_acquits", Stage.ACQUITTAL, "a trial without gain acquits where the target is at the mark of health"),
    Rule(
        "lost_acquits_nothing",
        Stage.ACQUITTAL,
        "a lost training, which learns next to nothing, acquits no fault: something else holds it down",
    ),
    Rule(
        "guess_acquits_nothing",
        Stage.ACQUITTAL,
        "two trainings that are no better than a constant answer acquit no fault",
    ),
    Rule("lost_keeps_its_weight", Stage.ACQUITTAL, "a lost training's own suspects keep the weight of their findings"),
    Rule("clean_labels_tell", Stage.ACQUITTAL, "where nothing restores health, clean labels say where to look"),
)
"""In the order in which they are asked."""


class Rules:
    """The rules that are on in a confirmation, and how often each of them came to decide something.

    A rule that decided nothing in a run with all of them can't change what that run concludes.

    Args:
        without: ids of rules to leave out: to measure what they earn, for nothing else.

    Raises:
        ValueError: for an id that no rule has.
    """

    def __init__(self, without: Collection[str] = ()) -> None:
        known = [rule.id for rule in RULES]
        for name in without:
            if name not in known:
                raise ValueError(f"a rule that is left out must be one of {', '.join(known)}, but got {name!r}")
        self.without = frozenset(without)
        self.decided: Counter[str] = Counter()

    def decides(self, name: str, holds: bool | Callable[[], bool] = True) -> bool:
        """Whether a rule is on, and its condition holds here; a condition that costs something is a function."""
        if name in self.without or not (holds() if callable(holds) else holds):
            return False
        self.decided[name] += 1
        return True

    def matters(self, names: Iterable[str], outcome: Callable[[Rules], T]) -> T:
        """What comes out under these rules; of `names`, those count without which something else would."""
        found = outcome(Rules(self.without))
        for name in names:
            if name not in self.without and outcome(Rules({*self.without, name})) != found:
                self.decided[name] += 1
        return found
