"""Pictures of what went on inside a training, and of the model: whatever a record holds."""

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from torch import nn

import firstfault
from firstfault.charts.heat import cells, shading
from firstfault.check import Status
from firstfault.finding import Finding, Layer, LayerReport
from firstfault.place import FORWARD, OUTPUT_LAYER, Kind, Place
from firstfault.probe.record import Activations, Attention, Parameter, Record
from firstfault.report import context_of
from firstfault.report.charts.activations import activation_health
from firstfault.report.charts.attention import attention_patterns
from firstfault.report.charts.gradients import gradient_flow, update_bands
from firstfault.report.charts.model_diagram import Blame, blamed, boxes_of, boxes_of_record, diagram
from firstfault.report.charts.phases import time_shares
from firstfault.report.charts.training_pictures import training_pictures
from firstfault.report.page import render_page


def series(values, steps=None):
    """A series of values at steps 1, 2, …"""
    made = firstfault.probe.series.Series()
    for step, value in zip(steps or range(1, len(values) + 1), values, strict=True):
        made.add(step, value)
    return made


def parameter(gradients, size=100, update=0.01, steps=None):
    """A parameter with these norms of its gradient."""
    count = len(gradients)
    return Parameter(size, series(gradients, steps), series([1.0] * count, steps), series([update] * count, steps))


def activations(kind="Linear", **last):
    """A module whose last outputs are described by these numbers."""
    return Activations(
        kind, **{name: series([last.get(name, 0.0)]) for name in ("mean", "std", "zero", "beyond", "dead", "largest")}
    )


def record(**parts):
    """A record with something in every part."""
    usual = {
        "parameters": {"body.0.weight": parameter([1e-3, 1e-5]), "body.2.weight": parameter([1.0, 0.1])},
        "activations": {"body.0": activations(), "body.1": activations("ReLU", zero=0.5, dead=0.75)},
        "attention": {"body.3": Attention(series([0.5]), [[1.0, 0.0], [0.4, 0.6]])},
        "phases": {"data": 1.0, "forward": 3.0},
        "steps": 2,
    }
    return Record(**(usual | parts))


def words(picture):
    """The texts of a picture, which is sound XML."""
    root = ElementTree.fromstring(re.sub(r"&(?!amp;|lt;|gt;|quot;|#)", "&amp;", str(picture)))
    return " ".join("".join(text.itertext()) for text in root.iter() if text.tag.endswith("text"))


def shades(picture):
    """The cells of each shade, without the legend."""
    return {match[1] for match in re.finditer(r'<path class="(\w+)"', str(picture))}


def test_every_part_of_a_record_has_its_picture():
    """Gradients, updates, activations, attention and time."""
    drawn = " ".join(map(words, training_pictures(record())))
    for title in ("Gradient flow", "Size of the updates", "Activations at the end", "Attention", "Time of the loop"):
        assert title in drawn


@pytest.mark.parametrize("empty", [None, Record(), Record(steps=3, phases={"data": 0.0})])
def test_nothing_seen_draws_nothing(empty):
    """No record, or one without samples."""
    assert training_pictures(empty) == []


def test_gradients_are_shaded_by_their_logarithm_per_element():
    """The root mean square: a thousand times the elements with the same norm is a smaller gradient."""
    small, large = parameter([1.0], 10_000), parameter([1.0], 1)
    drawn = gradient_flow({"a.weight": small, "b.weight": large})
    assert shades(drawn) == {"h0", "h8"} and "from 10^-2 to 10^0" in drawn


def test_zero_and_not_finite_gradients_have_shades_of_their_own():
    """Neither is a small or large gradient."""
    shown = shades(gradient_flow({"a.weight": parameter([0.0, math.nan, math.inf, 1.0])}))
    assert len(shown) == 3 and {"zero", "bad"} < shown


def test_many_layers_are_drawn_by_the_parts_that_hold_them():
    """200 layers of 10 blocks become 10 rows; 200 without blocks a selection with both ends."""
    blocks = {f"blocks.{block}.{layer}.weight": parameter([1.0]) for block in range(10) for layer in range(20)}
    assert "blocks.9" in words(gradient_flow(blocks)) and "of 10 layers" in gradient_flow(blocks)
    flat = gradient_flow({f"{layer}.weight": parameter([1.0]) for layer in range(200)})
    assert "of 32 layers" in flat and " 0 " in words(flat) and "199" in words(flat)


def test_optimizers_that_are_sampled_in_turn_share_their_columns():
    """A GAN's two models are sampled at different steps, without gaps between."""
    drawn = gradient_flow(
        {"a.weight": parameter([1.0] * 4, steps=[1, 3, 5, 7]), "b.weight": parameter([1.0] * 4, steps=[2, 4, 6, 8])}
    )
    rows = re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)v", str(drawn))
    assert len(rows) == 2 and rows[0][2] == rows[1][2]


def test_the_band_of_updates_leaves_out_what_is_still_zero():
    """A bias of 0 has no ratio; the others keep theirs."""
    fresh = Parameter(4, series([1.0]), series([0.0]), series([1e12]))
    drawn = update_bands({"a.weight": parameter([1.0], update=0.01), "a.bias": fresh})
    assert "0.01" in words(drawn) and "usual are 1e−4 to 0.1" in drawn and "e12" not in drawn
    assert update_bands({"a.bias": fresh}) is None


def test_sick_activations_stand_out():
    """Dead units, saturation, and outputs that are not finite."""
    health = activation_health(
        {
            "a": activations("ReLU", dead=0.9, zero=0.9),
            "b": activations("Sigmoid", beyond=0.8),
            "c": activations(mean=math.nan),
            "d": activations(),
        }
    )
    assert str(health).count('<rect class="alarm"') == 2 and words(health).count("not finite") == 1


def test_of_many_modules_the_striking_ones_are_shown():
    """The only saturated one of 100 is among them, in its place."""
    drawn = activation_health({f"m{number}": activations(beyond=0.9 * (number == 77)) for number in range(100)})
    assert "m77" in words(drawn) and "32 most striking of 100" in words(drawn)


def test_masked_attention_stays_blank():
    """What a mask hides is no weak attention."""
    drawn = attention_patterns({"a": Attention(series([0.3]), [[1.0, 0.0], [0.5, 0.5]])})
    assert sum(map(int, re.findall(r"h(\d+)\.\dv", str(drawn)))) and "entropy 0.30" in words(drawn)
    assert len(re.findall(r"M[\d.]+ [\d.]+h", str(drawn))) == 2


def test_time_is_told_in_shares():
    """Loading is a quarter here."""
    assert "loading 25 %" in words(time_shares({"data": 1.0, "forward": 3.0})) and time_shares({}) is None


def test_equal_neighbours_are_one_path():
    """A row of one shade is drawn at once, and gaps stay open."""
    assert cells([[1.0, 1.0, None, 1.0]], shading([0.0, 1.0]), 0, 0, 10, 5).count("M") == 2


# ---------------------------------------------------------------------- the model


class Network(nn.Module):
    """Six equal blocks, and a head."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(6))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def report(where, status=Status.FAIL, layer=Layer.MODEL):
    """A layer with one finding at that place."""
    return LayerReport(layer, (Finding("dead_relu", layer, status, "most units are dead", where=where),), 0.1)


def test_equal_neighbours_are_drawn_once():
    """Six blocks are one box with its count, and all parameters are counted."""
    drawn = diagram(boxes_of(Network(), {"head": (32, 3)}), {})
    assert "× 6" in words(drawn) and "blocks.0 … blocks.5" in words(drawn) and "N × 3" in words(drawn)
    assert f"{6 * 72 + 27} parameters" in words(drawn)


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (Place.modules("blocks.2.1"), ["blocks.2.1"]),
        (Place.parameters("blocks.2.0.weight"), ["blocks.2.0"]),
        (Place.parameters("head.bias", "blocks.0.0.weight"), ["blocks.0.0", "head"]),
        (Place.modules("head:relu"), ["head"]),
        (Place(Kind.PARAMETER, ("head.weight",), note="by the update"), ["head"]),
        (OUTPUT_LAYER, ["head"]),
        (FORWARD, [""]),
        (Place.part("2 saturating activations"), []),
        (Place.setting("training.loss"), []),
        (Place.columns("head"), []),
        (None, []),
    ],
)
def test_the_place_of_a_finding_names_its_modules(where, names):
    """Modules, parameters and the output layer are found; other places blame none."""
    assert sorted(blamed([report(where)], boxes_of(Network()))) == names


def test_a_number_is_a_module_only_by_itself():
    """`2` of a Sequential is meant by the module 2 and its weight, and not by "2 of 5 layers"."""
    box = boxes_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)))
    places = (Place.modules("2"), Place.parameters("2.weight"), Place.modules("0", "2"), Place.part("2 of 5 layers"))
    assert [sorted(blamed([report(where)], box)) for where in places] == [["2"], ["2"], ["0", "2"], []]


def test_the_sick_module_is_coloured_and_stays_apart():
    """Its neighbours are taken together, it is not; a failure goes before a warning."""
    box = boxes_of(Network())
    reports = [report(Place.modules("blocks.1.1"), Status.WARN, Layer.TRAINING), report(Place.modules("blocks.1.1"))]
    drawn = diagram(box, blamed(reports, box))
    assert str(drawn).count('class="box fail"') == 2 and "dead_relu" in words(drawn) and "× 4" in words(drawn)
    assert blamed(reports, box)["blocks.1.1"].status is Status.FAIL
    assert not blamed([report(Place.modules("blocks.1.1"), layer=Layer.DATA)], box)


def test_a_deep_tree_is_cut_where_it_fits():
    """500 different layers are drawn by their ends, 80 blocks of different sizes by their names."""
    flat = diagram(boxes_of(nn.Sequential(*(nn.Linear(size + 1, size + 2) for size in range(500)))), {})
    assert str(flat).count("<rect") <= 70 and "more" in words(flat)
    nested = nn.Sequential(*(nn.Sequential(nn.Linear(size, 2), nn.ReLU()) for size in range(1, 60)))
    inner = diagram(boxes_of(nested), {"30.0": Blame(Status.FAIL, "dead_relu", "dead")})
    assert str(inner).count("<rect") <= 70 and 'class="box fail"' in inner


def test_lazy_and_empty_models_are_drawn():
    """What has no shape yet counts no parameters."""
    assert "LazyLinear" in words(diagram(boxes_of(nn.Sequential(nn.LazyLinear(3))), {}))
    assert "Identity" in words(diagram(boxes_of(nn.Identity()), {}))


def test_names_are_escaped():
    """A class or module name is text, not markup."""
    drawn = diagram(boxes_of(type("A<b>", (nn.Module,), {})()), {"": Blame(Status.FAIL, "x", "<script>")})
    assert "<b>" not in drawn and "<script>" not in drawn


def test_without_the_model_its_record_is_drawn():
    """Names, kinds and sizes of what was seen, several models beside each other."""
    drawn = words(diagram(boxes_of_record(record(models=["Encoder", "Decoder"])), {}))
    assert "Encoder, Decoder" in drawn and "ReLUbody.1" in drawn and "200 parameters" in drawn


# ---------------------------------------------------------------------- in a report


def loop(model, steps=12):
    """A short loop."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x = torch.randn(48, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
        optimizer.step()


def pair():
    """Two models, which no replay can follow."""
    for model in (nn.Linear(8, 2), nn.Linear(8, 2)):
        loop(model)


@pytest.mark.parametrize("train", [lambda: loop(Network()), pair], ids=["one model", "two models"])
def test_the_report_of_a_watched_loop_has_them(tmp_path, train):
    """Curves, pictures and diagram, where the training can be replayed and where it can't."""
    with firstfault.watch("w", folder=tmp_path) as watched:
        train()
    page = render_page(watched.verdict(swaps=False), context_of(watched.subject))
    for title in (
        "Inside the training",
        "Gradient flow",
        "Size of the updates",
        "Activations at the end",
        "Loss per step",
        "Model",
    ):
        assert f">{title}" in page
    assert len(page) < 3_000_000
