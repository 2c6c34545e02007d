"""The document at /api/openapi.json, made from the table of endpoints.

docs/decisions/001-openapi-from-msgspec.md says why it is assembled here.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from counterfoil.web import examples, views
from counterfoil.web.endpoints import Endpoint, Parameter

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_ERROR = {"$ref": _REF.format(name="ErrorAnswer")}
_KEY = "ApiKey"
_REQUEST_ID = "X-Request-Id"

_MEANINGS = {
    400: "The body cannot be read.",
    401: "There is no key, or it is none of ours.",
    403: "The key may not do this.",
    404: "There is no such thing, or it belongs to somebody else.",
    409: "The state of things does not allow it.",
    413: "The body is too large.",
    422: "One or more fields are wrong; all of them are told.",
    429: "Too many requests; `Retry-After` says when to come back.",
    503: "Something we depend on does not answer now; try again later.",
}
_TAGS = {
    "Invoices": "Asking for money, and hearing whether it has come.",
    "Inbox": "What came and pays no invoice, and moving it by hand.",
    "Wallets": "What a merchant receives on: public keys and addresses, nothing that can spend.",
    "Test mode": "Paying with the simulator's coin, so that a shop can be tried without money.",
    "Operation": "For whoever runs the server.",
}


def encode(endpoints: Sequence[Endpoint]) -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(document(endpoints))


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the document."""
    types = {kind for endpoint in endpoints for kind in _types(endpoint)} | {views.ErrorAnswer}
    refs, schemas = msgspec.json.schema_components(
        sorted(types, key=lambda kind: kind.__name__),
        schema_hook=_special,
        ref_template=_REF,
    )
    by_type = dict(zip(sorted(types, key=lambda kind: kind.__name__), refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(endpoint.path, {})
        operations[endpoint.method.lower()] = _operation(endpoint, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Counterfoil",
            "version": version("counterfoil"),
            "summary": "Crypto invoices, paid to the merchant's own wallet.",
            "description": "Times are UTC, amounts are texts, ids are numbers. Keys of answers are "
            "only ever added.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                _KEY: {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "The API key as it is; `Bearer` may stand before it.",
                }
            },
            "headers": {
                _REQUEST_ID: {
                    "description": "Names this request in the server's log.",
                    "schema": {"type": "string"},
                    "required": True,
                }
            },
        },
    }


def _types(endpoint: Endpoint) -> Iterable[type[msgspec.Struct]]:
    yield from endpoint.answers.values()
    if endpoint.body is not None:
        yield endpoint.body


def _special(kind: type) -> dict[str, Any]:
    """Return the schema of a type that msgspec does not know."""
    if issubclass(kind, views.Special):
        return kind.schema
    raise NotImplementedError


def _operation(endpoint: Endpoint, schemas: Mapping[type, Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": endpoint.description,
    }
    if endpoint.scope is not None:
        found["description"] += f" Needs a key with the scope *{endpoint.scope.label}* or higher."
    found["security"] = [] if endpoint.scope is None else [{_KEY: []}]
    if endpoint.parameters:
        found["parameters"] = [_parameter(each) for each in endpoint.parameters]
    if endpoint.body is not None:
        content = {
            "schema": schemas[endpoint.body],
            "examples": examples.REQUESTS[endpoint.name],
        }
        found["requestBody"] = {"required": True, "content": {_JSON: content}}
    found["responses"] = _responses(endpoint, schemas)
    return found


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.place == "path",
        "schema": parameter.schema,
        "example": parameter.example,
    }


def _responses(
    endpoint: Endpoint, schemas: Mapping[type, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    found = {
        str(status): _response(
            "It worked." if status < 300 else _MEANINGS[status],
            schemas[kind],
            {"example": examples.ANSWERS[endpoint.name, status]},
        )
        for status, kind in endpoint.answers.items()
    }
    if not endpoint.answers:
        found["200"] = _response("It worked.", {"type": "object"}, {})
    for status, codes in endpoint.all_errors.items():
        named = ", ".join(f"`{code}`" for code in codes)
        found[str(status)] = _response(
            f"{_MEANINGS[status]} Codes: {named}.",
            _ERROR,
            {"examples": {code: {"value": _error(endpoint, code)} for code in codes}},
            {"Retry-After": _RETRY_AFTER} if status == 429 else {},
        )
    return dict(sorted(found.items()))


_RETRY_AFTER = {
    "description": "Seconds to wait.",
    "schema": {"type": "integer", "minimum": 1},
    "required": True,
}


def _response(
    description: str,
    schema: Mapping[str, Any],
    shown: Mapping[str, Any],
    headers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {
            _REQUEST_ID: {"$ref": f"#/components/headers/{_REQUEST_ID}"},
            **(headers or {}),
        },
        "content": {_JSON: {"schema": schema, **shown}},
    }


def _error(endpoint: Endpoint, code: str) -> dict[str, Any]:
    field, message = examples.error(endpoint.name, code)
    error = {"code": code, "message": message}
    if field is not None:
        error["field"] = field
    return {"success": False, "error": error}
