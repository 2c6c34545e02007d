"""What all pages share: templates, static files, QR codes, and the headers of HTML.

Everything comes from the package itself. A static file has a digest of its content in its name, so
a browser keeps it for ever and never shows an old one.
"""

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import segno
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

_DIGEST_LENGTH = 12
# What fits into one packet is not worth squeezing.
_GZIP_LEAST_BYTES = 1_000
_GZIP_LEVEL = 6
_QR_CODES_KEPT = 512
# The white border that a reader needs to find the code, in modules.
_QR_QUIET = 4

# No script but our own, nothing from anywhere else, and no page that could frame this one.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types ui"
)
HTML_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    # The address of a page holds its secret.
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}


def environment() -> Environment:
    """Return the templates: all that is put into them is escaped, and nothing may be missing."""
    return Environment(
        loader=PackageLoader("counterfoil.web", "templates"),
        # Whatever its suffix, a template makes HTML.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def html(request: Request, body: str, status: int = 200) -> Response:
    """Return HTML with the headers that every page has."""
    return _squeezed(request, body.encode(), "text/html; charset=utf-8", status, HTML_HEADERS)


def _squeezed(
    request: Request, body: bytes, media_type: str, status: int, headers: dict[str, str]
) -> Response:
    """Return an answer, compressed where it is worth it and the browser takes it.

    Nothing that a stranger chooses is ever compressed together with a secret: a page does not
    repeat what was asked for.
    """
    if len(body) >= _GZIP_LEAST_BYTES and _takes_gzip(request):
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        headers = headers | {"Content-Encoding": "gzip"}
    return Response(body, status, headers, media_type)


def _takes_gzip(request: Request) -> bool:
    wanted = request.headers.get("accept-encoding", "")
    return any(each.strip().partition(";")[0] == "gzip" for each in wanted.split(","))


# --- static files ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    media_type: str


class Assets:
    """The static files, read once; each is known by its name, and served under its digest."""

    def __init__(self) -> None:
        self._served: dict[str, _Asset] = {}
        self._names: dict[str, str] = {}
        for file in resources.files("counterfoil.web").joinpath("static").iterdir():
            stem, _, suffix = file.name.rpartition(".")
            body = file.read_bytes()
            digest = hashlib.sha256(body).hexdigest()[:_DIGEST_LENGTH]
            media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            self._names[file.name] = f"{stem}.{digest}.{suffix}"
            self._served[self._names[file.name]] = _Asset(body, media_type)

    def path(self, name: str) -> str:
        """Return where a file is served."""
        return f"/static/{self._names[name]}"

    async def serve(self, request: Request) -> Response:
        """Answer with the file of that name and digest, which never changes."""
        found = self._served.get(request.path_params["name"])
        if found is None:
            return Response("Not found\n", 404, media_type="text/plain")
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        return _squeezed(request, found.body, found.media_type, 200, headers)


# --- QR codes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QrCode:
    """A QR code: the path of its dark modules in a square of `size`, with its white border."""

    size: int
    path: str


@lru_cache(maxsize=_QR_CODES_KEPT)
def qr_code(text: str) -> QrCode:
    """Return the QR code of a text, with the error correction that a scratched screen needs."""
    rows = segno.make_qr(text, error="m", boost_error=False).matrix
    parts: list[str] = []
    for y, row in enumerate(rows, _QR_QUIET):
        modules = "".join("1" if module else "0" for module in row)
        runs = [(run.start(), len(run[0])) for run in re.finditer("1+", modules)]
        # A line runs along the middle of its row, one module thick.
        at = 0
        for start, length in runs:
            move = f"m{start - at} 0" if at else f"M{start + _QR_QUIET} {y}.5"
            parts.append(f"{move}h{length}")
            at = start + length
    return QrCode(len(rows) + 2 * _QR_QUIET, "".join(parts))
