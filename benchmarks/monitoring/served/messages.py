"""Messages of customers, written from parts."""

from __future__ import annotations

import numpy as np

TEAMS = ("billing", "delivery", "account", "technical", "returns")
OPENINGS = ("hello,", "hi there,", "good morning,", "dear team,", "", "", "please help:", "urgent:")
CLOSINGS = ("thanks", "please reply soon", "", "", "this is the second time", "i have waited for days", "kind regards")
THINGS = ("laptop", "phone", "printer", "headset", "monitor", "router", "camera", "tablet", "keyboard", "speaker")
SENTENCES = (
    (
        "i was charged twice for the {thing}",
        "the invoice for my {thing} shows a wrong amount",
        "my card was declined when i paid for the {thing}",
        "please send me a receipt for the {thing}",
        "the discount is missing on the bill",
        "when will the refund be on my card",
    ),
    (
        "my parcel with the {thing} has not arrived",
        "the tracking says delivered but there is no {thing}",
        "the courier left the {thing} in the rain",
        "can you change the address of the shipment",
        "the driver never rang and took the parcel back",
        "when will the {thing} be shipped",
    ),
    (
        "i can not log in any more",
        "the reset link does not work",
        "please close my account",
        "how do i change the email of my profile",
        "someone else signed in to my account",
        "my user name is already taken",
    ),
    (
        "the {thing} does not turn on",
        "the screen of the {thing} flickers since the update",
        "the {thing} will not connect to the network",
        "the app crashes when i open the settings",
        "the battery of the {thing} drains within an hour",
        "the {thing} shows an error and restarts",
    ),
    (
        "i want to send the {thing} back",
        "how do i return a {thing} that does not fit",
        "the {thing} is the wrong model and i want to exchange it",
        "please send me a label for the return",
        "i sent the {thing} back and heard nothing",
        "can i exchange the {thing} for another colour",
    ),
)


def message(rng: np.random.Generator, team: int) -> str:
    """A message for a team; every tenth has a sentence for another one in it."""
    sentences = [str(rng.choice(SENTENCES[team])) for _ in range(int(rng.integers(1, 3)))]
    if rng.random() < 0.1:
        sentences.append(str(rng.choice(SENTENCES[int(rng.integers(5))])))
    parts = [str(rng.choice(OPENINGS)), ". ".join(sentences), str(rng.choice(CLOSINGS))]
    return " ".join(part for part in parts if part).format(thing=str(rng.choice(THINGS)))
