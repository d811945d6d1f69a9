"""The app's server: nothing that lies around sets it up, and no page but its own reaches it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from app.server import is_own

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = """
[server]
enableAgentApi = true
enableStaticServing = true
enableCORS = false
enableXsrfProtection = false
trustedUserHeaders = {"X-User" = "email"}
cookieSecret = "known to all"
address = "0.0.0.0"
corsAllowedOrigins = ["http://evil.example.com"]
allowedHosts = ["evil.example.com"]
[client]
showErrorDetails = "full"
[theme]
base = "http://127.0.0.1:9/theme.toml"
font = "Far:https://evil.example.com/font.css"
[secrets]
files = ["/nowhere.toml"]
"""


@pytest.mark.parametrize(
    ("host", "origins", "own"),
    [
        ("localhost:8501", [], True),
        ("localhost:8501", ["http://localhost:8501"], True),
        ("LOCALHOST:8501", ["http://localhost:8501"], True),
        ("[::1]:8501", ["http://[::1]:8501"], True),
        ("audit.example.org", ["https://audit.example.org"], True),  # a proxy ends HTTPS
        ("localhost:8501", ["http://localhost:8502"], False),
        ("localhost:8501", ["http://127.0.0.1:8501"], False),
        ("localhost:8501", ["null"], False),
        ("localhost:8501", [""], False),
        ("localhost:8501", ["http://localhost:8501", "http://evil.example.com"], False),
        ("localhost:8501", ["http://localhost:8501.evil.example.com"], False),
    ],
)
def test_which_requests_are_of_the_apps_own_pages(host, origins, own):
    raw = [(b"host", host.encode()), *((b"origin", origin.encode()) for origin in origins)]
    assert is_own(Headers(raw=raw)) is own


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[int]:
    """The port of a server with a page of its own, started where hostile files lie and with hostile variables."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "app" / "main.py").write_text("import streamlit as st\nst.write('hello')\n")
    for place in (folder, folder / "home", folder / "app"):
        (place / ".streamlit").mkdir(parents=True)
        (place / ".streamlit" / "config.toml").write_text(HOSTILE)
    start = (
        "from pathlib import Path; from cfbd_core.jobs import serve; "
        f"serve.PACKAGES_DIR = Path({str(folder)!r}); serve.serve(None, browser=False)"
    )
    hostile = {"STREAMLIT_SERVER_ENABLE_AGENT_API": "true", "STREAMLIT_SERVER_ENABLE_CORS": "false"}
    server = subprocess.Popen(
        [sys.executable, "-c", start],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **hostile, "HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)},
    )
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline().split()[2].rpartition(":")[2])
        deadline = time.monotonic() + 60
        while answer(port, "GET", "/_stcore/health")[0] != 200:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield port
    finally:
        server.kill()
        server.wait()


def answer(port: int, method: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of one request; 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body="{}" if method != "GET" else None, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except OSError:
        return 0, ""
    finally:
        connection.close()


def opens(port: int, host: str, origin: str | None) -> bool:
    """Whether the app's websocket opens for this host and origin."""
    lines = ["GET /_stcore/stream HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    lines += [f"Origin: {origin}"] if origin else []
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return b" 101 " in connection.recv(300).split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("host", "origin", "right"),
    [
        ("localhost:{port}", "http://localhost:{port}", True),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", True),
        ("[::1]:{port}", "http://[::1]:{port}", True),
        ("localhost:{port}", None, True),
        ("localhost:{port}", "http://localhost:9999", False),
        ("localhost:{port}", "http://127.0.0.1:{port}", False),
        ("localhost:{port}", "null", False),
        ("localhost:{port}", "http://evil.example.com", False),
        ("evil.example.com:{port}", "http://evil.example.com:{port}", False),
        ("evil.example.com", None, False),
    ],
)
def test_whose_websocket_opens(served, host, origin, right):
    assert opens(served, host.format(port=served), origin and origin.format(port=served)) is right


def test_a_request_of_another_port_or_by_another_name_is_refused(served):
    assert answer(served, "GET", "/_stcore/health", Origin="http://localhost:9999")[0] == 403
    assert answer(served, "GET", "/", Host="evil.example.com")[0] == 400


@pytest.mark.parametrize("path", ["/", "/audits", "/coarse", "/_stcore/health", "/no/such/page"])
def test_a_page_of_another_origin_cannot_frame_the_app(served, path):
    connection = http.client.HTTPConnection("127.0.0.1", served, timeout=30)
    connection.request("GET", path, headers={"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"})
    told = connection.getresponse().getheader("Content-Security-Policy")
    connection.close()
    assert told == "frame-ancestors 'self'"


def test_no_file_or_variable_opens_more_of_the_server(served):
    assert "does not serve" in answer(served, "POST", "/_stcore/agent/interact")[1]
    assert answer(served, "GET", "/app/static/main.py")[1].count("streamlit as st") == 0
    assert json.loads(answer(served, "GET", "/_stcore/host-config")[1])["allowedOrigins"] == []


def test_no_option_of_streamlits_is_read_from_a_file_or_a_variable(tmp_path):
    """Every option that there is, so those of a later Streamlit, too."""
    told = (
        "import json; from streamlit import config; from app import server; server.read_no_config_files();"
        "options = config.get_config_options(force_reparse=True);"
        "print(json.dumps({n: str(o.value) for n, o in options.items() if n != 'server.cookieSecret'}))"
    )

    def options(**variables: str) -> dict[str, str]:
        environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **variables}
        done = subprocess.run(
            [sys.executable, "-c", told], cwd=tmp_path, env=environment, capture_output=True, check=True
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))

    plain = options()
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text(HOSTILE)
    variables = {f"STREAMLIT_{name.upper().replace('.', '_')}": "true" for name in plain}
    assert options(**variables) == plain
