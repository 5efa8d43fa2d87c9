"""The case that was kept: red while answers go on behind their end, green since the repair."""

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from firstfault import BehaviorDebugger

FOLDER = Path(__file__).parent


def test_answers_end():
    """Each answer is right, and nothing stands behind it."""
    model, tokenizer = (kind.from_pretrained(FOLDER / "checkpoint") for kind in (AutoModelForCausalLM, AutoTokenizer))
    report = BehaviorDebugger(model, tokenizer, suites=["answers.yaml"], runs=1, root=FOLDER).comprehensive_debug()
    assert [case["case"] for case in report.failures] == []
