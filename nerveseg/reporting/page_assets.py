"""Assets of every page: templates, styles, scripts, pictures and data as text, and the chart library.

A page opens from a disk without a network, so nothing in it refers outside its folder: Plotly is in the page,
compressed, or once beside a folder of pages. The page's content security policy makes the browser refuse anything else.
Text from a study is escaped by the templates, and data in a script cannot end the script.
"""

import base64
import gzip
import io
import json
import math
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image as Picture

from nerveseg.files import atomic_write

Pixels: TypeAlias = UInt8[np.ndarray[Any, Any], "height width *rgb"]  # grey, or with a third axis of three colours

PLOTLY = "assets/plotly.min.js"  # path below the folder that pages share

# Content security policy of a page: its own scripts and styles, pictures beside it, no connections.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'self' file:; style-src 'unsafe-inline'; "
    "img-src 'self' file: data: blob:; form-action 'none'; base-uri 'none'"
)
_TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **content: Any) -> str:
    """Render a page from a template of templates/.

    Text is escaped, `Markup` is not, and an undefined name is an error. Templates may call `css`, `script`,
    `plotly_inline` and `plotly_linked`, and use `policy`.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    given = {"css": css, "script": script, "plotly_inline": plotly_inline, "plotly_linked": plotly_linked}
    return environment.get_template(template).render(policy=POLICY, **given, **content)


def css(*names: str) -> Markup:
    """Return stylesheets of templates/ for a `<style>`; `page.css`, common to all pages, comes first."""
    return Markup("\n".join(_text(name) for name in names))


def script(name: str) -> Markup:
    """Return a script of templates/ for a `<script>`."""
    return Markup(_text(name))


def json_for_script(data: Any) -> Markup:
    """Encode data for `<script type="application/json">`; NaN and infinity become null, no value ends the script."""
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def plotly_inline() -> Markup:
    """Return script elements that contain Plotly, compressed; `window` gets the event `plotly-ready` or `-failed`."""
    packed, unpack = _packed_plotly(), _text("plotly_unpack.js")
    return Markup(f'<script id="plotly-packed" type="text/plain">{packed}</script>\n<script>\n{unpack}</script>')


def plotly_linked(folder: str = ".") -> Markup:
    """Return a script element that loads Plotly from a folder, relative to the page, with the same events."""
    ready, failed = (f"window.dispatchEvent(new Event('plotly-{state}'))" for state in ("ready", "failed"))
    source = Markup("{}/{}").format(folder, PLOTLY)
    return Markup(f'<script defer src="{source}" onload="{ready}" onerror="{failed}"></script>')


def write_plotly(folder: Path) -> Path:
    """Write Plotly below a folder, unless the same version exists there."""
    path, library = folder / PLOTLY, _plotly().encode()
    if not path.is_file() or path.read_bytes() != library:
        with atomic_write(path) as temporary:
            temporary.write_bytes(library)
    return path


def data_uri(picture: Pixels, form: Literal["jpeg", "webp"], quality: int | None = 85) -> str:
    """Encode a picture as a data URI, as `encoded` does."""
    return uri_of_file(encoded(picture, form, quality), form)


def uri_of_file(content: bytes, form: Literal["jpeg", "webp"]) -> str:
    """Return the content of a picture's file as a data URI."""
    return f"data:image/{form};base64," + base64.b64encode(content).decode("ascii")


def encoded(picture: Pixels, form: Literal["jpeg", "webp"], quality: int | None = 85) -> bytes:
    """Encode a picture: JPEG with colours at full resolution, or WebP, without loss if quality is None.

    WebP is smaller at the same quality.
    """
    options: dict[str, Any] = {"subsampling": 0, "optimize": True} if form == "jpeg" else {"method": 4}
    options |= {"lossless": True} if quality is None else {"quality": quality}
    file = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(picture)).save(file, format=form, **options)
    return file.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def _packed_plotly() -> str:
    packed = gzip.compress(_plotly().encode(), compresslevel=zlib.Z_BEST_COMPRESSION, mtime=0)
    return base64.b64encode(packed).decode("ascii")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
