"""Against a gateway with simulated upstreams, which tests/clients.rs starts."""

import asyncio
import os
import pathlib
import uuid

import grpc
import pytest
import release_gate
from testgate import Client, TestgateError, v1

SERVER = os.environ["TESTGATE_SERVER"]
PASSING = "backends/connect/tests/c0ffee00-0000-4000-8000-000000000001"
FAILING = "backends/lex/tests/BOOKINGBAD"
# Its upstream fails for a moment, and throttles for two minutes.
UNAVAILABLE = "backends/quality/tests/case-ca5e0000-0000-4000-8000-000000000001"
THROTTLED = "backends/quality/tests/pipeline-919e0000-0000-4000-8000-000000000001"
PATIENCE = 120


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, PATIENCE))


def test_a_request_id_starts_once_and_the_run_is_followed_to_its_verdict():
    async def scenario():
        async with Client(SERVER) as client:
            request_id = str(uuid.uuid4())
            first = await client.start(PASSING, request_id=request_id, labels={"build": "7"})
            again = await client.start(PASSING, request_id=request_id, labels={"build": "7"})
            assert again.name == first.name
            states = [state async for state in client.follow([first.name])]
            revisions = [state.revision for state in states]
            assert revisions == sorted(set(revisions))
            assert states[-1].done and states[-1].verdict == v1.VERDICT_PASSED
            assert states[-1].labels["build"] == "7"

    run(scenario())


def test_a_connection_that_drops_again_and_again_costs_neither_a_start_nor_the_end():
    async def scenario():
        async with Client(os.environ["TESTGATE_FLAKY_SERVER"]) as client:
            done = await client.run(FAILING, request_id=str(uuid.uuid4()))
            assert done.done and done.verdict == v1.VERDICT_FAILED

    run(scenario())


def test_the_items_behind_a_verdict_can_be_read():
    async def scenario():
        async with Client(SERVER) as client:
            done = await client.run(FAILING)
            failed = [item async for item in client.items(done.name, filter="verdict = FAILED")]
            assert len(failed) == done.counts.failed == 2

    run(scenario())


def test_errors_say_what_and_where():
    async def scenario():
        async with Client(SERVER) as client:
            with pytest.raises(TestgateError) as refused:
                await client.start("backends/connect/tests/a%zz")
            assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
            assert refused.value.reason == "FIELD_INVALID"
            assert list(refused.value.violations) == ["parent"]
            assert refused.value.retry_after is None
            with pytest.raises(TestgateError) as unable:
                await client.call(client.stub.StopExecution, v1.StopExecutionRequest(name=FAILING + "/executions/X"))
            assert unable.value.reason == "CAPABILITY_NOT_SUPPORTED"
            assert unable.value.metadata["backend"] == "backends/lex"

    run(scenario())


def test_a_deadline_ends_what_takes_too_long():
    async def scenario():
        async with Client(SERVER) as client:
            started = await client.start("backends/connect/tests/c0ffee00-0000-4000-8000-000000000003")
            with pytest.raises(TestgateError) as late:
                async for _ in client.follow([started.name], timeout=0.5):
                    pass
            assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED

    run(scenario())


def test_what_is_unavailable_for_a_moment_is_asked_again():
    async def scenario():
        async with Client(SERVER) as client:
            assert (await client.call(client.stub.GetTest, v1.GetTestRequest(name=UNAVAILABLE))).test.name == UNAVAILABLE

    run(scenario())


def test_who_has_to_wait_is_told_how_long():
    async def scenario():
        async with Client(SERVER) as client:
            with pytest.raises(TestgateError) as throttled:
                await client.call(client.stub.GetTest, v1.GetTestRequest(name=THROTTLED))
            assert throttled.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert throttled.value.reason == "UPSTREAM_THROTTLED"
            assert 100 < throttled.value.retry_after < 200

    run(scenario())


def test_the_example_fails_unless_every_test_passes():
    assert run(release_gate.main([PASSING])) == 0
    assert run(release_gate.main([PASSING, FAILING])) == 1


def test_a_token_goes_over_tls_only():
    with pytest.raises(ValueError):
        Client(SERVER, token="secret")


def test_tls_with_a_token():
    ca = pathlib.Path(os.environ["TESTGATE_CA_FILE"]).read_bytes()
    token = pathlib.Path(os.environ["TESTGATE_TOKEN_FILE"]).read_text().strip()

    async def scenario():
        async with Client(os.environ["TESTGATE_TLS_SERVER"], ca=ca, token=token) as client:
            assert (await client.run(PASSING)).verdict == v1.VERDICT_PASSED
        async with Client(os.environ["TESTGATE_TLS_SERVER"], ca=ca, token="wrong") as client:
            with pytest.raises(TestgateError) as refused:
                await client.start(PASSING)
            assert refused.value.reason == "CALLER_UNAUTHENTICATED"

    run(scenario())
