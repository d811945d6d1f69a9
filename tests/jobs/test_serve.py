from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from cfbd_core.audit.audit import Audit
from cfbd_core.cli import main
from cfbd_core.errors import CfbdError, ParameterError
from cfbd_core.jobs import serve

ROOT = Path(__file__).resolve().parents[2]


class Handed(Exception):
    """Raised in place of the hand-over to Streamlit."""


@pytest.fixture
def handed(monkeypatch, tmp_path):
    """`cfbd app …` in an empty folder, up to the hand-over: (arguments, environment)."""
    (tmp_path / "packages" / "app").mkdir(parents=True)
    (tmp_path / "packages" / "app" / "server.py").touch()
    monkeypatch.setattr(serve, "PACKAGES_DIR", tmp_path / "packages")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def execve(path, arguments, environment):
        raise Handed(arguments, environment)

    monkeypatch.setattr(os, "execve", execve)

    def run(*arguments: object) -> tuple[list[str], dict[str, str]]:
        with pytest.raises(Handed) as caught:
            main(["app", *map(str, arguments)])
        return caught.value.args

    return run


@pytest.fixture
def taken_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def options(arguments: list[str]) -> dict[str, Any]:
    """What Streamlit is set to."""
    found: dict[str, Any] = json.loads(arguments[4])
    return found


def one_line(capsys, *arguments: object) -> str:
    assert main(["app", *map(str, arguments)]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    return shown.err


def test_the_audit_and_the_roots_reach_the_app(handed, tmp_path):
    Audit.create(tmp_path / "audit")
    (tmp_path / "data").mkdir()
    _, environment = handed("--audit", "../audit", "--root", "../data")
    assert environment["CFBD_APP_AUDIT"] == str(tmp_path / "audit")
    assert environment["CFBD_APP_ROOTS"].split(os.pathsep) == [
        str(tmp_path / "data"),
        str(tmp_path / "audit"),
    ]


def test_without_roots_the_app_may_touch_the_working_directory(handed, tmp_path):
    _, environment = handed()
    assert environment["CFBD_APP_AUDIT"] == ""
    assert environment["CFBD_APP_ROOTS"] == str(tmp_path / "here")


def test_it_listens_on_this_machine_only_and_knows_no_other_name(handed):
    found = options(handed("--port", 8765)[0])
    assert found["server.address"] == "localhost"
    assert found["server.port"] == 8765
    assert found["server.allowedHosts"] == ["localhost", "127.0.0.1", "::1"]


def test_a_proxys_name_is_allowed_too(handed):
    found = options(handed("--allow-host", "audit.example.org")[0])
    assert found["server.allowedHosts"][-1] == "audit.example.org"
    assert "localhost" in found["server.allowedHosts"]


@pytest.mark.parametrize("name", ["https://audit.example.org", "audit.example.org/x", "a*b", "", "a b"])
def test_what_is_no_name_of_a_host(capsys, handed, name):
    assert f"--allow-host {name}: give a name" in one_line(capsys, f"--allow-host={name}")


def test_another_address_is_told_to_be_open_to_others(handed, capsys):
    found = options(handed("--address", "0.0.0.0")[0])
    assert found["server.address"] == "0.0.0.0"
    assert "server.allowedHosts" not in found
    shown = capsys.readouterr()
    assert "http://localhost:" in shown.out
    assert "docs/LOGIN.md" in shown.err


def test_every_option_is_one_of_streamlits_and_of_its_type(handed):
    from streamlit import config

    for name, value in options(handed()[0]).items():
        default = config._config_options_template[name].default_val
        assert default is None or isinstance(value, (type(default), bool)), name


def test_the_variables_of_the_login_guide_are_heard_and_no_other(handed, monkeypatch):
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "audit")
    monkeypatch.setenv("STREAMLIT_SECRETS_FILES", "/run/secrets/app.toml")
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_AGENT_API", "true")
    monkeypatch.setenv("STREAMLIT_SERVER_MAX_UPLOAD_SIZE", "77")
    found = options(handed()[0])
    assert found["server.baseUrlPath"] == "audit"
    assert found["secrets.files"] == ["/run/secrets/app.toml"]
    assert found["server.enableAgentApi"] is False
    assert found["server.maxUploadSize"] != 77


def test_the_url_is_printed(handed, capsys):
    arguments, _ = handed()
    assert f"http://localhost:{options(arguments)['server.port']}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variables", "asked", "opens"),
    [
        ({}, (), False),
        ({"DISPLAY": ":0"}, (), True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, (), True),
        ({"DISPLAY": ":0"}, ("--no-browser",), False),
    ],
)
def test_a_browser_opens_only_where_one_can(handed, monkeypatch, variables, asked, opens):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ("--open" in handed(*asked)[0]) is opens


def test_the_working_directory_lends_the_app_no_modules(handed):
    arguments, environment = handed()
    assert arguments[1] == "-P"
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(serve.PACKAGES_DIR)


def test_a_folder_that_is_no_audit(capsys, handed, tmp_path):
    assert "no audit here" in one_line(capsys, "--audit", tmp_path)


def test_a_root_that_is_not_there(capsys, handed):
    assert "--root nowhere" in one_line(capsys, "--root", "nowhere")


@pytest.mark.skipif(os.pathsep != ":", reason="no folder can have a `;` in its name there")
def test_a_root_whose_name_cannot_be_handed_over(capsys, handed, tmp_path):
    (tmp_path / "a:b").mkdir()
    assert "rename it" in one_line(capsys, "--root", tmp_path / "a:b")


def test_a_taken_port(capsys, handed, taken_port):
    assert f"--port {taken_port}" in one_line(capsys, "--port", taken_port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port(capsys, handed, port):
    assert "65535" in one_line(capsys, "--port", port)


@pytest.mark.parametrize("address", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine(capsys, handed, address):
    assert f"--address {address}" in one_line(capsys, "--address", address)


def test_the_next_port_is_taken_when_nobody_named_one(monkeypatch, taken_port):
    monkeypatch.setattr(serve, "DEFAULT_PORT", taken_port)
    assert taken_port < serve.free_port("localhost", None) < taken_port + serve.PORTS_TRIED
    monkeypatch.setattr(serve, "PORTS_TRIED", 1)
    with pytest.raises(ParameterError, match="--port"):
        serve.free_port("localhost", None)


def test_an_installation_without_the_app(monkeypatch, tmp_path):
    monkeypatch.setattr(serve, "PACKAGES_DIR", tmp_path)
    with pytest.raises(CfbdError, match="not installed"):
        serve.check_installed()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost", "http://localhost:1"),
        ("0.0.0.0", "http://localhost:1"),
        ("::", "http://localhost:1"),
        ("::1", "http://[::1]:1"),
        ("192.0.2.1", "http://192.0.2.1:1"),
    ],
)
def test_the_url_of_an_address(address, expected):
    assert serve.url(address, 1) == expected


def test_the_login_example_has_every_key_that_streamlit_wants():
    text = (ROOT / "docs" / "LOGIN.md").read_text(encoding="utf-8")
    example = tomllib.loads(text.split("```toml\n")[1].split("```")[0])
    assert {"redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url"} == set(
        example["auth"]
    )
    assert example["auth"]["redirect_uri"].endswith("/oauth2callback")
    assert example["cfbd"]["allowed_emails"]


def test_a_real_server_answers_and_ctrl_c_ends_it_quietly(tmp_path):
    """A whole server with a page of its own, in a home without any Streamlit file."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("import streamlit as st\nst.write('hello')\n")
    shutil.copy(ROOT / "app" / "server.py", tmp_path / "app")
    start = (
        "from pathlib import Path; from cfbd_core.jobs import serve; "
        f"serve.PACKAGES_DIR = Path({str(tmp_path)!r}); serve.serve(None, browser=False)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", start],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = server.stdout.readline().split()[2]
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
                    assert answer.read() == b"ok"
                break
            except OSError:
                assert server.poll() is None, server.stdout.read()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        server.send_signal(signal.SIGINT)
        rest = server.communicate(timeout=30)[0]
    finally:
        server.kill()
    assert server.returncode == 0
    assert len(rest.splitlines()) <= 1
