"""People who ask whether they earn more than 50K: sends rows of the example to the server of serve.py.

python examples/adult/traffic.py --requests 2500 [--months]
"""

import argparse
import http.client
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

CLIENTS = 4


def rows(requests: int, seed: int, months: bool) -> Iterator[dict[str, Any]]:
    """Rows without their salary; ages in months, as the form upstream has sent them since its last release."""
    people = pd.read_parquet(Path(__file__).with_name("adult.parquet")).drop(columns="salary")
    people = people.sample(requests, random_state=seed)
    if months:
        people["age"] *= 12
    yield from json.loads(people.to_json(orient="records"))


def send(port: int, sent: list[dict[str, Any]]) -> int:
    """Send rows one after the other; how many were answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    answered = 0
    for row in sent:
        connection.request("POST", "/predict", json.dumps(row), {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        answered += answer.status == 200
    return answered


def main() -> None:
    """Send what was asked for, over four connections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--months", action="store_true", help="send ages in months")
    asked = parser.parse_args()
    found = list(rows(asked.requests, asked.seed, asked.months))
    with ThreadPoolExecutor(CLIENTS) as pool:
        answered = sum(pool.map(lambda part: send(asked.port, found[part::CLIENTS]), range(CLIENTS)))
    sys.stdout.write(f"{answered} of {len(found)} requests were answered\n")


if __name__ == "__main__":
    main()
