"""The floor: a bare ASGI app under uvicorn that stores nothing and always says the same."""

import sys

import uvicorn

ANSWER = (
    b'{"success":true,"invoice":{"id":12345,"share_token":"AAAAAAAAAAAAAAAAAAAAAA",'
    b'"created_at":"2025-11-11T11:11:00.000Z",'
    b'"pay_url":"http://127.0.0.1:8000/pay-invoice?share_token=AAAAAAAAAAAAAAAAAAAAAA"}}'
)
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(ANSWER)).encode()),
]


async def app(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  # bare
    """Read the body and answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
    )
