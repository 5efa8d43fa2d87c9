"""The form of a deployment in Prefect's UI says what each field is."""

import pytest
from firstfault.flows.incident import incident
from firstfault.flows.monitor_window import monitor_window
from firstfault.flows.rollout import rollout
from prefect.utilities.callables import parameter_schema


@pytest.mark.parametrize("flow", [incident, monitor_window, rollout], ids=lambda flow: flow.name)
def test_every_field_of_a_form_is_described(flow):
    """Prefect takes the words from the flow's docstring."""
    fields = parameter_schema(flow.fn).properties
    assert fields and not [name for name, field in fields.items() if not field.get("description")]
