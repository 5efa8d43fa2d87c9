"""`firstfault debug lm_target.py`: from the file to the verdict, the report and the exit code."""

import json

import jsonschema
from command_line import call_here

from firstfault.verdict import Verdict, schema

TARGET = """
import own_model
from firstfault import LM, Target

words = own_model.tokenizer()
prompts = [("Name a colour.", "Red")]
target = Target("doubled", task="language_model", lm=LM(model=own_model.trained, tokenizer=words, encode=words,
                prompts=prompts))
unknown = Target("unknown", task="language_model", lm=LM(model="nowhere"))
"""


def test_a_language_model_is_debugged_by_one_command(tmp_path, monkeypatch, capsys):
    """Exit code 1 with a verdict that keeps the contract and a report; a folder that is not there is a bad call."""
    (tmp_path / "lm_target.py").write_text(TARGET)
    monkeypatch.chdir(tmp_path)
    code, out, err = call_here(monkeypatch, capsys, "debug", "--bare", "lm_target.py")
    assert code == 1, out + err
    assert "bos_doubled" in out and "confirmed: undoing it restored the metric" in out
    [folder] = (tmp_path / ".firstfault" / "runs").iterdir()
    written = json.loads((folder / "verdict.json").read_text())
    jsonschema.validate(written, schema())
    verdict = Verdict.from_json(written)
    assert (verdict.faults[0].fault, verdict.faults[0].swap.over) == ("bos_doubled", "prompts")
    assert "4 paired prompts" in (folder / "report.html").read_text()
    code, out, err = call_here(monkeypatch, capsys, "debug", "--bare", "lm_target.py:unknown")
    assert code == 2
    assert "lm.model must be a checkpoint's folder, but there is no folder" in out + err
