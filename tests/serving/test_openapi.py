"""The OpenAPI schema: no question made from it is a failure of the server, and every answer is as it says."""

import copy

import pytest

from tests.serving.serving_model import make_catalogue, serving

ITEMS, USERS = [f"B{number:03}" for number in range(1, 17)], ["u1", "u2", "u3", "guest"]
KNOWN = {"user": USERS, "model": ["rl", "sft", "item_knn"], "item": ITEMS, "query": ["item", "u"]}
LISTS = ("history", "allow", "deny", "items")
ASKED = ("Question", "ExplainQuestion", "Events")


@pytest.fixture(scope="module")
def client(served_run, tmp_path_factory):
    catalogue = make_catalogue(served_run[0], ("rl", "sft", "item_knn"), decoding="frontier")
    events = tmp_path_factory.mktemp("events") / "events.sqlite"
    with serving(None, events, catalogue=catalogue) as (client, _):
        yield client


def narrow(document):
    """The shop's own words in place of any text, so that most questions have an answer."""
    document = copy.deepcopy(document)
    for name in ASKED:
        narrow_body(document["components"]["schemas"][name]["properties"])
    for operation in [each for route in document["paths"].values() for each in route.values()]:
        for parameter in operation.get("parameters", []):
            if parameter["name"] in KNOWN:
                parameter["schema"] = {"enum": KNOWN[parameter["name"]]}
    return document


def narrow_body(properties):
    for name in properties.keys() & KNOWN.keys():
        properties[name] = {"enum": KNOWN[name]}
    for name in properties.keys() & set(LISTS):
        properties[name] = {"type": "array", "items": {"enum": ITEMS}, "minItems": 1, "maxItems": 5}
    properties.pop("deadline", None)  # most are over at once
    if "k" in properties:
        properties["k"] = {"type": "integer", "minimum": 1, "maximum": 12}


@pytest.mark.slow
def test_no_question_of_the_schema_or_beside_it_is_a_failure(client):
    from tests.serving.schema_cases import RIGHT, WRONG, ask

    statuses = ask(client, client.get("/openapi.json").json(), RIGHT, WRONG)
    assert set(statuses) >= {"POST /recommend", "POST /explain", "DELETE /users/{user}", "POST /catalog/reload"}
    assert 422 in statuses["POST /recommend"] and 200 in statuses["GET /metrics"]


@pytest.mark.slow
def test_answers_are_as_the_schema_says(client):
    from tests.serving.schema_cases import RIGHT, ask

    statuses = ask(client, narrow(client.get("/openapi.json").json()), RIGHT)
    unanswered = [label for label, seen in statuses.items() if 200 not in seen]
    assert unanswered == ["POST /catalog/rollback"], "there is no version before"
