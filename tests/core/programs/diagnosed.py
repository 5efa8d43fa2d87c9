"""Walk the ladder on a target bare, and print its verdict as JSON."""

import json
import sys
import tempfile
from pathlib import Path

from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.subject.subject import Subject
from firstfault.target.loader import load_target

with tempfile.TemporaryDirectory() as folder:
    verdict = diagnose(Subject(load_target(sys.argv[1]), Path(folder), Depth.STANDARD), Depth.STANDARD)
    print(json.dumps(verdict.to_json()))
