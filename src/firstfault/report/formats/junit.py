"""JUnit XML: a test case for each check, and one for the verdict, for what shows reports of tests.

Source: the schema of Apache Ant's JUnit reports, as Jenkins and GitLab read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from firstfault.finding import Finding, LayerReport, Status
from firstfault.output.escaping import visible
from firstfault.report.formats.notes import notes_of, relative, spot, told
from firstfault.report.formatting import headline
from firstfault.texts import encodable
from firstfault.verdict import Verdict, VerdictStatus

Element = ElementTree.Element
KINDS = {Status.FAIL: "failure", Status.ERROR: "error", Status.SKIPPED: "skipped", Status.WARN: "system-out"}
"""By status, the element that a test case holds; one that passed holds none."""
WORST_FIRST = (Status.FAIL, Status.ERROR, Status.WARN, Status.PASS, Status.SKIPPED)


def junit(verdict: Verdict, anchor: str | None = None) -> str:
    """A suite for each layer, with a case for each check; the last suite is the verdict."""
    root = ElementTree.Element("testsuites", name=_text(f"firstfault: {verdict.target}"), time=f"{verdict.seconds:.3f}")
    suites = [_layer(report, verdict, anchor) for report in verdict.layers] + [_verdict(verdict, anchor)]
    root.extend(suites)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, 0)) for suite in suites)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="utf-8"?>\n', "\n")
    )


def _layer(report: LayerReport, verdict: Verdict, anchor: str | None) -> Element:
    by_check: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by_check.setdefault(finding.check, []).append(finding)
    cases = [_case(name, found, verdict, anchor) for name, found in by_check.items()]
    return _suite(report.layer.value, cases, report.seconds)


def _case(name: str, found: Sequence[Finding], verdict: Verdict, anchor: str | None) -> Element:
    worst = min((finding.status for finding in found), key=WORST_FIRST.index)
    about = [finding for finding in found if finding.status is worst]
    places = [finding.where for finding in about if finding.where is not None]
    case = _testcase(name, about[0].layer.value, *spot(places, anchor))
    if worst in KINDS:
        text = "\n".join(map(_told, about))
        blamed = [fault for fault in verdict.faults if any(fault.fault in finding.faults for finding in about)]
        more = [told(fault, verdict) for fault in blamed] if worst is Status.FAIL else []
        _add(case, KINDS[worst], about[0].message, "\n\n".join([text, *more]))
    return case


def _told(finding: Finding) -> str:
    place = f" ({finding.where})" if finding.where is not None else ""
    return f"{finding.message}{place}" + (f"\nRemedy: {finding.fix}" if finding.fix else "")


def _verdict(verdict: Verdict, anchor: str | None) -> Element:
    """The verdict as a case of its own: a fault that swaps found has no check that failed."""
    notes = [note for note in notes_of(verdict, anchor) if note.level != "note"]
    first = notes[0] if notes else None
    file, line = (first.file, first.line) if first is not None else (relative(anchor), None)
    case = _testcase("verdict", "verdict", file, line)
    kind = {VerdictStatus.ERROR: "error", VerdictStatus.HEALTHY: ""}.get(verdict.status, "failure")
    if kind:
        text = "\n\n".join(f"{note.title}\n{note.message}" for note in notes)
        _add(case, kind, headline(verdict), text).set("type", verdict.status.value)
    return _suite("verdict", [case], 0.0)


def _suite(name: str, cases: Iterable[Element], seconds: float) -> Element:
    suite = ElementTree.Element("testsuite", name=f"firstfault.{name}", time=f"{seconds:.3f}")
    suite.extend(cases)
    suite.set("tests", str(len(suite)))
    for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    return suite


def _testcase(name: str, layer: str, file: str | None, line: int | None) -> Element:
    case = ElementTree.Element("testcase", name=_text(name), classname=f"firstfault.{layer}")
    for key, value in (("file", file), ("line", line)):
        if value is not None:
            case.set(key, _text(str(value)))
    return case


def _add(case: Element, tag: str, message: str, text: str) -> Element:
    made = ElementTree.SubElement(case, tag)
    made.text = _text(text)
    if tag != "system-out":
        made.set("message", _text(message))
    return made


def _text(text: str) -> str:
    """A text that XML can hold."""
    return visible(encodable(text)).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
