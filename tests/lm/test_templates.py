"""Texts by templates as they are in the field: what is lost of one is named, and equal text is no difference."""

import jinja2
import pytest

from firstfault.lm.rendering import Template, text_differences

TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n"
        "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|im_start|>", "<|im_end|>"),
        "",
    ),
    "llama3": (
        "<|begin|>{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}",
        ("<|begin|>", "<|start|>", "<|end|>", "<|eot|>"),
        "<|begin|>",
    ),
    "gemma": (
        "<bos>{% for m in messages %}{% if m.role == 'system' %}{{ raise('no system') }}{% endif %}<turn>"
        "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}</turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<turn>model\n{% endif %}",
        ("<bos>", "<turn>", "</turn>"),
        "<bos>",
    ),
    "mistral": (
        "<s>{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        "<s>",
    ),
    "zephyr": (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        ("<s>", "</s>"),
        "<s>",
    ),
}
ASKED = [{"role": "user", "content": "Name a colour."}]
TALK = [*ASKED, {"role": "assistant", "content": "Red."}, {"role": "user", "content": "And another one?"}]


def template_of(name):
    """A template, and the text that it makes of messages."""
    text, controls, bos = TEMPLATES[name]

    def refuse(why):
        raise jinja2.TemplateError(why)

    made = jinja2.Environment().from_string(text)

    def render(messages, *, generation=True):
        return made.render(messages=messages, add_generation_prompt=generation, **{"raise": refuse})

    return Template(render, controls, bos)


def faults(text, messages, template):
    """The names of the differences."""
    return [each.fault for each in text_differences(text, messages, template, "a prompt")]


@pytest.mark.parametrize("messages", [ASKED, TALK], ids=["one turn", "several"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_equal_text_and_a_first_token_more_or_less_are_no_difference(name, messages):
    """The first token may be written by the template or added with the ids."""
    template = template_of(name)
    whole = template.whole(messages)
    assert faults(whole, messages, template) == []
    assert faults(whole.removeprefix(template.bos), messages, template) == []
    assert faults(template.bos + whole.removeprefix(template.bos), messages, template) == []


@pytest.mark.parametrize("messages", [ASKED, TALK], ids=["one turn", "several"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_lost_of_a_template_is_named(name, messages):
    """The opening of the answer, the template as a whole, an end, or another template's words."""
    template = template_of(name)
    whole = template.whole(messages)
    if opening := template.opening(messages):
        assert faults(whole.removesuffix(opening), messages, template) == ["generation_prompt_missing"]
    bare = "\n".join(message["content"] for message in messages)
    assert faults(bare, messages, template) == ["template_missing"]
    assert faults(whole.replace("user", "human").replace("INST", "ASK"), messages, template) == ["template_mismatch"]
    assert faults(whole[: len(whole) // 2], messages, template) == ["truncation"]


@pytest.mark.parametrize("messages", [ASKED, TALK], ids=["one turn", "several"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_marks_of_another_model_are_another_template(name, messages):
    """Turns in marks, though in none of the template's own, are written by another one; words alone are by none."""
    template = template_of(name)
    others = [template_of(other).whole(messages) for other in TEMPLATES if other != name]
    others.append("".join(f"### {each['role']}:\n{each['content']}\n\n" for each in messages))
    assert [faults(text, messages, template) for text in others] == [["template_mismatch"]] * len(others)
    spoken = "\n".join(f"{each['role']}: {each['content']}" for each in messages)
    assert faults(spoken, messages, template) == ["template_missing"]
    assert faults(messages[-1]["content"], messages, template) == ["template_missing"]


def test_a_default_system_message_is_known_where_the_template_has_one():
    """Its loss is named, alone and together with the opening's; a template that refuses systems has none."""
    template = template_of("chatml")
    whole = template.whole(ASKED)
    short = whole.replace("<|im_start|>system\nYou help.<|im_end|>\n", "")
    assert faults(short, ASKED, template) == ["default_system_lost"]
    assert faults(short.removesuffix("<|im_start|>assistant\n"), ASKED, template) == [
        "default_system_lost",
        "generation_prompt_missing",
    ]
    assert [template_of(name).default_system(ASKED) for name in TEMPLATES] == ["You help.", "", "", "", ""]


def test_the_end_of_a_turn_is_the_control_token_behind_an_answer():
    """By the template, not by the tokenizer's end."""
    ends = {name: template_of(name).turn_end for name in TEMPLATES}
    assert ends == {
        "chatml": "<|im_end|>",
        "llama3": "<|eot|>",
        "gemma": "</turn>",
        "mistral": "</s>",
        "zephyr": "</s>",
    }
