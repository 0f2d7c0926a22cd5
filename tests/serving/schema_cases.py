"""Questions made by schemathesis from the OpenAPI schema, and its checks of the answers. Its import takes a second."""

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

RIGHT, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
EXAMPLES = 30  # of each route
HELD = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


def ask(client, document, *modes):
    """{route: statuses of its answers}; fails at an answer that is not as the document says."""
    operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
    return {each.label: hold_answers(client, each, modes) for each in operations}


def hold_answers(client, operation, modes):
    seen = set()
    quiet = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}

    @settings(max_examples=EXAMPLES, derandomize=True, **quiet)
    @given(st.one_of([operation.as_strategy(mode) for mode in modes]))
    def hold(case):
        response = client.request(**case.as_transport_kwargs(str(client.base_url)))
        seen.add(response.status_code)
        assert response.status_code != 500, response.text  # 503 and 504 are answers
        case.validate_response(response, checks=HELD)

    hold()
    return seen
