"""``cfbd app``: hand this process over to Streamlit, set up so that no other configuration gets between.

The app learns what it may touch from two environment variables: ``CFBD_APP_AUDIT``, the audit to open
(absolute, or empty), and ``CFBD_APP_ROOTS``, the folders it may read and write below.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from cfbd_core.errors import CfbdError, ParameterError
from cfbd_core.machine.assets import PACKAGES_DIR

AUDIT_VARIABLE, ROOTS_VARIABLE = "CFBD_APP_AUDIT", "CFBD_APP_ROOTS"
DEFAULT_ADDRESS, DEFAULT_PORT = "localhost", 8501
PORTS_TRIED = 50
LOOPBACK = ("localhost", "127.0.0.1", "::1")

# Streamlit's options, as `streamlit config show` names them. The app's process reads no config.toml and no
# variable (:mod:`app.server`), so every other stands at Streamlit's default. What would open more of the server
# than the app needs is named here all the same.
OPTIONS: dict[str, Any] = {
    "browser.gatherUsageStats": False,
    "client.allowedOrigins": [],  # pages that may frame the app and steer it
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    # A form that a button fills has first values as well.
    "global.disableWidgetStateDuplicationWarning": True,
    "logger.hideWelcomeMessage": True,  # our own line says where; theirs asks a site for our address
    "logger.level": "warning",
    "runner.magicEnabled": False,
    "server.corsAllowedOrigins": [],
    "server.enableAgentApi": False,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "server.headless": True,  # :mod:`app.server` opens the browser
    "server.maxMessageSize": 200,  # MB; a map of a million pairs is about 30
    "server.maxUploadSize": 1,  # MB; nothing is uploaded
    "server.runOnSave": False,
    "server.allowRunOnSave": False,
    "server.scriptHealthCheckEnabled": False,
    "server.showEmailPrompt": False,
    "server.trustedUserHeaders": {},
    "server.unsafeMetricsUserAttributes": [],
}
# The two that docs/LOGIN.md leaves to whoever runs a server, by the variables that set them.
BASE_PATH_VARIABLE, SECRETS_VARIABLE = "STREAMLIT_SERVER_BASE_URL_PATH", "STREAMLIT_SECRETS_FILES"

# Okabe and Ito's colours tell themselves apart with every common colour blindness. Yellow and black are
# left out: one is lost on white, the other on black.
CATEGORIES_ON_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B7280")
CATEGORIES_ON_DARK = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#F0E442", "#A3ACB8")

# Streamlit follows the system's choice of light or dark, since both are defined.
THEME: dict[str, Any] = {
    "theme.light.primaryColor": "#2F6DB5",
    "theme.light.backgroundColor": "#FFFFFF",
    "theme.light.secondaryBackgroundColor": "#F3F5F8",
    "theme.light.textColor": "#1F2933",
    "theme.light.linkColor": "#2F6DB5",
    "theme.light.borderColor": "#D8DEE6",
    "theme.light.chartCategoricalColors": list(CATEGORIES_ON_LIGHT),
    "theme.dark.primaryColor": "#6FA8E8",
    "theme.dark.backgroundColor": "#14181D",
    "theme.dark.secondaryBackgroundColor": "#1E242C",
    "theme.dark.textColor": "#E4E8ED",
    "theme.dark.linkColor": "#8DBBF0",
    "theme.dark.borderColor": "#37414D",
    "theme.dark.chartCategoricalColors": list(CATEGORIES_ON_DARK),
}


def serve(
    audit: Path | None,
    roots: Sequence[Path] = (),
    port: int | None = None,
    address: str = DEFAULT_ADDRESS,
    allowed_hosts: Sequence[str] = (),
    browser: bool = True,
) -> NoReturn:
    """Become the app's server; Ctrl-C ends it with exit code 0.

    ``roots`` defaults to the working directory; the audit's own folder is always added. ``port`` None
    takes 8501 or the next free one. ``allowed_hosts`` are further names that browsers may use for this
    machine (those of a reverse proxy). Raises CfbdError for an audit, a root, an address or a port that
    cannot be used.
    """
    check_installed()
    environment = app_environment(os.environ, audit, roots)
    chosen = free_port(address, port)
    options = streamlit_options(os.environ, chosen, address, allowed_hosts)
    has_browser = browser and has_display(os.environ)
    # -P: `python -m` would look for modules in the working directory first, among the user's own files.
    command = [sys.executable, "-P", "-m", "app.server", json.dumps(options)]
    command += ["--open", url(address, chosen)] if has_browser else []
    print(f"CFBD Auditor: {url(address, chosen)} (Ctrl-C ends it)", flush=True)
    if address not in LOOPBACK:
        print("other machines can reach it too; docs/LOGIN.md puts a login before it", file=sys.stderr)
    os.execve(sys.executable, command, environment)


def check_installed() -> None:
    """Raise CfbdError where the app or Streamlit is not installed."""
    server = PACKAGES_DIR / "app" / "server.py"
    if not server.is_file():
        raise CfbdError(f"{server}: the app is not installed; use a checkout of the repository")
    if find_spec("streamlit") is None:
        raise CfbdError("streamlit is not installed: pip install -r requirements.txt")


def app_environment(
    inherited: Mapping[str, str], audit: Path | None, roots: Sequence[Path]
) -> dict[str, str]:
    """Return the environment of the app's process: ``inherited`` and what the app may touch."""
    if audit is not None:
        from cfbd_core.audit.audit import Audit

        Audit.open(audit)
    for root in roots:
        if not root.is_dir():
            raise ParameterError(f"--root {root}: no such folder; give one that exists")
    allowed = [*(roots or [Path.cwd()]), *([] if audit is None else [audit])]
    folders = list(dict.fromkeys(str(folder.resolve()) for folder in allowed))
    for folder in folders:
        if os.pathsep in folder:
            raise ParameterError(
                f"{folder}: the app takes no folder with `{os.pathsep}` in its name; rename it"
            )
    # Our own packages come first, so that nothing installed or lying around under their names is taken.
    search = [str(PACKAGES_DIR), *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **inherited,
        AUDIT_VARIABLE: "" if audit is None else str(audit.resolve()),
        ROOTS_VARIABLE: os.pathsep.join(folders),
        "PYTHONPATH": os.pathsep.join(search),
    }


def streamlit_options(
    environment: Mapping[str, str], port: int, address: str, allowed_hosts: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what Streamlit is set to, by its options' names. Raises ParameterError for a host's name that is none."""
    for host in allowed_hosts:
        if not re.fullmatch(r"(\*\.)?[\w.:-]+", host):
            raise ParameterError(
                f"--allow-host {host}: give a name such as audit.example.org, without port or path"
            )
    options = OPTIONS | THEME | {"server.address": address, "server.port": port}
    if address in LOOPBACK:
        # A hostile page could point its own name at this machine (DNS rebinding) and so reach the app.
        options["server.allowedHosts"] = [*LOOPBACK, *allowed_hosts]
    if BASE_PATH_VARIABLE in environment:
        options["server.baseUrlPath"] = environment[BASE_PATH_VARIABLE]
    if SECRETS_VARIABLE in environment:
        options["secrets.files"] = environment[SECRETS_VARIABLE].split()
    return options


def has_display(environment: Mapping[str, str]) -> bool:
    """Return whether a browser could open here: on Linux only with a display."""
    return sys.platform != "linux" or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def url(address: str, port: int) -> str:
    """Return where a browser on this machine finds the app."""
    host = "localhost" if address in ("0.0.0.0", "::") else address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def free_port(address: str, port: int | None) -> int:
    """``port`` if it is free; for None, the first free one from 8501 on."""
    if port is not None:
        if not 1 <= port <= 65535:
            raise ParameterError(f"--port {port}: ports go from 1 to 65535")
        if not _is_free(address, port):
            raise ParameterError(f"--port {port}: taken or not allowed here; give another --port")
        return port
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
        if _is_free(address, candidate):
            return candidate
    last = DEFAULT_PORT + PORTS_TRIED - 1
    raise ParameterError(f"ports {DEFAULT_PORT} to {last} are all taken; give a free one with --port")


def _is_free(address: str, port: int) -> bool:
    """Return whether Streamlit could listen there; it binds the same way."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen()
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise ParameterError(f"--address {address}: not an address of this machine") from error
    return True
