"""Serving, recorded: what enters an answering model and what leaves it, without a change to either.

app.add_middleware(firstfault.monitor.MonitoredASGI, model="churn")      # FastAPI, Starlette, Litestar …
app.wsgi_app = firstfault.monitor.MonitoredWSGI(app.wsgi_app)            # Flask; Django's application itself
@firstfault.monitor.monitored(model="churn")                             # any function
"""

from firstfault.monitor.asgi import MonitoredASGI
from firstfault.monitor.assertions import assertion
from firstfault.monitor.capture import cut, describe, mark, request_id, stage
from firstfault.monitor.decorator import monitored
from firstfault.monitor.wsgi import MonitoredWSGI

__all__ = ["MonitoredASGI", "MonitoredWSGI", "assertion", "cut", "describe", "mark", "monitored", "request_id", "stage"]
