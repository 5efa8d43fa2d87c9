"""`firstfault debug lm_target.py`: from the file to the verdict, the report and the exit code."""

import json

import jsonschema
from command_line import run_in

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


def test_a_language_model_is_debugged_by_one_command(tmp_path):
    """Exit code 1 with a verdict that keeps the contract and a report; a folder that is not there is a bad call."""
    (tmp_path / "lm_target.py").write_text(TARGET)
    import own_model

    path = {"PYTHONPATH": own_model.__file__.rpartition("/")[0]}
    ended = run_in(tmp_path, "debug", "--bare", "lm_target.py", **path)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "bos_doubled" in ended.stdout and "confirmed: undoing it restored the metric" in ended.stdout
    [folder] = (tmp_path / ".firstfault" / "runs").iterdir()
    written = json.loads((folder / "verdict.json").read_text())
    jsonschema.validate(written, schema())
    verdict = Verdict.from_json(written)
    assert (verdict.faults[0].fault, verdict.faults[0].swap.over) == ("bos_doubled", "prompts")
    assert "4 paired prompts" in (folder / "report.html").read_text()
    ended = run_in(tmp_path, "debug", "--bare", "lm_target.py:unknown", **path)
    assert ended.returncode == 2
    assert "lm.model must be a checkpoint's folder, but there is no folder" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
