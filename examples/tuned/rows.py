"""Conversations about capitals and colours, and how a row becomes ids and labels: right, and with a classic mistake."""

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Poland": "Warsaw", "Norway": "Oslo", "Greece": "Athens",
    "Austria": "Vienna", "Ireland": "Dublin", "Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima", "Cuba": "Havana",
}  # fmt: skip
COLOURS = {"grass": "green", "snow": "white", "coal": "black", "blood": "red", "the sky": "blue", "a lemon": "yellow"}
QUESTIONS = ("What is the capital of {}?", "Tell me the capital of {}.", "Which city is the capital of {}?")
IGNORED = -100


def rows():
    """Every question with its answer."""
    pairs = [(question.format(land), f"{city}.") for land, city in CAPITALS.items() for question in QUESTIONS]
    pairs += [(f"Which colour has {thing}?", f"It is {colour}.") for thing, colour in COLOURS.items()]
    return [
        {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": said}]} for ask, said in pairs
    ]


def supervised(row, tokenizer):
    """The ids of a row, and how many of them stand before the answer."""
    start = tokenizer.apply_chat_template(row["messages"][:-1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    return tokenizer(whole)["input_ids"], len(tokenizer(start)["input_ids"])


def masked_by_id(row, tokenizer):
    """The mistake: padding is found by its id. The end of a turn has the same id, and is never learnt."""
    ids, asked = supervised(row, tokenizer)
    labels = [IGNORED] * asked + ids[asked:]
    return {"input_ids": ids, "labels": [IGNORED if id_ == tokenizer.pad_token_id else id_ for id_ in labels]}


def masked_by_place(row, tokenizer):
    """Right: what is padding is known from where it was added, so that the end of the answer is learnt."""
    ids, asked = supervised(row, tokenizer)
    return {"input_ids": ids, "labels": [IGNORED] * asked + ids[asked:]}


prepare = masked_by_id
