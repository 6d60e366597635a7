"""Drives the simulated OpenMetadata server (version 2.0, by-FQN routes) with the official client.

TESTGATE_OPENMETADATA_URL    http://host:port, with or without /api
TESTGATE_OPENMETADATA_TOKEN  bearer token, "sandbox-token" by default

The client's models forbid unknown members, so parsing a reply is itself a check of its shape.
Prints "N passed, 0 failed"; any failure makes the exit code 1.
"""

import os
import sys
import time
import traceback
import uuid
from urllib.parse import quote

from metadata.generated.schema.entity.services.connections.metadata.openMetadataConnection import (
    AuthProvider,
    OpenMetadataConnection,
)
from metadata.generated.schema.entity.services.ingestionPipelines.ingestionPipeline import (
    IngestionPipeline,
    PipelineState,
    PipelineStatus,
)
from metadata.generated.schema.entity.services.ingestionPipelines.pipelineServiceClientResponse import (
    PipelineServiceClientResponse,
)
from metadata.generated.schema.security.client.openMetadataJWTClientConfig import OpenMetadataJWTClientConfig
from metadata.generated.schema.tests.basic import TestCaseResult, TestCaseStatus, TestResultValue
from metadata.generated.schema.tests.testCase import TestCase
from metadata.generated.schema.tests.testSuite import TestSuite
from metadata.generated.schema.type.basic import Timestamp
from metadata.generated.schema.type.changeEvent import ChangeEvent
from metadata.generated.schema.type.paging import Paging
from metadata.ingestion.ometa.client import APIError
from metadata.ingestion.ometa.ometa_api import OpenMetadata

BASE = os.environ["TESTGATE_OPENMETADATA_URL"].rstrip("/").removesuffix("/api") + "/api"
TOKEN = os.environ.get("TESTGATE_OPENMETADATA_TOKEN", "sandbox-token")
CASE_FIELDS = ["testSuite", "testDefinition"]


def connect(token):
    return OpenMetadata(
        OpenMetadataConnection(
            hostPort=BASE,
            authProvider=AuthProvider.openmetadata,
            enableVersionValidation=True,
            securityConfig=OpenMetadataJWTClientConfig(jwtToken=token),
        )
    )


om = connect(TOKEN)
STAMP = int(time.time() * 1000) - 3_600_000


def plain(value):
    """The text inside the client's wrappers around scalars."""
    return str(getattr(value, "root", value))


def everything(path, model):
    """All entities of a paged list, each parsed strictly."""
    found, after = [], None
    while True:
        page = om.client.get(path, data={"limit": 3, **({"after": after} if after else {})})
        Paging.model_validate(page["paging"])
        found += [model.model_validate(row) for row in page["data"]]
        after = page["paging"].get("after")
        if not after:
            assert len(found) == page["paging"]["total"]
            return found


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except APIError as error:
        assert error.status_code == code, f"{error.status_code} instead of {code}"
    else:
        raise AssertionError(f"not refused with {code}")


def result(stamp, status=TestCaseStatus.Failed):
    return TestCaseResult(
        timestamp=Timestamp(stamp),
        testCaseStatus=status,
        result="3 rows null",
        testResultValue=[TestResultValue(name="nullCount", value="3")],
    )


def versions_agree():
    assert om.get_server_version() == "2.0.6"
    om.validate_versions()


def every_case_parses_with_all_its_fields():
    fields = "testSuite,testDefinition,testSuites,testCaseResult,incidentId,owners,tags"
    cases = everything(f"/dataQuality/testCases?fields={fields}", TestCase)
    assert len({plain(case.id) for case in cases}) == len(cases) >= 16


def every_suite_parses_with_all_its_fields():
    suites = everything("/dataQuality/testSuites?fields=tests,pipelines,summary,owners", TestSuite)
    assert any(suite.basic for suite in suites) and not all(suite.basic for suite in suites)


def every_pipeline_parses_with_all_its_fields():
    pipelines = everything("/services/ingestionPipelines?fields=pipelineStatuses,owners", IngestionPipeline)
    assert any(not pipeline.deployed for pipeline in pipelines)
    assert any(not pipeline.enabled for pipeline in pipelines)


def odd_cases():
    suite = om.get_by_name(TestSuite, "odd names / 100%", fields=["tests"])
    return [test.fullyQualifiedName for test in suite.tests]


def cases_are_found_by_name_by_id_and_by_suite():
    names = odd_cases()
    assert len(names) == 7
    for name in names:
        case = om.get_by_name(TestCase, name, fields=CASE_FIELDS, nullable=False)
        again = om.get_by_id(TestCase, plain(case.id), fields=CASE_FIELDS, nullable=False)
        assert plain(again.fullyQualifiedName) == name
    suite = om.get_by_name(TestSuite, "orders_quality", nullable=False)
    listed = om.list_entities(
        TestCase, fields=CASE_FIELDS, params={"testSuiteId": plain(suite.id)}, limit=50
    )
    assert len(listed.entities) == 4
    assert om.get_by_name(TestCase, "no.such.case") is None


def a_result_is_added_read_back_and_refused_twice():
    for offset, name in enumerate(odd_cases()):
        stamp = STAMP + offset
        om.add_test_case_results(result(stamp), name)
        back = om.get_test_case_results(name, stamp, stamp)
        assert len(back) == 1 and back[0].testCaseStatus is TestCaseStatus.Failed
        assert back[0].incidentId and back[0].testResultValue[0].value == "3"
        refused(409, om.add_test_case_results, result(stamp), name)


def results_come_newest_first_within_inclusive_bounds():
    name = odd_cases()[0]
    for offset in (100, 300, 200):
        om.add_test_case_results(result(STAMP + offset, TestCaseStatus.Success), name)
    back = om.get_test_case_results(name, STAMP + 100, STAMP + 300)
    assert [row.timestamp.root - STAMP for row in back] == [300, 200, 100]


def impossible_results_are_refused():
    path = f"/dataQuality/testCases/testCaseResults/{quote(odd_cases()[0], safe='')}"
    refused(400, om.client.post, path, '{"timestamp": 1769982800, "testCaseStatus": "Success"}')
    refused(400, om.client.post, path, '{"timestamp": 1769982800000, "testCaseStatus": "Green"}')
    refused(400, om.client.post, path, '{"timestamp": 1769982800000}')
    refused(404, om.add_test_case_results, result(STAMP), "no.such.case")


def the_published_routes_are_absent():
    case = om.get_by_name(TestCase, odd_cases()[0], fields=CASE_FIELDS, nullable=False)
    refused(404, om.client.get, f"/dataQuality/testCases/{plain(case.id)}/testCaseResult")
    refused(405, om.client.put, f"/dataQuality/testCases/testCaseResults/{quote(odd_cases()[0], safe='')}", "{}")


def pipeline(name):
    path = f"/services/ingestionPipelines/name/{quote(name, safe='')}?fields=pipelineStatuses"
    return IngestionPipeline.model_validate(om.client.get(path))


def a_triggered_run_is_watched_to_its_end():
    name = "customers_quality.customers_daily"
    target = plain(pipeline(name).id)
    begin = int(time.time() * 1000) - 5_000
    try:
        om.run_pipeline(target)
    except KeyError:
        pass  # the client takes the reply for a pipeline; the request itself was right
    deadline = time.time() + 60
    while True:
        runs = om.get_pipeline_status_between_ts(name, begin, int(time.time() * 1000) + 60_000)
        assert len(runs) == 1, runs
        if runs[0].pipelineState not in (PipelineState.queued, PipelineState.running):
            break
        assert time.time() < deadline, "the run does not end"
        time.sleep(0.25)
    assert runs[0].pipelineState is PipelineState.success
    assert isinstance(pipeline(name).pipelineStatuses, list)
    again = om.get_pipeline_status(name, runs[0].runId)
    assert again == runs[0]
    suite = om.get_by_name(TestSuite, "customers_quality", fields=["tests"], nullable=False)
    found = []
    for test in suite.tests:
        found += om.get_test_case_results(
            test.fullyQualifiedName, runs[0].startDate.root, runs[0].endDate.root
        )
    assert sorted(row.testCaseStatus.value for row in found) == ["Failed", "Success"]


def trigger_and_kill_have_the_runners_reply():
    target = plain(pipeline("late_quality.late_slow").id)
    for verb in ("trigger", "kill"):
        reply = PipelineServiceClientResponse.model_validate(
            om.client.post(f"/services/ingestionPipelines/{verb}/{target}")
        )
        assert reply.code == 200 and reply.platform == "Airflow" and reply.runId is None


def a_worker_reports_its_run():
    name = "odd names / 100%.\"nightly v1.2 / 100%\""
    stamp = int(time.time() * 1000)
    status = PipelineStatus(
        runId=str(uuid.uuid4()),
        pipelineState=PipelineState.running,
        startDate=Timestamp(stamp),
        timestamp=Timestamp(stamp),
    )
    ChangeEvent.model_validate(om.create_or_update_pipeline_status(name, status))
    assert om.get_pipeline_status(name, status.runId).pipelineState is PipelineState.running
    assert om.get_pipeline_status(name, str(uuid.uuid4())) is None


def changes_are_told_as_events():
    name = odd_cases()[1]
    stamp = STAMP + 5_000
    om.add_test_case_results(result(stamp), name)
    page = om.client.get("/events", data={"entityUpdated": "testCase", "timestamp": stamp})
    events = [ChangeEvent.model_validate(row) for row in page["data"]]
    assert any(event.entityFullyQualifiedName == name and isinstance(event.entity, str) for event in events)


def a_wrong_token_is_refused():
    refused(401, connect("junk").get_by_name, TestCase, odd_cases()[0])


CHECKS = [
    versions_agree,
    every_case_parses_with_all_its_fields,
    every_suite_parses_with_all_its_fields,
    every_pipeline_parses_with_all_its_fields,
    cases_are_found_by_name_by_id_and_by_suite,
    a_result_is_added_read_back_and_refused_twice,
    results_come_newest_first_within_inclusive_bounds,
    impossible_results_are_refused,
    the_published_routes_are_absent,
    a_triggered_run_is_watched_to_its_end,
    trigger_and_kill_have_the_runners_reply,
    a_worker_reports_its_run,
    changes_are_told_as_events,
    a_wrong_token_is_refused,
]


def main():
    failed = 0
    for check in CHECKS:
        try:
            check()
            print(f"ok      {check.__name__}")
        except Exception:  # a failed check must not hide the others
            failed += 1
            print(f"FAILED  {check.__name__}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
