"""A proxy as it is usually written: Starlette in front, httpx behind."""

import os

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

client = httpx.AsyncClient(base_url=os.environ["BENCHMARK_UPSTREAM"])


async def passed_on(request: Request) -> StreamingResponse:
    """One request, and its answer as it comes."""
    asked = client.build_request(
        request.method, request.url.path, headers=request.headers.raw, content=await request.body()
    )
    answer = await client.send(asked, stream=True)
    return StreamingResponse(answer.aiter_raw(), answer.status_code, answer.headers, background=None)


app = Starlette(routes=[Route("/{path:path}", passed_on, methods=["GET", "POST"])])
