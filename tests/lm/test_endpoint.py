"""A language model behind an address: what it makes of messages, how it fails, and what may be asked of it."""

from pathlib import Path

import own_model
import pytest
from model_server import serving
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import PreTrainedTokenizerFast

from firstfault import LM, Prompt
from firstfault.behaviour.asking import Asker
from firstfault.behaviour.evaluation import Outcome, evaluate
from firstfault.behaviour.generation import generate_of
from firstfault.behaviour.suites import Case, Suite
from firstfault.errors import TargetError
from firstfault.finding import Status
from firstfault.lm.local import Local
from firstfault.lm.rendering import same_text


def lm_at(url, **parts):
    """An endpoint with the own model as its reference."""
    reference = LM(model=own_model.trained(), tokenizer=own_model.tokenizer())
    return LM(**{"endpoint": url, "reference": reference, "prompts": ["Name a colour."], **parts})


def messages_of(verdict, status=None):
    """The findings' messages, of one status or of all."""
    found = [finding for report in verdict.layers for finding in report.findings]
    return [finding.message for finding in found if status is None or finding.status is status]


def test_a_sound_endpoint_is_healthy(diagnosed):
    """Its text, ids, answers and stops are the reference's."""
    with serving() as (url, _):
        assert diagnosed(lm_at(url, declared={"decoding": {"temperature": 0}})).status.value == "healthy"


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("doubled", "bos_doubled"),
        ("no generation prompt", "generation_prompt_missing"),
        ("no template", "template_missing"),
        ("draws", "decoding_override"),
        ("no stop", "stop_incomplete"),
    ],
)
def test_what_an_endpoint_does_wrongly_is_a_fault_of_deployment(diagnosed, fault, named):
    """Its /tokenize shows text and ids, and its answers show how they are drawn and where they end."""
    with serving(fault) as (url, _):
        verdict = diagnosed(lm_at(url, declared={"decoding": {"temperature": 0}}))
    assert (verdict.faults[0].fault, verdict.faults[0].layer.value) == (named, "deployment")
    assert verdict.faults[0].confirmed or fault in ("draws", "no stop")


def test_a_tokenizer_that_loses_spaces_and_capitals_is_read_alike_on_both_sides():
    """The text of a server is how its ids read: the reference's is read so too, and its ids are of what is written."""
    raw = Tokenizer(WordPiece({"[BOS]": 0, "[UNK]": 1, "name": 2, "a": 3, "user": 4, ":": 5}, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer, raw.decoder = Lowercase(), BertPreTokenizer(), WordPieceDecoder()
    words = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="[BOS]", unk_token="[UNK]")
    words.chat_template = "{{ bos_token }}{% for m in messages %}User:{{ m['content'] }}{% endfor %}"
    other = Local(None, words, reads_back=True)
    assert other.text_of(Prompt("Name a")) == "[BOS] user : name a"
    assert other.ids_of(Prompt("Name a")) == [0, 4, 5, 2, 3]
    assert same_text("[BOS] [BOS] user : name a", other.text_of(Prompt("Name a")), "[BOS]")


def test_usage_tells_a_doubled_first_token_where_there_is_no_tokenize(diagnosed):
    """One token more in every prompt is the first one; what can't be seen is skipped with the capability's name."""
    with serving("doubled", "no tokenize") as (url, _):
        verdict = diagnosed(lm_at(url))
    assert verdict.faults[0].fault == "bos_doubled"
    assert "needs rendered text: the endpoint serves no /tokenize" in messages_of(verdict, Status.SKIPPED)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("slow", "gave no answer within 0.2 s"),
        ("busy", "answered HTTP 429"),
        ("empty", "gave an empty answer"),
        ("not utf-8", "must answer in UTF-8, but byte"),
        ("null", "must answer with a text, but its content is None"),
        ("streams half", "broke off its stream before the end"),
    ],
)
def test_an_endpoint_that_fails_is_a_finding(diagnosed, fault, told):
    """One sentence says how it fails, as code of the user's that raises; what was measured before stays."""
    with serving(fault) as (url, _):
        verdict = diagnosed(lm_at(url, seconds=0.2 if fault == "slow" else 30))
    assert [fault.fault for fault in verdict.faults] == ["user_code_raises"]
    assert told in " ".join(messages_of(verdict, Status.FAIL))
    assert "4 prompts are served with the ids of the reference's tokenizer" in messages_of(verdict, Status.PASS)


def test_a_silent_server_is_asked_no_more():
    """After three requests that time out, the other cases are unscored without a wait, and the headline says why."""
    cases = tuple(Case(str(number), f"Say {number}.", "contains", "yes") for number in range(9))
    with serving("slow") as (url, served):
        ask = Asker(generate_of(LM(endpoint=url, seconds=0.05), Path()))
        run = evaluate(Suite("kind", 1.0, "misaligned", cases), ask, 2)
        asked = sum(path.endswith("completions") for path, _ in served.requests)
    assert asked == 3 and run.counts[Outcome.UNSCORED] == 9
    assert "gave no answer within 0.05 s" in run.headline
    assert "gave no answer 3 times in a row, and is asked no more" in run.cases[-1].note


@pytest.mark.parametrize("fault", ["streams", "busy once"])
def test_an_endpoint_that_streams_or_puts_off_is_no_fault(diagnosed, fault):
    """A stream adds up to its answer, and what is put off is asked again."""
    with serving(fault) as (url, _):
        assert diagnosed(lm_at(url)).status.value == "healthy"


@pytest.mark.parametrize("bound", ["requests", "tokens"])
def test_budgets_are_kept(diagnosed, bound):
    """Beyond the budget nothing is asked, and the checks that would are skipped with that reason."""
    with serving() as (url, served):
        verdict = diagnosed(lm_at(url, **{bound: 7 if bound == "requests" else 5}))
    assert any("the budget of" in message for message in messages_of(verdict))
    assert bound == "tokens" or len(served.requests) <= 7
    answers = sum(path.endswith("completions") for path, _ in served.requests)
    assert bound == "requests" or answers <= 1


def test_an_endpoint_that_is_not_there_is_a_finding(diagnosed):
    """The address that nobody listens at is named."""
    verdict = diagnosed(lm_at("http://127.0.0.1:9/v1"))
    assert "http://127.0.0.1:9" in " ".join(messages_of(verdict, Status.FAIL))


def test_a_key_comes_from_the_environment(diagnosed, monkeypatch):
    """The target names the variable alone; one that is not set is a bad call, and no key is shown."""
    with serving("key") as (url, _):
        verdict = diagnosed(lm_at(url))
        assert "answered HTTP 401" in " ".join(messages_of(verdict, Status.FAIL))
        with pytest.raises(TargetError, match="lm.key must name an environment variable that is set, but 'MY_KEY' is"):
            diagnosed(lm_at(url, key="MY_KEY"))
        monkeypatch.setenv("MY_KEY", "secret")
        verdict = diagnosed(lm_at(url, key="MY_KEY"))
    assert verdict.status.value == "healthy"
    assert "secret" not in str(verdict.to_json())
