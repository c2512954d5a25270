"""An OpenAI-compatible endpoint on loopback whose answers a plain function decides."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Mapping[str, Any]
Answer = Callable[[Mapping[str, Any]], Reply]
"""From the body of a request to `said(...)` or `refused(...)`."""


def said(
    text: str | None, *, finish: str = "stop", reasoning: str | None = None, usage: bool = True
) -> Reply:
    """A completion with this text."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    words = len((text or "").split())
    counts = {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": 10 + words}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    return {"status": 200, "body": body | ({"usage": counts} if usage else {})}


def refused(message: str, *, status: int = 400, code: str | None = None) -> Reply:
    """An error as OpenAI writes it."""
    return {"status": status, "body": {"error": {"message": message, "code": code}}}


def system_of(body: Mapping[str, Any]) -> str | None:
    """The text of the system turn; None if there is none."""
    first = body["messages"][0]
    return first["content"] if first["role"] in {"system", "developer"} else None


def user_of(body: Mapping[str, Any]) -> str:
    """The text of the last turn."""
    return str(body["messages"][-1]["content"])


def _events(body: Mapping[str, Any]) -> str:
    """The completion word by word, as a stream has it."""
    (choice,) = body["choices"]
    words = str(choice["message"]["content"]).split(" ")
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words), {}]
    chunks = [
        {
            **{key: body[key] for key in ("id", "created", "model")},
            "object": "chat.completion.chunk",
            "choices": [
                {"index": 0, "delta": d, "finish_reason": None if d else choice["finish_reason"]}
            ],
        }
        for d in deltas
    ]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


class Endpoint(ThreadingHTTPServer):
    """Keeps what it was asked, and what of it was answered, which is what costs money."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[Mapping[str, Any]] = []
        self.paid = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = self.server.answer(body)
        self.server.asked.append(body)
        self.server.paid += reply["status"] == 200
        streamed = body.get("stream") and reply["status"] == 200
        text = (_events(reply["body"]) if streamed else json.dumps(reply["body"])).encode()
        self.send_response(reply["status"])
        self.send_header("Content-Type", "text/event-stream" if streamed else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(answer: Answer) -> Iterator[Endpoint]:
    """Run the endpoint in a thread for as long as the block lasts."""
    with Endpoint(answer) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield http
        finally:
            http.shutdown()
            thread.join()
