"""The API against its own OpenAPI document: schemathesis looks for answers that break it."""

import itertools

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis.specs.openapi.checks import positive_data_acceptance

from benchmarks.leaderboard_place import TASK, entry_text

schemathesis.openapi.media_type(
    "application/offset+octet-stream", strategies.binary(min_size=1, max_size=100)
)

EXAMPLES = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_no_answer_breaks_the_openapi_document(mode, new_server):
    server = new_server(limits={"requests_per_minute": 10**6, "address_requests_per_minute": 10**6})
    paths = [server.board.place.config]
    made = server.client().create(task=TASK, entry=entry_text(), paths=paths)
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    is_good = mode is schemathesis.GenerationMode.POSITIVE
    turns, seen = itertools.count(), set()

    def check(operation):
        @EXAMPLES
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_it_says(case):
            # Half of the requests are about a submission that is there.
            if "submission_id" in (case.path_parameters or {}) and is_good and next(turns) % 2:
                case.path_parameters["submission_id"] = made["id"]
            # What an entry must be is more than its type, so a well-formed request may be refused.
            answer = case.call_and_validate(
                headers=server.headers(), excluded_checks=[positive_data_acceptance], timeout=20
            )
            seen.add((operation.method, operation.path, answer.status_code))

        answers_as_it_says()

    for operation in operations:
        # With no parameter there is nothing that a request could have wrong.
        if is_good or any(operation.iter_parameters()):
            check(operation)

    assert len(operations) == 11
    assert not [one for one in seen if one[2] >= 500]
    assert len({status for _, _, status in seen}) > 2
