"""From what failed to what is kept of it: a case of a suite, an incident, a failure of another model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firstfault.behaviour.cases import Case as IncidentCase
from firstfault.behaviour.failures.analysis import FailureAnalysis, failed_of
from firstfault.behaviour.failures.features import output_features
from firstfault.behaviour.store.failures import Mask
from firstfault.behaviour.store.record import Failure, Kind, Standing, identity
from firstfault.behaviour.suites import Suite
from firstfault.errors import Missing
from firstfault.interrupts import pass_on
from firstfault.lm.adapter import Adapter
from firstfault.lm.identity import Identity, digest
from firstfault.target.language_model import Prompt


def of_examined(
    found: FailureAnalysis, suite: Suite, who: Identity, mask: Mask, target: str = "", model: Adapter | None = None
) -> Failure:
    """A failure of a language model that was examined.

    It is open at once where it was reproduced 3 of 5 times just as it is kept; where masking changed what is asked, it
    has to be reproduced so.
    """
    case, failed = found.run.case, failed_of(found.run)
    asked = found.asked_again
    scorer = suite.scorer(case)
    kept = mask(asked)
    reproduced = found.smallest.reproduced and kept == asked
    return Failure(
        id=identity(Kind.LANGUAGE_MODEL, mask(found.smallest.text), case.scorer, case.wanted),
        kind=Kind.LANGUAGE_MODEL,
        name=f"{found.suite}: {case.id}",
        standing=Standing.OPEN if reproduced else Standing.CANDIDATE,
        target=target,
        prompt=mask(case.asked),
        conversation=({"role": "user", "content": mask(case.asked)},),
        asked=kept,
        minimal=mask(found.smallest.text),
        twin=mask(found.twins[0].case.asked) if found.twins else "",
        edit=mask(found.edit.text) if found.edit else "",
        answer=mask(failed.text or failed.problem),
        expect=case.wanted,
        scorer=case.scorer,
        scorer_version=scorer.version,
        scorer_root=str(suite.root),
        verdicts=found.run.verdicts,
        symptom=found.symptom,
        features=dict(output_features(failed.text, case.asked)),
        cuts=tuple({"cut": each.cut.value, "state": each.state.value, "fault": each.fault} for each in found.cuts),
        first_cut=found.first_cut,
        ids=_ids_of(model, case.asked),
        template=who.template,
        model=who.name,
        version=who.version,
        weights=who.weights,
        adapter=who.adapter,
        decoding=dict(who.decoding),
    )


def _ids_of(model: Adapter | None, prompt: str) -> str:
    """The digest of a prompt's ids; "" where they can't be seen."""
    try:
        return digest(*model.ids_of(Prompt(prompt))) if model is not None else ""
    except Missing:
        return ""
    except Exception as error:  # the user's own encode
        pass_on(error)
        return ""


def of_incident(case: IncidentCase, folder: str, mask: Mask) -> Failure:
    """A failure of production, whose requests lie in the folder of its case."""
    return Failure(
        id=identity(Kind.INCIDENT, case.id),
        kind=Kind.INCIDENT,
        name=f"{case.monitor}: {case.id}",
        standing=Standing.OPEN if case.proven else Standing.CANDIDATE,
        target=case.target,
        answer=mask(case.message),
        symptom=case.monitor.partition(":")[0],
        model=case.model,
        layer=case.layer,
        fault=case.fault,
        place=mask(case.place),
        remedy=case.remedy,
        folder=folder,
    )


MEASURED = frozenset({"predicted", "confidence", "note"})
"""What a model says of a case, which another training changes: it does not make it another failure."""


def of_model(case: Mapping[str, Any], target: str, mask: Mask) -> Failure:
    """A failure of another model, as failure_cases.json lists it: plain values, of which each is kept as text."""
    words = {str(name): mask(str(value)) for name, value in case.items() if value is not None}
    kind, told = words.get("kind", "failure"), {name: f"{name} {value}" for name, value in words.items()}
    named = words.get("case") or words.get("row") or words.get("index") or ""
    asked = "; ".join(told.values())
    return Failure(
        id=identity(Kind.MODEL, target, *(text for name, text in sorted(told.items()) if name not in MEASURED)),
        kind=Kind.MODEL,
        name=f"{kind}: {named}" if named else kind,
        standing=Standing.OPEN,
        target=target,
        prompt=asked,
        minimal=asked,
        symptom=kind,
    )
