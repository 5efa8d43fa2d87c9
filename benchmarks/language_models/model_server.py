"""An OpenAI-compatible server on loopback around the own model, which can be told to do something wrongly."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import own_model
import torch


class Served:
    """The model behind the server, and what it does wrongly: the names of its faults."""

    def __init__(self, *faults):
        self.faults, self.words, self.model = set(faults), own_model.tokenizer(), own_model.trained()
        self.requests = []

    def ids(self, messages):
        text = self.words.apply_chat_template(
            messages, tokenize=False, add_generation_prompt="no generation prompt" not in self.faults
        )
        if "no template" in self.faults:
            text = messages[-1]["content"]
        return self.words(text, add_special_tokens="doubled" in self.faults)["input_ids"]

    def answer(self, body):
        ids = self.ids(body["messages"])
        prompt, said, seen = len(ids), [], []
        draws = "draws" in self.faults and "temperature" not in body
        for _ in range(body.get("max_tokens", 16)):
            with torch.no_grad():
                known = self.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            token = int(torch.multinomial((known / 5).softmax(-1), 1)) if draws else int(known.argmax())
            if token == self.words.eos_token_id and "no stop" not in self.faults:
                break
            ids = [*ids, token]
            said.append(token)
            seen.append({"token": self.words.decode([token]), "logprob": float(known[token])})
        finish = "stop" if len(said) < body.get("max_tokens", 16) else "length"
        choice = {"message": {"role": "assistant", "content": self.words.decode(said)}, "finish_reason": finish}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": seen}
        usage = {"prompt_tokens": prompt, "completion_tokens": len(said), "total_tokens": prompt + len(said)}
        return {"choices": [choice], "usage": usage}


def handler_of(served):
    """A handler that answers for a served model."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.requests.append((self.path, body))
            if "key" in served.faults and self.headers.get("Authorization") != "Bearer secret":
                return self._json({"error": "no key"}, 401)
            if self.path == "/tokenize" and "no tokenize" not in served.faults:
                return self._json({"tokens": self._tokens(body)})
            if self.path == "/detokenize" and "no tokenize" not in served.faults:
                return self._json({"prompt": served.words.decode(body["tokens"])})
            if self.path == "/v1/chat/completions":
                return self._chat(body)
            return self._json({"error": "no such route"}, 404)

        def _tokens(self, body):
            if "messages" in body:
                return served.ids(body["messages"])
            return served.words(body["prompt"], add_special_tokens=False)["input_ids"]

        def _chat(self, body):
            faults = served.faults
            if "slow" in faults:
                served.ended.wait(20)
            if "busy" in faults:
                return self._json({"error": "too many requests"}, 429, {"Retry-After": "0"})
            if "busy once" in faults:
                faults.discard("busy once")
                return self._json({"error": "too many requests"}, 429, {"Retry-After": "0"})
            if "empty" in faults:
                return self._bytes(b"")
            if "not utf-8" in faults:
                return self._bytes(b'{"choices": [{"message": {"content": "\xe9"}}]}')
            if "null" in faults:
                return self._json({"choices": [{"message": {"content": None}}]})
            answer = served.answer(body)
            return self._stream(answer) if faults & {"streams", "streams half"} else self._json(answer)

        def _stream(self, answer):
            said = answer["choices"][0]["message"]["content"]
            events = [{"choices": [{"delta": {"content": letter}}]} for letter in said]
            if "streams" in served.faults:
                events.append({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": answer["usage"]})
            self._bytes(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events))

        def _json(self, value, status=200, headers=()):
            self._bytes(json.dumps(value).encode(), status, headers)

        def _bytes(self, whole, status=200, headers=()):
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(whole)

    return Handler


@contextlib.contextmanager
def serving(*faults):
    """A server with faults, and its base address."""
    served = Served(*faults)
    served.ended = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(served))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", served
    finally:
        served.ended.set()
        server.shutdown()
        server.server_close()
