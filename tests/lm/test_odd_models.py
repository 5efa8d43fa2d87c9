"""Language models that are not as usual: without a template, of one's own making, or known by a function alone."""

import own_model
import pytest
import tokenizers
import torch
from model_server import serving
from torch import nn

from firstfault import LM, FineTuning, Prompt
from firstfault.errors import TargetError
from firstfault.finding import Status


def words_without_template():
    """A tokenizer that does not say how messages are written."""
    words = own_model.tokenizer()
    words.chat_template = None
    return words


class Counts(nn.Module):
    """A network of one's own that averages what it has read, and takes no mask."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(128, 16), nn.Linear(16, 128)

    def forward(self, ids):
        seen = self.words(ids).cumsum(1)
        return self.head(seen / torch.arange(1, ids.shape[1] + 1)[None, :, None])


def encoder_and_decoder():
    """A translator of a few weights."""
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))


class Letters:
    """A tokenizer of one's own."""

    eos_token_id = pad_token_id = 0

    def encode(self, text):
        return [min(ord(letter), 127) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


def skipped(verdict):
    """Why checks could not look."""
    found = [finding for report in verdict.layers for finding in report.findings]
    return {finding.message for finding in found if finding.status is Status.SKIPPED}


def test_texts_go_to_a_model_without_a_template_as_they_are(diagnosed):
    """A base model that is asked to continue a text is healthy."""
    lm = LM(model=own_model.trained(), tokenizer=words_without_template(), prompts=["Once upon a time"])
    assert diagnosed(lm).status.value == "healthy"


def test_messages_without_a_template_are_a_fault(diagnosed):
    """Nobody says how they are written."""
    asked = [[{"role": "user", "content": "Name a colour."}]]
    verdict = diagnosed(LM(model=own_model.trained(), tokenizer=words_without_template(), prompts=asked))
    assert [fault.fault for fault in verdict.faults] == ["template_missing"]


def test_a_network_of_ones_own_is_examined(diagnosed):
    """Any network from ids to logits will do; one that reads its padding is told."""
    lm = LM(model=Counts, tokenizer=Letters(), prompts=["hello there"])
    assert diagnosed(lm).status.value == "healthy"
    verdict = diagnosed(LM(model=Counts, tokenizer=Letters(), prompts=["hello there"], batch=2))
    assert [fault.fault for fault in verdict.faults] == ["padding_not_masked"]


class Looks(Counts):
    """A network of one's own that averages the whole of what it is given, and hangs on it."""

    def __init__(self):
        super().__init__()
        nn.init.normal_(self.head.weight)

    def forward(self, ids):
        return self.head(self.words(ids) + 3 * self.words(ids).mean(1, keepdim=True))


def test_a_network_that_sees_the_next_token_is_told(diagnosed):
    """It scores what it is asked for, and is no language model."""
    verdict = diagnosed(LM(model=Looks, tokenizer=Letters(), prompts=["hello there"]))
    assert [(fault.fault, fault.layer.value) for fault in verdict.faults] == [("missing_causal_mask", "model")]


def test_a_network_that_raises_is_a_finding_of_every_check(diagnosed):
    """It is code of the user's, and no check of ours crashes over it."""
    verdict = diagnosed(LM(model=nn.Linear(3, 4), tokenizer=Letters(), prompts=["hello there"]))
    assert [fault.fault for fault in verdict.faults] == ["user_code_raises"]
    found = [finding for report in verdict.layers for finding in report.findings]
    assert not [finding for finding in found if finding.status is Status.ERROR]


def test_a_function_alone_clears_nothing(diagnosed):
    """Answers without a cut are undecided; what is missing is named by its capability."""
    verdict = diagnosed(LM(generate=lambda prompt: "hello", prompts=["Say hello."]))
    assert verdict.status.value == "undecided"
    assert "no cut of a request could be seen" in verdict.not_cleared[0]
    assert "needs log-probs: a function gives text alone" in skipped(verdict)


def test_the_answers_of_a_function_are_compared_with_a_reference(diagnosed):
    """Each of its tokens is asked of the reference: sound answers are healthy, others are told."""
    from firstfault.lm.local import Local

    model = Local(own_model.trained(), own_model.tokenizer())
    reference = LM(model=own_model.trained(), tokenizer=own_model.tokenizer())

    def sound(prompt, length):
        return model.answer(Prompt(prompt), length).text.removesuffix("<|im_end|>")

    assert diagnosed(LM(generate=sound, reference=reference, prompts=["Name a colour."])).status.value == "healthy"
    verdict = diagnosed(LM(generate=lambda prompt: "Water, always", reference=reference, prompts=["Name a colour."]))
    assert verdict.status.value != "healthy"
    assert "below the reference's best" in str(verdict.to_json())


def test_a_prompt_beyond_the_context_is_told(diagnosed):
    """With its length and that of the context, by the model's settings or as declared."""
    lm = {"model": own_model.trained(), "tokenizer": own_model.tokenizer()}
    for more in ({"prompts": ["why " * 300]}, {"prompts": ["why"], "declared": {"context": 20}}):
        verdict = diagnosed(LM(**lm, **more))
        assert [fault.fault for fault in verdict.faults] == ["truncation"]


def test_a_tokenizer_of_another_model_is_told(diagnosed):
    """Ids beyond the embedding are seen without any reference."""
    words = own_model.tokenizer()
    words.add_tokens([f"{name} a" for name in ("Name", "Say")] + [" colour."])
    verdict = diagnosed(LM(model=own_model.trained(), tokenizer=words, prompts=["Name a colour."]))
    assert verdict.faults[0].fault == "tokenizer_mismatch"
    assert "rows" in verdict.faults[0].evidence[0]


def test_code_of_the_users_that_raises_is_a_finding(diagnosed):
    """With the exception, in the layer of that code."""
    lm = LM(model=own_model.trained(), tokenizer=own_model.tokenizer(), render=lambda messages: 1 / 0)
    verdict = diagnosed(lm)
    assert [fault.fault for fault in verdict.faults] == ["user_code_raises"]
    assert "ZeroDivisionError" in verdict.faults[0].evidence[0]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"render": lambda messages: 7}, "lm.render must return a text, but returned 7"),
        ({"encode": lambda text: "abc"}, "lm.encode must return the ids of one text, but returned 'abc'"),
        ({"model": "nowhere"}, "lm.model must be a checkpoint's folder, but there is no folder"),
        (
            {"tuning": FineTuning(rows=[{"a": 1}], prepare=dict)},
            "tuning.rows: row 1 must be messages, prompt and completion, or a text, but got {'a': 1}",
        ),
        ({"tuning": FineTuning(rows="none.jsonl")}, "tuning.rows: there is no file"),
        ({"model": encoder_and_decoder}, "T5ForConditionalGeneration has an encoder and a decoder"),
    ],
)
def test_what_can_not_be_used_ends_with_one_sentence(diagnosed, parts, told):
    """What was expected and what came."""
    with pytest.raises(TargetError) as raised:
        diagnosed(LM(**{"model": own_model.trained(), "tokenizer": own_model.tokenizer(), **parts}))
    assert told in str(raised.value)


def test_quantised_layers_are_examined(diagnosed):
    """Packed weights have no parameters: their precision is told by what it does, unless it is declared and mild."""
    quantised = torch.ao.quantization.quantize_dynamic(own_model.model(), {nn.Linear}, dtype=torch.qint8)
    lm = {
        "tokenizer": own_model.tokenizer(),
        "reference": LM(model=own_model.trained(), tokenizer=own_model.tokenizer()),
    }
    verdict = diagnosed(LM(model=quantised, **lm))
    assert [fault.fault for fault in verdict.faults] == ["precision_loss"]
    assert verdict.first_faulty_layer.value == "deployment"


def test_a_network_in_train_mode_that_drops_out_is_told(diagnosed):
    """It is served as it is handed in, and stays in its mode."""
    model = own_model.model("absolute")
    model.transformer.drop.p = 0.1
    lm = LM(model=model.train(), tokenizer=own_model.tokenizer())
    assert [fault.fault for fault in diagnosed(lm).faults] == ["train_mode_serving"]
    assert model.training


def test_a_declared_context_that_the_model_lacks_is_told(diagnosed):
    """Positions beyond those of the model were never trained."""
    lm = LM(model=own_model.trained(), tokenizer=own_model.tokenizer(), declared={"context": 4096})
    [fault] = diagnosed(lm).faults
    assert fault.evidence[0] == "the declared context is 4096 tokens, and the model has 256 positions"


def test_an_endpoint_may_be_the_reference(diagnosed):
    """Text and ids of a model in this process are compared with those of a server."""
    words = own_model.tokenizer()
    with serving() as (url, _):
        lm = {"model": own_model.trained(), "tokenizer": words, "reference": url}
        assert diagnosed(LM(**lm)).status.value == "healthy"
        verdict = diagnosed(LM(**lm, encode=words))
    assert [fault.fault for fault in verdict.faults] == ["bos_doubled"]


def test_a_checkpoint_lies_beside_the_target_s_file(tmp_path, diagnosed):
    """Folders of model and reference are looked for at the target's root."""
    own_model.model().save_pretrained(tmp_path / "mine")
    own_model.tokenizer().save_pretrained(tmp_path / "mine")
    assert diagnosed(LM(model="mine", reference="mine")).status.value == "healthy"


def test_a_network_that_gives_no_numbers_is_told(diagnosed):
    """In float32 it is the model's own fault, with the first module that gives it; nothing crashes on the way."""
    model = own_model.model()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    verdict = diagnosed(LM(model=model, tokenizer=own_model.tokenizer(), prompts=[("Name a colour.", "Red")]))
    assert verdict.faults[0].fault == "numerically_unstable"
    assert verdict.faults[0].place == "model.layers.1.mlp.down_proj"
    assert verdict.first_faulty_layer.value == "model"


def test_rows_that_are_none_are_skipped(diagnosed):
    """Of no row nothing is said."""
    tuning = FineTuning(rows=[], prepare=own_model.prepare)
    verdict = diagnosed(LM(model=own_model.trained(), tokenizer=own_model.tokenizer(), tuning=tuning))
    assert "needs labels: tuning.rows holds no row" in skipped(verdict)


def reference_of(kind="rope"):
    """The model and tokenizer as they should be."""
    return LM(model=own_model.trained(kind), tokenizer=own_model.tokenizer())


def test_a_tokenizer_of_another_model_explains_its_template(diagnosed):
    """Its vocabulary is told, and not that it writes messages otherwise."""
    other = own_model.tokenizer()
    letters = {chr(letter): letter - 32 for letter in range(32, 127)}
    raw = type(other)(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE(letters, [], unk_token="?")), eos_token="~"
    )
    raw.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    verdict = diagnosed(LM(model=own_model.trained(), tokenizer=raw, reference=reference_of()))
    assert [fault.fault for fault in verdict.faults] == ["tokenizer_mismatch"]
    assert "tokens have other ids" in " ".join(verdict.faults[0].evidence)


def test_a_head_that_no_setting_ties_is_compared_with_the_reference(diagnosed):
    """A head that was drawn anew, with the setting off, is told where the reference has it tied."""
    model = own_model.model()
    model.config.tie_word_embeddings = False
    head = nn.Linear(64, model.config.vocab_size, bias=False)
    model.lm_head = head
    verdict = diagnosed(LM(model=model, tokenizer=own_model.tokenizer(), reference=reference_of()))
    assert [fault.fault for fault in verdict.faults] == ["head_untied"]
    assert verdict.faults[0].confirmed


def test_a_network_that_takes_no_positions_is_told_of_them(diagnosed):
    """It counts the padding whatever it is given; the padding's ids change nothing, so it is masked."""
    model = own_model.model("absolute")
    known = model.forward

    def forward(input_ids=None, attention_mask=None, **others):
        others.pop("position_ids", None)
        return known(input_ids=input_ids, attention_mask=attention_mask, **others)

    model.forward = forward
    verdict = diagnosed(LM(model=model, tokenizer=own_model.tokenizer(), batch=3))
    assert [fault.fault for fault in verdict.faults] == ["positions_not_from_mask"]


class Dropping(Counts):
    """Drops out by a function, as OPT does, with no module that says so."""

    def forward(self, ids):
        """Logits with a share of them left out, where it is in train mode."""
        return torch.nn.functional.dropout(super().forward(ids), 0.1, self.training)


def test_dropout_by_a_function_is_told(diagnosed):
    """A model that is left in train mode answers the same prompt otherwise each time; in eval mode it is healthy."""
    left = diagnosed(LM(model=Dropping().train(), tokenizer=Letters(), prompts=["hello there"]))
    assert [fault.fault for fault in left.faults] == ["train_mode_serving"]
    assert diagnosed(LM(model=Dropping().eval(), tokenizer=Letters(), prompts=["hello there"])).faults == ()
