"""How the server says no: a status and one JSON line that names the field and the remedy."""

import logging
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

log = logging.getLogger(__name__)

_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A request that cannot be granted.

    Args:
        status: HTTP status, 4xx or 503.
        message: One line: what was found, what was expected, what to do.
        headers: Extra headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals, ours and aiohttp's, into JSON; nothing is ever cached or sniffed."""
    try:
        response = await handler(request)
    except Refusal as refusal:
        response = web.json_response({"error": str(refusal)}, status=refusal.status, headers=refusal.headers)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        allowed = {"Allow": answer.headers["Allow"]} if "Allow" in answer.headers else None
        response = web.json_response({"error": _explain_status(request, answer)}, status=answer.status, headers=allowed)
    if not response.prepared:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def _explain_status(request: web.Request, answer: web.HTTPException) -> str:
    if isinstance(answer, web.HTTPMethodNotAllowed):
        return f"{request.path} does not take {request.method}; it takes {', '.join(sorted(answer.allowed_methods))}"
    if answer.status == 404:
        return f"there is nothing at {request.path}; the page is at /"
    return f"{request.method} {request.path}: {answer.reason}"


def same_origin_only(host: str, allowed_hosts: tuple[str, ...]) -> Middleware:
    """Make the middleware that keeps foreign web pages out.

    A page elsewhere may send simple requests to a local server (cross-site
    request forgery), or point its own name at 127.0.0.1 (DNS rebinding). So an
    `Origin` must be the server's own, and on loopback the `Host` must be a loopback name.

    Args:
        host: Address the server listens on.
        allowed_hosts: Further names for the Host header.
    """
    loopback = host in _LOOPBACK_NAMES
    names = _LOOPBACK_NAMES | {host} | set(allowed_hosts)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = urlsplit(f"//{request.host}").hostname or ""
        if (loopback or allowed_hosts) and name not in names:
            raise Refusal(
                403, f'Host is "{request.host}", this server answers to {sorted(names)}: see server.allowed_hosts'
            )
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise Refusal(403, f'Origin is "{origin}", requests are taken only from pages of http://{request.host}')
        return await handler(request)

    return guard


async def read_body(request: web.Request, limit_bytes: int, what: str) -> bytes:
    """The request's body.

    Args:
        request: Its body has not been read.
        limit_bytes: Largest body taken; nothing beyond it is kept in memory.
        what: What the body should be, named in the refusal.

    Raises:
        Refusal: 413, the body is larger; 400, it is empty.
    """
    too_large = Refusal(413, f"the body ({what}) is larger than {limit_bytes} bytes, send at most that many")
    if (request.content_length or 0) > limit_bytes:
        raise too_large
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > limit_bytes:
            raise too_large
    if not body:
        raise Refusal(400, f"the body is empty, it should be {what}")
    return bytes(body)
