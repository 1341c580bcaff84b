"""The HTTP side: reads requests, asks `scenarios` for the answer, and sends it, breaks it off or stays silent."""

import dataclasses
import http.server
import json
import socket
import socketserver
import struct
import time
from typing import Any

from hack.mock_anthropic import conversation, scenarios, wire
from hack.mock_anthropic.answers import Failure, Fault, Message, Silence
from hack.mock_anthropic.records import Records, redacted_headers

_HANG_AT_MOST = 900.0  # seconds
_NOT_FOUND = {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}}
_BAD_BODY = Failure(400, "invalid_request_error", "the request's length or chunks are no numbers")
_MODEL = {
    "type": "model",
    "id": "claude-sonnet-4-5",
    "display_name": "Sonnet",
    "created_at": "2025-01-01T00:00:00Z",
}
_MODELS = {"data": [_MODEL], "has_more": False, "first_id": None, "last_id": None}


@dataclasses.dataclass(frozen=True)
class Options:
    """How the server behaves where a request does not say it."""

    scenario: str = "ok"
    write_file: str = conversation.Request.write_file


class Server(socketserver.ThreadingTCPServer):
    """Listens on 127.0.0.1 as soon as it exists. Not http.server.HTTPServer: that one asks DNS for its own name."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, records: Records, options: Options | None = None) -> None:
        """Bind `port`, or a free one for 0."""
        self.records = records
        self.options = options or Options()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "MockAnthropic/1"
    disable_nagle_algorithm = True
    server: Server
    sequence: int | None = None  # of the connection's latest request for a message

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Say nothing on stderr; the log is the record."""

    def handle(self) -> None:
        """Serve one connection; that a client goes away is everyday life here."""
        try:
            super().handle()
        except OSError as error:
            self._note(seq=self.sequence, client_gone=repr(error))

    # ------------------------------------------------------------------------------------------------- requests

    def do_HEAD(self) -> None:
        self._note()
        self._send_json(200, {})

    def do_GET(self) -> None:
        path = self._bare_path
        if path == "/__stats":
            self._send_json(200, self.server.records.stats())
            return
        self._note()
        if path == "/v1/models":
            self._send_json(200, _MODELS)
        elif path == "/":
            self._send_json(200, {"ok": True})
        else:
            self._send_json(404, _NOT_FOUND)

    def do_POST(self) -> None:
        try:
            raw = self._read_body()
        except ValueError:
            self.close_connection = True
            self._fail(_BAD_BODY)
            return
        match self._bare_path:
            case "/__reset":
                self.server.records.reset()
                self._send_json(200, {})
            case "/v1/messages/count_tokens":
                self._note(model=conversation.parse(raw).get("model"))
                self._send_json(200, {"input_tokens": max(1, len(raw) // 4)})
            case "/v1/messages":
                self._messages(raw)
            case _:
                self._note(len=len(raw))
                self._send_json(404, _NOT_FOUND)

    def _read_body(self) -> bytes:
        if "chunked" not in (self.headers.get("transfer-encoding") or "").lower():
            return self.rfile.read(max(0, int(self.headers.get("content-length") or 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _messages(self, raw: bytes) -> None:
        body = conversation.parse(raw)
        records, options = self.server.records, self.server.options
        name = conversation.chosen_scenario(body, options.scenario)
        sequence, count = records.count(name, conversation.identity(body))
        self.sequence = sequence
        records.keep_body(sequence, raw)
        facts = records.describe(body)
        self._note(seq=sequence, n=count, scenario=name, headers=redacted_headers(dict(self.headers.items())), **facts)
        request = conversation.Request(body, count=count, now=int(time.time()), write_file=options.write_file)
        match scenarios.answer(name, request):
            case Silence.HANG:
                self._hang()
            case Silence.DROP:
                self._reset()
            case Failure() as failure:
                self._fail(failure)
            case Message() as message:
                self._say(message, request.model, stream=bool(body.get("stream")))

    # -------------------------------------------------------------------------------------------------- answers

    def _say(self, message: Message, model: str, *, stream: bool) -> None:
        if stream:
            self._stream(message, model)
        elif message.fault is None:
            self._send_json(200, wire.whole(message, model), message.headers)
        elif message.fault is Fault.HANG_MID:
            self._hang()
        elif message.fault is Fault.SSE_ERROR:
            self._send_json(529, {"type": "error", "error": wire.OVERLOADED})
        else:
            self._reset()

    def _stream(self, message: Message, model: str) -> None:
        headers = {"cache-control": "no-cache", "transfer-encoding": "chunked", **message.headers}
        self._start(200, "text/event-stream; charset=utf-8", headers)
        for step in wire.steps(message, model):
            match step:
                case wire.Event():
                    data = step.encode()
                    self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")
                case wire.Pause(seconds):
                    time.sleep(seconds)
                case wire.Break.END:
                    break
                case wire.Break.RESET:
                    self._reset()
                    return
                case wire.Break.HANG:
                    self._hang()
                    return
        self.wfile.write(b"0\r\n\r\n")

    def _fail(self, failure: Failure) -> None:
        media = "text/html" if failure.kind is None else "application/json"
        self._send(failure.status, media, wire.failure_body(failure), failure.headers)

    def _hang(self) -> None:
        """Send nothing (more) until the client goes away."""
        self.close_connection = True
        self.connection.settimeout(1)
        began = time.monotonic()
        while time.monotonic() - began < _HANG_AT_MOST:
            try:
                if not self.connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self._note(seq=self.sequence, client_closed_after=round(time.monotonic() - began, 2))

    def _reset(self) -> None:
        """End the connection with RST instead of FIN, when the handler returns."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    # -------------------------------------------------------------------------------------------------- helpers

    @property
    def _bare_path(self) -> str:
        return self.path.partition("?")[0]

    def _note(self, **fields: object) -> None:
        # A connection that broke before its request line has neither method nor path.
        method, path = getattr(self, "command", None), getattr(self, "path", "").partition("?")[0]
        self.server.records.note(method=method, path=path, **fields)

    def _start(self, status: int, media: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("content-type", media)
        self.send_header("request-id", wire.new_id("req"))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_json(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(content).encode(), headers or {})

    def _send(self, status: int, media: str, data: bytes, headers: dict[str, str]) -> None:
        self._start(status, media, {"content-length": str(len(data)), **headers})
        if self.command != "HEAD":
            self.wfile.write(data)
