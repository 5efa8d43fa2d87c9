"""Suites of other tools: read as they are written there, and back from what firstfault writes."""

import json
import zipfile
from pathlib import Path

import pytest
import yaml

from firstfault.behaviour.formats import WRITE, load_any, write_suite
from firstfault.behaviour.suites import suite_of
from firstfault.errors import TargetError

CASES = [
    {
        "id": "a",
        "prompt": "What is {{1+1}} {% x %}?",
        "scorer": "exact",
        "expect": "2 {{y}}",
        "template": "t",
        "group": "g",
    },
    {"id": "b", "prompt": "Ünïcode: 'quotes'?", "scorer": "exact", "expect": "yes: no"},
]
OPTIONS = [{"id": "c", "prompt": "Which?", "scorer": "choice", "options": ["x", "y", "z"], "expect": "y"}]


@pytest.mark.parametrize("kind", WRITE)
@pytest.mark.parametrize("cases", [CASES, OPTIONS])
def test_a_suite_comes_back_as_it_was_written(tmp_path, kind, cases):
    """Prompts, expectations, templates and options survive; what scores them says the same."""
    ours = suite_of({"name": "mine", "cases": cases}, "mine.yaml", tmp_path)
    file = tmp_path / {"promptfoo": "mine.yaml", "lm-eval": "mine.yaml"}.get(kind, "mine.json")
    write_suite(ours, file, kind)
    theirs = load_any(file)
    assert theirs.name == "mine" and [case.asked for case in theirs.cases] == [case.asked for case in ours.cases]
    assert [case.cluster for case in theirs.cases][:1] in (["t"], [f"case {theirs.cases[0].id}"])
    for one, other in zip(ours.cases, theirs.cases, strict=True):
        for answer in (one.wanted, "A", "B", "C", "another text"):
            assert (ours.score(one, answer) is True) is (theirs.score(other, answer) is True)


def test_promptfoo_s_own_form(tmp_path):
    """Several prompts, defaults, and several assertions of one test, which are one template."""
    (tmp_path / "q.txt").write_text("Tell me: {{ topic }}?")
    values = {
        "description": "theirs",
        "prompts": ["About {{topic}}", "file://q.txt"],
        "providers": ["openai:gpt"],
        "defaultTest": {"assert": [{"type": "not-is-refusal"}]},
        "tests": [{"vars": {"topic": "bees"}, "assert": [{"type": "icontains", "value": "{{topic}}"}]}],
    }
    (tmp_path / "promptfooconfig.yaml").write_text(yaml.safe_dump(values))
    found = load_any(tmp_path / "promptfooconfig.yaml")
    assert [case.prompt for case in found.cases] == ["About bees"] * 2 + ["Tell me: bees?"] * 2
    assert [case.scorer for case in found.cases] == ["not_refusal", "contains"] * 2
    assert len({case.cluster for case in found.cases}) == 2


def test_inspect_s_own_logs(tmp_path):
    """A log in JSON and an archive give the same suite; epochs are runs, the last question of the user is asked."""
    sample = {
        "id": "s1",
        "input": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "2+2?"}],
        "target": ["4"],
        "scores": {"includes": {"value": "C", "answer": "4"}},
    }
    header = {"version": 2, "status": "success", "eval": {"task": "sums", "scorers": [{"name": "includes"}]}}
    samples = [{**sample, "epoch": epoch} for epoch in (1, 2, 3)]
    (tmp_path / "log.json").write_text(json.dumps({**header, "samples": samples}))
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        for each in samples:
            archive.writestr(f"samples/s1_epoch_{each['epoch']}.json", json.dumps(each))
    for name in ("log.json", "log.eval"):
        found = load_any(tmp_path / name)
        assert (found.name, found.runs, len(found.cases)) == ("sums", 3, 1)
        assert (found.cases[0].prompt, found.cases[0].scorer, found.cases[0].expect) == ("2+2?", "contains", "4")


def test_lm_eval_s_own_tasks(tmp_path):
    """Templates are filled in from a local file, and choices are named by their place."""
    docs = [{"q": "sky?", "options": ["green", "blue"], "gold": 1}]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    task = {
        "task": "colours",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "docs.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Q: {{q}}\nA:",
        "doc_to_choice": "options",
        "doc_to_target": "gold",
    }
    (tmp_path / "colours.yaml").write_text(yaml.safe_dump(task))
    case = load_any(tmp_path / "colours.yaml").cases[0]
    assert case.prompt == "Q: sky?\nA:" and case.wanted == "B" and case.options == ("green", "blue")


def test_mlflow_s_own_datasets(tmp_path):
    """Expected facts are one case each, of one template; messages are asked by their last question."""
    records = [
        {"inputs": {"question": "Who?"}, "expectations": {"expected_facts": ["Ada", "Babbage"]}},
        {
            "inputs": {"messages": [{"role": "user", "content": "Where?"}]},
            "expectations": {"expected_response": "London"},
        },
    ]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    found = load_any(tmp_path / "eval.jsonl")
    assert [case.expect for case in found.cases] == ["Ada", "Babbage", "London"]
    assert found.cases[0].cluster == found.cases[1].cluster != found.cases[2].cluster


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.yaml", "prompts: [a]\ntests: [{assert: [{type: llm-rubric}]}]", "'llm-rubric'"),
        (
            "p.yaml",
            "prompts: ['{{x}}']\ntests: [{assert: [{type: is-refusal}]}]",
            "can't be filled in: 'x' is undefined",
        ),
        ("p.yaml", "prompts: [a]\ntests: [{}]", "asserts nothing"),
        ("p.yaml", "prompts: [a]\ntests: [{vars: {x: [1, 2]}, assert: [{type: is-refusal}]}]", "list"),
        ("t.yaml", "task: t\ndataset_path: super_glue\ndoc_to_text: a\ndoc_to_target: b", "nothing is downloaded"),
        (
            "t.yaml",
            "task: t\ndataset_path: json\ndataset_kwargs: {data_files: d.json}\ndoc_to_text: !function f.g\n"
            "doc_to_target: b",
            "not run",
        ),
        (
            "l.json",
            '{"eval": {"scorers": [{"name": "model_graded_qa"}]}, "samples": [{"input": "a"}]}',
            "model_graded_qa",
        ),
        ("l.json", '{"eval": {}, "samples": []}', "has no cases"),
        ("l.eval", "no zip", "no log of Inspect"),
        ("m.json", '[{"inputs": {"a": "x", "b": "y"}}]', "one text among its inputs"),
        ("m.json", '[{"inputs": {"a": "x"}}]', "must expect something"),
        ("m.json", "{", "no JSON"),
        ("n.yaml", "what: ever", "must be a mapping with `name`"),
    ],
)
def test_what_has_no_counterpart_is_one_sentence(tmp_path, name, text, told):
    """Judges, downloads, functions and missing variables are named; nothing of the file is run."""
    (tmp_path / name).write_text(text)
    (tmp_path / "d.json").write_text('[{"b": "x"}]')
    with pytest.raises(TargetError, match=told) as raised:
        load_any(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_template_can_do_nothing_but_fill_in(tmp_path):
    """A file of others can't reach Python through its templates."""
    (tmp_path / "p.yaml").write_text(
        "prompts: [\"{{ ''.__class__.__mro__ }}\"]\ntests: [{assert: [{type: is-refusal}]}]"
    )
    with pytest.raises(TargetError, match="can't be filled in"):
        load_any(tmp_path / "p.yaml")


def test_what_can_t_be_written_is_one_sentence(tmp_path):
    """A judge has no assertion there, several scorers make no task, and there is no such form."""
    mixed = suite_of({"cases": [*CASES, *OPTIONS]}, "m.yaml", tmp_path)
    for kind, told in (("lm-eval", "exact or by choice"), ("excel", "no form")):
        with pytest.raises(TargetError, match=told):
            write_suite(mixed, Path(tmp_path / "x.yaml"), kind)
