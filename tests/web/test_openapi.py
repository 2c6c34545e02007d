"""The document: valid, complete, and true of what the server does."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from counterfoil.core.access import Scope
from counterfoil.web import examples, views
from counterfoil.web.endpoints import Endpoint
from counterfoil.web.openapi import document, encode
from counterfoil.web.table import ENDPOINTS
from tests.web.bad_bodies import body
from tests.web.bad_input import corpus
from tests.web.test_contract import COMPLETE
from tests.web.world import World

DOCUMENT: dict[str, Any] = document(ENDPOINTS)
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, by_method in DOCUMENT["paths"].items():
        for method, operation in by_method.items():
            yield method.upper(), path, operation


def valid(schema: dict[str, Any], value: object) -> bool:
    """Tell whether a schema of the document allows a value."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return Draft202012Validator(whole).is_valid(value)


async def test_the_server_hands_it_out_without_a_key(small_world: World) -> None:
    answer = await small_world.request("GET", "/api/openapi.json", key=None)
    assert answer.status_code == 200
    assert answer.content == encode(ENDPOINTS)
    assert answer.json() == json.loads(json.dumps(DOCUMENT))


def test_it_is_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["openapi"].startswith("3.1")


def test_schemas_have_plain_names() -> None:
    """Two of one name would be called by their modules, in every client that is made of this."""
    assert all(name.isalnum() for name in SCHEMAS)


def test_every_endpoint_is_in_it_and_nothing_else() -> None:
    shown = {(method, path) for method, path, _ in operations()}
    assert shown == {(each.method, each.path) for each in ENDPOINTS}
    assert len(shown) == len(ENDPOINTS)


def test_every_operation_has_a_name_and_words_of_its_own() -> None:
    for part in ("operationId", "summary", "description"):
        texts = [operation[part] for _, _, operation in operations()]
        assert len(set(texts)) == len(texts)
        assert all(texts)
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    assert {tag for _, _, operation in operations() for tag in operation["tags"]} == tags


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_the_needed_scope_and_its_errors_are_told(endpoint: Endpoint) -> None:
    operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    statuses = set(operation["responses"])
    assert "500" not in statuses
    if endpoint.scope is None:
        assert operation["security"] == []
        assert statuses <= {"200", "503"}
    else:
        assert operation["security"] == [{"ApiKey": []}]
        assert endpoint.scope.label in operation["description"]
        assert statuses >= {"200", "401", "429", "503"}
        assert ("403" in statuses) == (endpoint.scope is not Scope.READ)
    assert ({"400", "413"} <= statuses) == (endpoint.body is not None)
    assert ("404" in statuses) == ("{id}" in endpoint.path)
    named = {
        f"{{{each['name']}}}" for each in operation.get("parameters", ()) if each["in"] == "path"
    }
    assert all(name in endpoint.path for name in named)
    assert endpoint.path.count("{") == len(named)


def test_every_example_is_what_its_schema_says() -> None:
    count = 0
    for _, path, operation in operations():
        contents = [response["content"] for response in operation["responses"].values()]
        if "requestBody" in operation:
            contents.append(operation["requestBody"]["content"])
        for content in contents:
            media = content["application/json"]
            shown = [each["value"] for each in media.get("examples", {}).values()]
            shown += [media["example"]] if "example" in media else []
            assert shown or path == "/api/openapi.json"
            for value in shown:
                assert valid(media["schema"], value), value
                count += 1
        for parameter in operation.get("parameters", ()):
            assert valid(parameter["schema"], parameter["example"])
    assert count > 60


def test_every_example_is_used() -> None:
    names = {each.name for each in ENDPOINTS}
    codes = {code for each in ENDPOINTS for codes in each.all_errors.values() for code in codes}
    assert examples.REQUESTS.keys() == {each.name for each in ENDPOINTS if each.body is not None}
    assert {name for name, _ in examples.ANSWERS} <= names
    assert examples.ERRORS.keys() == codes
    assert {name for name, _ in examples.OTHER_ERRORS} <= names


async def test_the_examples_of_requests_work(small_world: World) -> None:
    for example in examples.REQUESTS["create_invoice"].values():
        answer = await small_world.post(example["value"])
        assert answer.status_code == 200, answer.text


def test_every_field_of_the_contract_is_described() -> None:
    described = SCHEMAS["NewInvoice"]["properties"]
    assert set(described) == set(views.NewInvoice.__struct_fields__) == set(COMPLETE) - {"unknown"}
    assert all(field.get("description") for field in described.values())
    assert SCHEMAS["NewInvoice"]["required"] == ["amount", "fiat_currency"]
    assert list(SCHEMAS["Invoice"]["properties"]) == SCHEMAS["Invoice"]["required"]


def test_what_is_good_is_allowed() -> None:
    schema = SCHEMAS["NewInvoice"]
    assert valid(schema, COMPLETE)
    for nothing in (None, ""):
        optional = {name: nothing for name in COMPLETE if name not in {"amount", "fiat_currency"}}
        assert valid(schema, {"amount": 25, "fiat_currency": "USD"} | optional)


# What is wrong for a reason that a schema does not tell; it names the form of an e-mail address,
# and who reads it need not check that.
BEYOND_A_SCHEMA = {
    "invalid_amount",
    "invalid_currency",
    "unsupported_currency",
    "invalid_address",
    "unknown_coin",
    "no_wallet",
    "invalid_time",
    "time_passed",
    "invalid_email",
    "origin_not_listed",
    "invalid_idempotency_key",
}


def test_what_is_bad_by_its_form_is_not_allowed() -> None:
    schema = SCHEMAS["NewInvoice"]
    for bad in (bad for part in corpus().values() for bad in part if bad.status == 422):
        value = json.loads(bad.content)
        is_needy = bad.code == "missing" and bad.field == "coin_symbol"
        # Halves of surrogate pairs and a lone carriage return are beyond JavaScript's patterns.
        is_half = any(each in bad.why for each in ("surrogate", "the other half", "carriage"))
        is_beyond = bad.code in BEYOND_A_SCHEMA or bad.field == "client_email"
        if not is_beyond and not is_needy and not is_half:
            assert not valid(schema, value), bad.why
    assert not valid(schema, json.loads(body(amount="NaN")))
    assert not valid(schema, json.loads(body(amount=0)))
    assert not valid(schema, json.loads(body(due_at="tomorrow")))


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
async def test_a_real_answer_is_what_the_document_says(
    small_world: World, endpoint: Endpoint
) -> None:
    invoice_id = await small_world.invoice(metadata={"a": "b"}, due_at="2030-01-01")
    if endpoint.name == "simulate_payment":
        return
    answer = await small_world.request(
        endpoint.method,
        endpoint.path.replace("{id}", str(invoice_id)),
        json={"amount": 25, "fiat_currency": "USD"},
    )
    operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    response = operation["responses"][str(answer.status_code)]
    assert valid(response["content"]["application/json"]["schema"], answer.json())
    assert all(name in answer.headers for name in response["headers"])
