"""What a browser gets: the page, the files it needs, and refusals in words.

Nothing of it comes from anywhere but here: a control room works without the internet, and tells
nobody that it is looked at. Whom it is given to is `serving`'s to decide.
"""

from __future__ import annotations

import html
import string
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from aiohttp import web

from ksi_tui.engine.errors import ConfigError

_HERE: Final = Path(__file__).parent
_JS, _CSS, _FONT = "text/javascript", "text/css", "font/ttf"
_OWN: Final[Mapping[str, str]] = {"page.css": _CSS, "page.js": _JS}
_THEIRS: Final[Mapping[str, tuple[str, str]]] = {
    "textual.js": ("js/textual.js", _JS),
    "xterm.css": ("css/xterm.css", _CSS),
    "mono.ttf": ("fonts/RobotoMono-VariableFont_wght.ttf", _FONT),
    "mono-italic.ttf": ("fonts/RobotoMono-Italic-VariableFont_wght.ttf", _FONT),
}
_FONT_SIZES: Final = frozenset(map(str, range(6, 73)))
_FONT_SIZE: Final = 16
_AGAIN_S: Final = 3


def _headers(sources: str) -> dict[str, str]:
    """Return what bounds a page: what it may load, and who may show or read it."""
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"default-src 'none'; {sources}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


class Pages:
    """The page and its files, read once; raises ConfigError where textual-serve has not them."""

    def __init__(self) -> None:
        found = find_spec("textual_serve")
        assert found is not None
        assert found.origin is not None
        theirs = Path(found.origin).parent / "static"
        files = {name: (_HERE / name, kind) for name, kind in _OWN.items()}
        files |= {name: (theirs / place, kind) for name, (place, kind) in _THEIRS.items()}
        try:
            self._files = {name: (path.read_bytes(), kind) for name, (path, kind) in files.items()}
        except OSError as error:
            raise ConfigError(
                f"this textual-serve is not one that `ksi-tui web` knows: {error.filename}: "
                f"{error.strerror}"
            ) from None
        self._page = string.Template((_HERE / "page.html").read_text(encoding="utf-8"))

    def page(self, host: str, key: str, font_size: str) -> web.Response:
        """Return the page for a browser that reached us as `host`, which was looked at."""
        text = self._page.substitute(
            socket=html.escape(f"ws://{host}/{key}/ws"),
            font_size=font_size if font_size in _FONT_SIZES else _FONT_SIZE,
        )
        sources = (
            f"script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; "
            f"img-src data:; connect-src 'self' ws://{host}"
        )
        return web.Response(text=text, content_type="text/html", headers=_headers(sources))

    def file(self, name: str) -> web.Response:
        """Return a file of the page's."""
        if name not in self._files:
            return told(404, "there is no such file")
        body, kind = self._files[name]
        response = web.Response(body=body, content_type=kind, headers=_headers("sandbox"))
        response.enable_compression()  # half a megabyte, and the line may be slow
        return response


def told(status: int, words: str, *, close: bool = False) -> web.Response:
    """Return a refusal as a page; with 503 a browser asks again by itself."""
    text = string.Template((_HERE / "told.html").read_text(encoding="utf-8"))
    response = web.Response(
        text=text.substitute(words=html.escape(words)),
        status=status,
        content_type="text/html",
        headers=_headers("style-src 'unsafe-inline'; img-src data:"),
    )
    if status == 503:
        response.headers["Refresh"] = str(_AGAIN_S)
    if close:
        response.force_close()
    return response
