"""The picture of the dashboard: its own queries are asked, and what is answered is drawn."""

import http.server
import json
import pathlib
import sys
import threading
import urllib.error
import urllib.parse
from collections.abc import Iterator

import pytest

from hack import panels
from hack.generate import dashboard

SPAN = panels.Span(start=1000.0, end=1600.0, rate="2m")
QUERIES = [
    query for row in dashboard.ROWS.values() for panel in row if panel.kind == "timeseries" for query in panel.queries
]


class Prometheus(http.server.ThreadingHTTPServer):
    """Answers everything with the same two series, or none."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[dict[str, str]] = []
        self.empty = False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Prometheus

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        """A range."""
        self.server.asked.append(dict(urllib.parse.parse_qsl(self.path.partition("?")[2])))
        values = [[1000, "1"], [1300, "NaN"], [1600, "2.5"]]
        result = [{"metric": {"phase": phase}, "values": values} for phase in ("Running", "Queued")]
        body = json.dumps({"data": {"result": [] if self.server.empty else result}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    """On loopback."""
    with Prometheus() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_query_is_asked_without_variables_and_its_answer_named(prometheus: Prometheus) -> None:
    """By its labels, in minutes since the beginning."""
    first, second = panels.ask(prometheus.url, ("sum by (phase) (rate(x{@}[%]))", "{{phase}} {{gone}}!"), SPAN)
    assert prometheus.asked == [
        {
            "query": 'sum by (phase) (rate(x{namespace=~".*",pod=~".*"}[2m]))',
            "start": "1000.0",
            "end": "1600.0",
            "step": "5.0",
        }
    ]
    assert (first.legend, second.legend) == ("Running !", "Queued !")
    assert (list(first.minutes), first.values[0], first.values[2]) == ([0, 5, 10], 1, 2.5)


@pytest.mark.parametrize("empty", [False, True])
def test_all_queries_of_all_panels_are_drawn(prometheus: Prometheus, tmp_path: pathlib.Path, *, empty: bool) -> None:
    """Also where there is nothing to draw."""
    prometheus.empty = empty
    panels.draw(prometheus.url, SPAN, tmp_path / "x.png", caption="Played.")
    assert len(prometheus.asked) == len(QUERIES)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_says_what_it_wrote_or_why_not(
    prometheus: Prometheus,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A Prometheus that is not there is no traceback."""
    out = tmp_path / "folder" / "x.png"
    monkeypatch.setattr(sys, "argv", ["panels", prometheus.url + "/", "--out", str(out)])
    assert panels.main() == 0
    assert capsys.readouterr().out == f"wrote {out}\n"

    def fail(*_: object) -> None:
        raise urllib.error.URLError("refused")

    monkeypatch.setattr(panels, "ask", fail)
    assert panels.main() == 1
    assert "is it up?" in capsys.readouterr().err
