"""The app's server process: Streamlit as ``cfbd app`` sets it up, and for nobody but its own pages.

No ``config.toml`` is read and no ``STREAMLIT_…`` variable: one that lies where a user stands, among files from
elsewhere, could open Streamlit's interface for programs, name people by a header, or load fonts from afar.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st
import uvicorn.config
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config as streamlit_config

from app.settings import Settings

MAIN = Path(__file__).with_name("main.py")


def main(arguments: Sequence[str]) -> None:
    """Serve until a signal ends it: ``OPTIONS`` (JSON, by their names), and the address to open in a browser."""
    parser = argparse.ArgumentParser()
    parser.add_argument("options", type=json.loads)
    parser.add_argument("--open", metavar="URL")
    request = parser.parse_args(arguments)
    read_no_config_files()
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises it anew when all is closed
        signal.signal(number, lambda *_: sys.exit(0))
    uvicorn.config.LOGGING_CONFIG["loggers"]["uvicorn"]["level"] = "WARNING"  # our own line says where
    run(request.options, request.open)


def run(options: dict[str, Any], address: str | None) -> None:
    """Serve with these options of Streamlit's; every other stands at its default."""

    @asynccontextmanager
    async def opened(_app: st.App) -> AsyncIterator[dict[str, Any]]:
        if address is not None:
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        yield {}

    names = options.get("server.allowedHosts") or ["*"]
    hosts = [f"[{name}]" if ":" in name else name for name in names]  # as an address says IPv6
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(OwnPagesOnly),
    ]
    base = f"/{options.get('server.baseUrlPath', '').strip('/')}".rstrip("/")
    routes = [Route(f"{base}/", partial(home, base))]
    st.App(MAIN, routes=routes, middleware=middleware, lifespan=opened).run(config=options)


async def home(base: str, request: Request) -> Response:
    """Lead the bare address on: within the app that would be a step more for who goes back."""
    is_open = "audit" in request.query_params or Settings.from_environment().audit is not None
    address = f"{base}/{'coarse' if is_open else 'audits'}"
    return RedirectResponse(f"{address}?{request.url.query}" if request.url.query else address)


def read_no_config_files() -> None:
    """Let Streamlit find no ``config.toml``, now or when one is written later; its secrets it finds as ever."""
    every_file = streamlit_config.get_config_files

    def but_those(file_name: str) -> list[str]:
        return [] if file_name == "config.toml" else every_file(file_name)

    streamlit_config.get_config_files = but_those


class OwnPagesOnly:
    """Refuse what a page of another origin asks for, another port of this machine among them.

    Streamlit lets any page of ``localhost`` in, whatever its port: another program's, or another user's. A program
    that is no browser sends no origin. Nor does a frame that a page of another origin draws: the browser is told to
    leave it empty, or what one presses there would be pressed in the app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one request or websocket (ASGI)."""
        if scope["type"] in ("http", "websocket") and not is_own(Headers(scope=scope)):
            refused: ASGIApp = PlainTextResponse("asked for by a page of another origin", status_code=403)
            await refused(scope, receive, send)
        else:
            await self._app(scope, receive, partial(_send_unframed, send))


async def _send_unframed(send: Send, message: Message) -> None:
    """Send, with the word to the browser that none but the app's own pages may frame this one."""
    if message["type"] == "http.response.start":
        MutableHeaders(scope=message)["Content-Security-Policy"] = "frame-ancestors 'self'"
    await send(message)


def is_own(headers: Headers) -> bool:
    """Whether a request is of the page that it goes to, or of no page. A proxy that ends HTTPS changes the scheme."""
    host = headers.get("host", "").lower()
    return all(origin.lower().partition("://")[2] == host for origin in headers.getlist("origin"))


if __name__ == "__main__":
    main(sys.argv[1:])
