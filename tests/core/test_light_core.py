"""With the core alone, what needs no extra works, and what needs one names it.

Each test runs in a process of its own that can import nothing of the extras. `make core` runs the same tests in an
environment that has nothing but the core.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
SKIPPED = {
    "label_suspects": "cleanlab",
    "expectations": "great_expectations",
    "profile_alerts": "ydata_profiling",
    "served_process": "mlflow",
    "group_metrics": "fairlearn",
}


def python(folder, *arguments):
    """Run Python with these arguments in `folder`, with nothing but the core."""
    environment = {**os.environ, "PYTHONPATH": str(HERE / "blocked"), "FIRSTFAULT_HOME": str(folder / ".firstfault")}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def firstfault(folder, *arguments):
    """Run the command line with nothing but the core."""
    return python(folder, "-c", "from firstfault.cli.app import main; main()", *arguments)


def test_a_script_is_run_and_judged(tmp_path):
    """`firstfault run` finds the fault of a script, and writes its report."""
    verdict = tmp_path / "verdict.json"
    done = firstfault(tmp_path, "run", "--json", verdict, PROGRAMS / "digits_cnn.py", "--forget")
    assert done.returncode == 1, done.stderr
    assert json.loads(verdict.read_text())["faults"][0]["fault"] == "missing_zero_grad"
    assert list(tmp_path.glob(".firstfault/runs/*/report.html"))


def test_a_loop_is_watched(tmp_path):
    """`firstfault.watch()` judges a healthy loop healthy."""
    done = python(tmp_path, PROGRAMS / "watched.py")
    assert done.stdout.startswith("healthy"), done.stdout + done.stderr


def test_a_model_is_tested_by_pytest(tmp_path):
    """`pytest --firstfault` passes on a healthy target."""
    done = python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--firstfault", PROGRAMS / "loans.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_target_is_diagnosed(tmp_path):
    """The ladder comes to its verdict; a check that needs an extra is skipped with its name, and none crashes."""
    done = python(tmp_path, PROGRAMS / "diagnosed.py", PROGRAMS / "loans.py")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    findings = [found for layer in verdict["layers"] for found in layer["findings"]] + verdict["safety"]["findings"]
    assert verdict["status"] == "healthy"
    assert [found for found in findings if found["status"] == "error"] == []
    lacking = {found["check"]: found["message"] for found in findings if "pip install 'firstfault[" in found["message"]}
    assert all(found["status"] == "skipped" for found in findings if found["check"] in lacking)
    assert {name: lacking.get(name, "").split(" needs ")[-1].split(",")[0] for name in SKIPPED} == SKIPPED


def test_a_target_is_debugged_without_a_record(tmp_path):
    """`debug --bare` judges and reports; that MLflow is not installed is said where the run would be found there."""
    done = firstfault(tmp_path, "debug", "--bare", "--depth", "quick", PROGRAMS / "loans.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recording in MLflow needs mlflow, which is not installed: pip install 'firstfault[pipeline]'" in done.stdout
    assert list(tmp_path.glob(".firstfault/runs/*/report.html"))


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (["run", "--sink", "tensorboard", PROGRAMS / "digits_cnn.py"], "tensorboard", "tensorboard"),
        (["run", "--sink", "mlflow", PROGRAMS / "digits_cnn.py"], "mlflow", "pipeline"),
        (["run", "--sink", "wandb", PROGRAMS / "digits_cnn.py"], "wandb", "wandb"),
        (["up"], "prefect", "pipeline"),
        (["expect", PROGRAMS / "loans.py"], "great_expectations", "pipeline"),
    ],
    ids=["tensorboard", "mlflow", "wandb", "up", "expect"],
)
def test_a_command_names_the_extra(tmp_path, arguments, module, extra):
    """A command whose library is missing says so in one sentence, exits with 2, and leaves no run behind."""
    done = firstfault(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert f"needs {module}, which is not installed: pip install 'firstfault[{extra}]'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob(".firstfault/runs/*"))


def test_data_that_need_an_extra_are_a_bad_call(tmp_path):
    """Where the data can't be read without an extra, the call is refused with its name."""
    (tmp_path / "target.py").write_text(
        "import torch\nfrom firstfault import Data, Sql, Target\n"
        "data = Data(train=Sql('sqlite:///rows.db', 'select * from rows'), label='y')\n"
        "target = Target(name='read', data=data, model=lambda: torch.nn.Linear(1, 1))\n"
    )
    done = python(tmp_path, "-m", "pytest", "-q", "--firstfault", "target.py")
    assert done.returncode == 4
    assert "needs sqlalchemy, which is not installed: pip install 'firstfault[sql]'" in done.stderr + done.stdout


SERVED = """
import sys
from firstfault.monitor import monitored
from firstfault.monitor.recorder import recorder_of
from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store

heavy = {"numpy", "pandas", "torch", "sklearn", "pyarrow"} & set(sys.modules)
predict = monitored(store="served", sample=1.0)(lambda row: 1)
predict({"age": 3})
settings = settings_of(store="served", sample=1.0)
recorder_of(settings).close(60)
print(sorted(heavy), [record.values["raw"] for record in Store(settings).records()])
"""


def test_what_is_served_is_recorded(tmp_path):
    """The monitor needs nothing but the core, and imports nothing heavy into the process that serves."""
    done = python(tmp_path, "-c", SERVED)
    assert done.stdout == "[] [{'age': 3}]\n", done.stdout + done.stderr
