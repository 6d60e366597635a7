"""Drives the simulated Amazon Connect and Lex V2 with boto3 and checks every reply against botocore's models.

Addresses come from TESTGATE_CONNECT_URL, TESTGATE_LEX_URL and TESTGATE_CONTROL_URL.
"""

import datetime
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request

import boto3
import botocore.exceptions
import botocore.parsers
from botocore.config import Config

import shapes

CONNECT = os.environ["TESTGATE_CONNECT_URL"]
LEX = os.environ["TESTGATE_LEX_URL"]
CONTROL = os.environ["TESTGATE_CONTROL_URL"]
INSTANCE = "11111111-2222-4333-8444-555555555555"
INSTANCE_ARN = f"arn:aws:connect:us-west-2:123456789012:instance/{INSTANCE}"
KEYS = {"aws_access_key_id": "AKIDSANDBOX", "aws_secret_access_key": "sandbox-secret"}
TARGET = {"botAliasTarget": {"botId": "BOT0000001", "botAliasId": "TSTALIASID", "localeId": "en_US"}}
ODD = [
    "plain-._~", "with space", "a+b", "a/b", "a:b", "a=b&c", "ünï/✓", "pre%2Fencoded", "100%",
    "a;b,c@d!$'()*", '[x]{y}|\\^`"<>', "..a", "a..", "...", "a//b", "a?b#c", "tab\tand\nline",
]

checked = {}
connect_milliseconds = True
tests = []


def test(function):
    tests.append(function)
    return function


def control(path, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(CONTROL + path, data=data, method=method or ("POST" if body else "GET"))
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{path} {body}: {error.read().decode()}") from error


def timestamp(value):
    number = float(value)
    number = number / 1000 if number >= shapes.MILLISECONDS_FROM else number
    return datetime.datetime.fromtimestamp(number, datetime.timezone.utc)


def client(service, checking=True, validate=True, region=None, read_timeout=10, **keys):
    regions = {"connect": "us-west-2", "lexv2-models": "eu-west-1"}
    session = boto3.Session(region_name=region or regions[service], **{**KEYS, **keys})
    factory = session._session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=timestamp)
    config = Config(
        retries={"total_max_attempts": 1}, parameter_validation=validate, read_timeout=read_timeout,
        connect_timeout=5, proxies={},
    )
    url = CONNECT if service == "connect" else LEX
    made = session.client(service, endpoint_url=url, config=config)
    if checking:
        def before_parse(operation_model, response_dict, **_):
            status = response_dict["status_code"]
            if status < 300:
                milliseconds = service == "connect" and connect_milliseconds
                shapes.check(response_dict["body"], status, operation_model, milliseconds)
                checked[operation_model.name] = checked.get(operation_model.name, 0) + 1
        made.meta.events.register(f"before-parse.{made.meta.service_model.service_id.hyphenize()}.*", before_parse)
    return made


connect = client("connect")
lex = client("lexv2-models")


def start(test_id, token):
    reply = connect.start_test_case_execution(InstanceId=INSTANCE, TestCaseId=test_id, ClientToken=token)
    return reply["TestCaseExecutionId"]


def wait(read, done, what, seconds=20):
    end = time.monotonic() + seconds
    while True:
        value = read()
        if done(value):
            return value
        assert time.monotonic() < end, f"{what}: still {value}"
        time.sleep(0.05)


def refused(code, call, status=None, modeled=None):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        got = error.response["Error"]["Code"]
        assert got == code, f"{got} instead of {code}: {error}"
        assert error.response["Error"]["Message"] or code == "UnknownOperationException", error.response
        http = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status in (None, http), f"{http} instead of {status}"
        assert error.response["ResponseMetadata"].get("RequestId"), "no request id"
        if modeled is not None:
            assert isinstance(error, modeled), f"{type(error)} instead of {modeled}"
        return error
    raise AssertionError(f"not refused with {code}")


def pages(call, member, token, more, **arguments):
    """All items of a list, page by page, and that nothing comes twice."""
    items, next_token, count = [], None, 0
    while True:
        page = call(**arguments, **({token: next_token} if next_token else {}))
        found = page
        for name in member:
            found = found.get(name, {}) if name != member[-1] else found.get(name, [])
        items += found
        count += 1
        next_token = page.get(more)
        if not next_token:
            assert count > 1, "a list of one page proves nothing"
            return items
        assert count < 200, "the pages don't end"


def connect_ids():
    cases = connect.list_test_cases(InstanceId=INSTANCE, MaxResults=1000)["TestCaseSummaryList"]
    return {case["Name"]: case["Id"] for case in cases}


def summary(test_id, execution):
    return connect.get_test_case_execution_summary(
        InstanceId=INSTANCE, TestCaseId=test_id, TestCaseExecutionId=execution
    )


def finished(test_id, execution):
    final = {"PASSED", "FAILED", "STOPPED"}
    return wait(lambda: summary(test_id, execution), lambda s: s["Status"] in final, "the run")


@test
def connect_runs_reach_their_verdicts():
    ids = connect_ids()
    expected = {
        "greeting": "PASSED", "holiday-closure": "FAILED", "slow-transfer": "PASSED", "broken-init": "FAILED",
        "no-observations": "FAILED", "late-records": "FAILED", "chat-handover": "PASSED", "timeout": "FAILED",
    }
    runs = {name: start(ids[name], f"verdicts-{name}-{connect_milliseconds}") for name in expected}
    for name, verdict in expected.items():
        result = finished(ids[name], runs[name])
        assert result["Status"] == verdict, (name, result)
        year = datetime.datetime.now().year
        assert result["EndTime"] >= result["StartTime"] and result["StartTime"].year in (year, year + 1), result
    timeout = summary(ids["timeout"], runs["timeout"])
    assert (timeout["EndTime"] - timeout["StartTime"]).total_seconds() == 300, timeout
    assert timeout["ObservationSummary"]["ObservationsFailed"] == 0, timeout


@test
def connect_test_cases_are_listed_described_and_searched():
    listed = pages(connect.list_test_cases, ["TestCaseSummaryList"], "NextToken", "NextToken",
                   InstanceId=INSTANCE, MaxResults=3)
    assert len({case["Id"] for case in listed}) == len(listed)
    for case in listed:
        described = connect.describe_test_case(InstanceId=INSTANCE_ARN, TestCaseId=case["Id"])["TestCase"]
        assert described["Name"] == case["Name"] and described["Arn"] == case["Arn"]
    found = pages(connect.search_test_cases, ["TestCases"], "NextToken", "NextToken",
                  InstanceId=INSTANCE, MaxResults=2)
    assert {case["Id"] for case in found} == {case["Id"] for case in listed}
    smoke = connect.search_test_cases(
        InstanceId=INSTANCE,
        SearchFilter={"TagFilter": {"TagCondition": {"TagKey": "suite", "TagValue": "smoke"}}},
        SearchCriteria={"AndConditions": [
            {"StatusCondition": "PUBLISHED"},
            {"StringCondition": {"FieldName": "name", "Value": "greet", "ComparisonType": "STARTS_WITH"}},
        ]},
    )
    assert [case["Name"] for case in smoke["TestCases"]] == ["greeting"] and smoke["ApproximateTotalCount"] == 1
    draft = connect.describe_test_case(InstanceId=INSTANCE, TestCaseId=connect_ids()["draft-menu"], Status="SAVED")
    assert draft["TestCase"]["Status"] == "SAVED"
    via_paginator = connect.get_paginator("list_test_cases").paginate(InstanceId=INSTANCE, PaginationConfig={"PageSize": 4})
    assert len(via_paginator.build_full_result()["TestCaseSummaryList"]) == len(listed)


@test
def connect_executions_and_records_are_listed():
    greeting = connect_ids()["greeting"]
    before = control("/")["clock"]["now_ms"]
    runs = [start(greeting, f"list-{n}-{connect_milliseconds}") for n in range(5)]
    rows = pages(connect.list_test_case_executions, ["TestCaseExecutions"], "NextToken", "NextToken",
                 InstanceId=INSTANCE, TestCaseId=greeting, StartTime=before, MaxResults=2)
    assert [row["TestCaseExecutionId"] for row in rows] == runs[::-1], rows
    assert all(row["Tags"]["suite"] == "smoke" for row in rows)
    by_name = connect.list_test_case_executions(InstanceId=INSTANCE, TestCaseName="greeting", StartTime=before)
    assert len(by_name["TestCaseExecutions"]) == 5
    assert connect.list_test_case_executions(InstanceId=INSTANCE, EndTime=1)["TestCaseExecutions"] == []
    finished(greeting, runs[0])
    passed = connect.list_test_case_executions(InstanceId=INSTANCE, Status="PASSED", MaxResults=100)
    assert runs[0] in {row["TestCaseExecutionId"] for row in passed["TestCaseExecutions"]}
    same = {"InstanceId": INSTANCE, "TestCaseId": greeting, "TestCaseExecutionId": runs[0]}
    records = pages(connect.list_test_case_execution_records, ["ExecutionRecords"], "NextToken", "NextToken",
                    MaxResults=2, **same)
    kinds = [json.loads(record["Record"])["Type"] for record in records]
    assert kinds == ["OBSERVATION"] * 4 + ["COMPLETION"], kinds
    only = connect.list_test_case_execution_records(Status="FAILED", **same)
    assert only["ExecutionRecords"] == []


@test
def connect_init_failures_and_late_records():
    ids = connect_ids()
    broken = start(ids["broken-init"], f"init-{connect_milliseconds}")
    counts = finished(ids["broken-init"], broken)["ObservationSummary"]
    assert set(counts.values()) == {0}, counts
    records = connect.list_test_case_execution_records(
        InstanceId=INSTANCE, TestCaseId=ids["broken-init"], TestCaseExecutionId=broken)["ExecutionRecords"]
    reasons = json.loads(records[0]["Record"])["CompletionReason"]["FailureReasons"]
    assert reasons == ["INITIALIZATION_FAILURE"], records
    late = start(ids["late-records"], f"late-{connect_milliseconds}")
    finished(ids["late-records"], late)
    read = lambda: connect.list_test_case_execution_records(
        InstanceId=INSTANCE, TestCaseId=ids["late-records"], TestCaseExecutionId=late)["ExecutionRecords"]
    kinds = lambda rows: {json.loads(row["Record"])["Type"] for row in rows}
    wait(read, lambda rows: kinds(rows) == {"OBSERVATION", "NARRATION", "COMPLETION"}, "late records")


@test
def connect_tokens_and_stops():
    slow = connect_ids()["slow-transfer"]
    token = f"stop-{connect_milliseconds}"
    first = start(slow, token)
    assert start(slow, token) == first and start(slow, token + "-new") != first
    arguments = {"InstanceId": INSTANCE, "TestCaseId": slow, "TestCaseExecutionId": first}
    connect.stop_test_case_execution(**arguments, ClientToken="s")
    assert finished(slow, first)["Status"] == "STOPPED"
    connect.stop_test_case_execution(**arguments, ClientToken="s")
    refused("InvalidRequestException", lambda: connect.stop_test_case_execution(**arguments, ClientToken="t"), 400)


@test
def connect_odd_identifiers_go_both_ways():
    for number, odd in enumerate(ODD):
        control("/connect", {"command": "add_test", "id": odd, "name": odd, "script": {"outcome": "passed", "seconds": 0.1}})
        assert connect.describe_test_case(InstanceId=INSTANCE_ARN, TestCaseId=odd)["TestCase"]["Id"] == odd
        run = start(odd, f"odd-{number}-{connect_milliseconds}")
        assert finished(odd, run)["Status"] == "PASSED"
        rows = connect.list_test_case_executions(InstanceId=INSTANCE_ARN, TestCaseId=odd, TestCaseName=odd)
        assert rows["TestCaseExecutions"][0]["TestCaseId"] == odd
        records = connect.list_test_case_execution_records(
            InstanceId=INSTANCE_ARN, TestCaseId=odd, TestCaseExecutionId=run)
        assert records["ExecutionRecords"], odd
        control("/connect", {"command": "delete_test", "test": odd})


@test
def connect_errors_parse_to_their_codes():
    ids = connect_ids()
    errors = connect.exceptions
    refused("ResourceNotFoundException", lambda: summary(ids["greeting"], "none"), 404, errors.ResourceNotFoundException)
    refused("ResourceNotFoundException", lambda: connect.list_test_cases(InstanceId="none"), 404)
    refused("InvalidRequestException", lambda: start(ids["draft-menu"], "t"), 400, errors.InvalidRequestException)
    refused("InvalidParameterException", lambda: start(ids["greeting"], ""), 400, errors.InvalidParameterException)
    loose = client("connect", validate=False)
    refused("InvalidParameterException", lambda: loose.list_test_cases(InstanceId=INSTANCE, MaxResults=1001), 400)
    refused("InvalidParameterException", lambda: loose.list_test_case_executions(InstanceId=INSTANCE, MaxResults=101), 400)
    refused("InvalidParameterException", lambda: loose.list_test_case_executions(InstanceId=INSTANCE, Status="PAUSED"), 400)
    refused("InvalidToken", lambda: connect.list_test_cases(InstanceId=INSTANCE, NextToken="no token"), 400)
    page = connect.list_test_cases(InstanceId=INSTANCE, MaxResults=1)
    control("/connect", {"command": "tokens", "expire": True})
    refused("InvalidToken", lambda: connect.list_test_cases(InstanceId=INSTANCE, NextToken=page["NextToken"]), 400)
    control("/connect", {"command": "limits", "accepted": 0})
    refused("ServiceQuotaExceededException", lambda: start(ids["greeting"], "quota"), 402,
            errors.ServiceQuotaExceededException)
    control("/connect", {"command": "limits", "accepted": 100})


@test
def connect_long_page_tokens_travel():
    control("/connect", {"command": "tokens", "padding": 30000})
    listed = pages(connect.list_test_cases, ["TestCaseSummaryList"], "NextToken", "NextToken",
                   InstanceId=INSTANCE, MaxResults=5)
    control("/connect", {"command": "tokens", "padding": 0})
    assert len(listed) == len(connect_ids())


@test
def rates_are_limited_when_switched_on():
    for service, call in [
        ("connect", lambda: connect.list_test_cases(InstanceId=INSTANCE)),
        ("lex", lambda: lex.list_test_sets()),
    ]:
        control(f"/{service}", {"command": "rate_limit", "enabled": True, "per_second": 0.01, "burst": 5, "retry_after": 7})
        for _ in range(5):
            call()
        error = refused("ThrottlingException", call, 429)
        assert error.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "7"
        control(f"/{service}", {"command": "rate_limit", "enabled": False})


@test
def wrong_credentials_are_refused():
    calls = {"connect": lambda c: c.list_test_cases(InstanceId=INSTANCE), "lexv2-models": lambda c: c.list_test_sets()}
    for service, call in calls.items():
        bad = lambda **keys: lambda: call(client(service, **keys))
        refused("InvalidSignatureException", bad(aws_secret_access_key="wrong"), 403)
        refused("InvalidSignatureException", bad(region="us-east-1"), 403)
        refused("UnrecognizedClientException", bad(aws_access_key_id="AKIDUNKNOWN"), 403)
        refused("UnrecognizedClientException", bad(aws_session_token="not/mine+="), 403)
        upstream = "/connect" if service == "connect" else "/lex"
        token = {"access_key_id": "ASIASESSION", "secret_access_key": "s", "session_token": "to/ken+=="}
        control(upstream, {"command": "credentials", **token})
        session = {"aws_access_key_id": "ASIASESSION", "aws_secret_access_key": "s", "aws_session_token": "to/ken+=="}
        call(client(service, **session))
        control(upstream, {"command": "credentials", "access_key_id": "ASIASESSION", "expired": True})
        refused("ExpiredTokenException", bad(**session), 403)
        control(upstream, {"command": "credentials", "access_key_id": "ASIASESSION", "remove": True})
    request = urllib.request.Request(f"{CONNECT}/test-cases-summary/{INSTANCE}")
    try:
        urllib.request.urlopen(request, timeout=5)
        raise AssertionError("an unsigned request went through")
    except urllib.error.HTTPError as error:
        assert error.code == 403 and "MissingAuthenticationToken" in error.headers["x-amzn-ErrorType"]


@test
def faults_strike_and_end():
    def fault(operation, kind, **more):
        control("/faults", {"upstream": "connect", "operation": operation, "kind": kind, "times": 1, **more})

    loose = client("connect", checking=False, read_timeout=1)
    call = lambda: loose.list_test_cases(InstanceId=INSTANCE)
    fault("ListTestCases", "throttle", retry_after=3)
    assert refused("ThrottlingException", call, 429).response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "3"
    fault("ListTestCases", "quota")
    refused("ServiceQuotaExceededException", call, 402)
    fault("ListTestCases", "status", status=500)
    refused("InternalServiceException", call, 500, loose.exceptions.InternalServiceException)
    fault("ListTestCases", "html", status=503)
    try:
        call()
        raise AssertionError("HTML went through")
    except botocore.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    except botocore.parsers.ResponseParserError:
        pass
    # botocore swallows a body that was cut short; that the members are missing is all it shows.
    fault("ListTestCases", "truncate")
    assert "TestCaseSummaryList" not in call()
    for kind in ["reset_before", "reset_after", "silent"]:
        fault("ListTestCases", kind)
        try:
            call()
            raise AssertionError(f"{kind} went unnoticed")
        except botocore.exceptions.HTTPClientError:
            pass
    greeting = connect_ids()["greeting"]
    fault("StartTestCaseExecution", "swallow")
    run = start(greeting, "swallowed")
    refused("ResourceNotFoundException", lambda: summary(greeting, run), 404)
    assert control("/faults")["faults"] == []
    calls = control("/calls?upstream=connect&operation=ListTestCases")["calls"]
    assert {"throttle", "html", "truncate", "silent"} <= {call["fault"] for call in calls}
    call()


@test
def lex_runs_reach_their_ends():
    sets = pages(lex.list_test_sets, ["testSets"], "nextToken", "nextToken", maxResults=3,
                 sortBy={"attribute": "TestSetName", "order": "Ascending"})
    names = [row["testSetName"] for row in sets]
    assert names == sorted(names)
    ids = {row["testSetName"]: row["testSetId"] for row in sets}
    runs = {}
    for name, test_id in ids.items():
        described = lex.describe_test_set(testSetId=test_id)
        assert described["testSetName"] == name
        if described["status"] == "Ready":
            started = lex.start_test_execution(
                testSetId=test_id, target=TARGET, apiMode="NonStreaming", testExecutionModality=described["modality"])
            assert "testExecutionStatus" not in started
            runs[name] = started["testExecutionId"]
    kinds = {
        "OverallTestResults": "overallTestResults",
        "ConversationLevelTestResults": "conversationLevelTestResults",
        "IntentClassificationTestResults": "intentClassificationTestResults",
        "SlotResolutionTestResults": "intentLevelSlotResolutionTestResults",
        "UtteranceLevelResults": "utteranceLevelTestResults",
    }
    keys = {"booking": "Matched", "booking-mismatch": "Mismatched", "agent-errors": "ExecutionError"}
    for name, run in runs.items():
        final = {"Completed", "Failed", "Stopped"}
        ended = wait(lambda: lex.describe_test_execution(testExecutionId=run),
                     lambda d: d["testExecutionStatus"] in final, name)
        if name == "broken-bot":
            assert ended["testExecutionStatus"] == "Failed" and ended["failureReasons"], ended
            continue
        assert ended["testExecutionStatus"] == "Completed", ended
        url = lex.get_test_execution_artifacts_url(testExecutionId=run)["downloadArtifactsUrl"]
        assert url.startswith("https://")
        for kind, member in kinds.items():
            def results(**more):
                return lex.list_test_execution_result_items(
                    testExecutionId=run, resultFilterBy={"resultTypeFilter": kind}, **more)

            def read():
                try:
                    return results()["testExecutionResults"][member]["items"]
                except lex.exceptions.ResourceNotFoundException:
                    return None

            if name == "empty":
                assert wait(read, lambda items: items is not None, f"{name} {kind}") == []
                continue
            items = wait(read, bool, f"{name} {kind}")
            paged = pages(results, ["testExecutionResults", member, "items"], "nextToken", "nextToken", maxResults=1)
            assert len(paged) >= len(items), (name, kind)
            if kind == "OverallTestResults":
                counts = {}
                for row in items:
                    assert sum(row["endToEndResultCounts"].values()) == row["totalResultCount"]
                    counts.update(row["endToEndResultCounts"])
                assert keys.get(name, "Matched") in counts and 0 not in counts.values(), (name, counts)


@test
def lex_executions_are_listed_newest_first():
    booking = "BOOKINGOK1"
    begun = [lex.start_test_execution(testSetId=booking, target=TARGET, apiMode="Streaming")["testExecutionId"]
             for _ in range(5)]
    rows = pages(lex.list_test_executions, ["testExecutions"], "nextToken", "nextToken", maxResults=2,
                 sortBy={"attribute": "CreationDateTime", "order": "Descending"})
    assert [row["testExecutionId"] for row in rows[:5]] == begun[::-1]
    assert all("failureReasons" not in row for row in rows)
    assert lex.list_test_executions()["testExecutions"][0]["testExecutionId"] == begun[-1]


@test
def lex_errors_parse_to_their_codes():
    begin = lambda test_id, **more: lex.start_test_execution(
        **{"testSetId": test_id, "target": TARGET, "apiMode": "NonStreaming", **more})
    errors = lex.exceptions
    refused("ConflictException", lambda: begin("IMPORTING1"), 409, errors.ConflictException)
    refused("ValidationException", lambda: begin("ANNOTATE01"), 400, errors.ValidationException)
    refused("ValidationException", lambda: begin("BOOKINGOK1", testExecutionModality="Audio"), 400)
    refused("ResourceNotFoundException", lambda: begin("ABCDEFGHIJ"), 404, errors.ResourceNotFoundException)
    refused("ResourceNotFoundException", lambda: lex.describe_test_execution(testExecutionId="ABCDEFGHIJ"), 404)
    for odd in ["with space", "a/b/c/d/e/", "ünïcödé..", "100%100%10"]:
        refused("ValidationException", lambda odd=odd: lex.describe_test_set(testSetId=odd[:10].ljust(10)), 400)
    loose = client("lexv2-models", validate=False)
    refused("ValidationException", lambda: loose.list_test_sets(maxResults=1001), 400)
    control("/lex", {"command": "limits", "unfinished": 0})
    refused("ServiceQuotaExceededException", lambda: begin("BOOKINGOK1"), 402, errors.ServiceQuotaExceededException)
    control("/lex", {"command": "limits", "unfinished": None})
    control("/faults", {"upstream": "lex", "kind": "throttle", "retry_after": 2, "times": 1})
    error = refused("ThrottlingException", lex.list_test_sets, 429, errors.ThrottlingException)
    assert error.response.get("retryAfterSeconds") == 2, error.response


@test
def every_operation_was_checked():
    expected = set("""
        ListTestCases DescribeTestCase SearchTestCases StartTestCaseExecution StopTestCaseExecution
        GetTestCaseExecutionSummary ListTestCaseExecutions ListTestCaseExecutionRecords
        ListTestSets DescribeTestSet StartTestExecution DescribeTestExecution ListTestExecutions
        ListTestExecutionResultItems GetTestExecutionArtifactsUrl
    """.split())
    assert set(checked) == expected, set(checked) ^ expected


def main():
    global connect_milliseconds
    passed = failed = 0
    control("/clock", {"scale": 100})
    for upstream in ["/connect", "/lex"]:
        control(upstream, {"command": "rate_limit", "enabled": False})
    for milliseconds in [True, False]:
        connect_milliseconds = milliseconds
        control("/connect", {"command": "timestamps", "milliseconds": milliseconds})
        for function in tests:
            # What has nothing to do with Connect's timestamps runs once.
            if not milliseconds and not function.__name__.startswith("connect_"):
                continue
            unit = "ms" if milliseconds else "s"
            try:
                function()
                passed += 1
                print(f"ok      {function.__name__} [{unit}]", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {function.__name__} [{unit}]", flush=True)
                traceback.print_exc(file=sys.stdout)
                control("/faults", method="DELETE")
    print(f"{sum(checked.values())} replies checked against botocore's shapes")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
