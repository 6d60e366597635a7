"""Checks requests that the adapters made against botocore's service models.

Reads a JSON array of {"service", "method", "target", "body", "content_type"} from standard input. Each request is matched to an
operation by method and path, read back into that operation's parameters, validated, and serialised again by
botocore: what botocore would send for the same parameters must be what was sent.
"""

import json
import re
import sys
import urllib.parse

import botocore.session
from botocore.serialize import create_serializer

EXPECTED = {
    "connect": {
        "StartTestCaseExecution", "StopTestCaseExecution", "GetTestCaseExecutionSummary", "ListTestCaseExecutions",
        "ListTestCaseExecutionRecords", "ListTestCases", "DescribeTestCase", "SearchTestCases",
    },
    "lexv2-models": {
        "StartTestExecution", "DescribeTestExecution", "ListTestExecutions", "ListTestExecutionResultItems",
        "GetTestExecutionArtifactsUrl", "ListTestSets", "DescribeTestSet",
    },
}


def find_operation(model, wanted, method, path):
    for name in sorted(wanted):
        operation = model.operation_model(name)
        template = operation.http["requestUri"].split("?")[0]
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template))
        found = re.fullmatch(pattern, path)
        if found and operation.http["method"] == method:
            return operation, found.groupdict()
    raise AssertionError(f"no operation for {method} {path}")


def convert(text, shape):
    if shape.type_name in ("integer", "long"):
        return int(text)
    if shape.type_name == "timestamp":
        return int(text)
    return text


def read_parameters(operation, labels, query, body):
    parameters = {}
    members = operation.input_shape.members
    for name, member in members.items():
        wire = member.serialization.get("name", name)
        location = member.serialization.get("location")
        if location == "uri":
            parameters[name] = urllib.parse.unquote(labels.pop(wire))
        elif location == "querystring":
            if wire in query:
                parameters[name] = convert(query.pop(wire), member)
        elif location is None and wire in body:
            parameters[name] = body.pop(wire)
    assert not labels and not query and not body, f"unknown members: {labels} {query} {body}"
    return parameters


def strict_query(text):
    pairs = [pair.split("=", 1) for pair in text.split("&") if pair]
    assert "+" not in text, "a plus sign in the query is ambiguous"
    return {urllib.parse.unquote(name): urllib.parse.unquote(value) for name, value in pairs}


def check(session, request):
    service = request["service"]
    model = session.get_service_model(service)
    path, _, query_text = request["target"].partition("?")
    operation, labels = find_operation(model, EXPECTED[service], request["method"], path)
    body = json.loads(request["body"]) if request["body"] else {}
    assert isinstance(body, dict)
    if request["method"] == "GET":
        assert not request["body"] and not request["content_type"], "a GET has no body"
    else:
        assert request["content_type"] == "application/json", request["content_type"]
    query = strict_query(query_text)
    parameters = read_parameters(operation, labels, dict(query), dict(body))
    # Numbers of milliseconds are the model's own form for a query; botocore's serialiser wants the shape's type.
    serializer = create_serializer(model.metadata["protocol"], include_validation=True)
    again = serializer.serialize_to_request(parameters, operation)
    assert again["method"] == request["method"]
    assert again["url_path"] == path, f"{again['url_path']} is not {path}"
    sent = {name: str(value) for name, value in (again["query_string"] or {}).items()}
    assert sent == query, f"{sent} is not {query}"
    expected_body = json.loads(again["body"]) if again.get("body") else {}
    assert expected_body == body, f"{expected_body} is not {body}"
    return service, operation.name


def main():
    session = botocore.session.get_session()
    seen = {service: set() for service in EXPECTED}
    requests = json.load(sys.stdin)
    for request in requests:
        try:
            service, name = check(session, request)
        except Exception as error:
            raise SystemExit(f"FAILED {request['method']} {request['target']} {request['body']}: {error!r}")
        seen[service].add(name)
        print(f"ok {name}: {request['method']} {request['target']}")
    missing = {service: sorted(wanted - seen[service]) for service, wanted in EXPECTED.items()}
    if any(missing.values()):
        raise SystemExit(f"FAILED: never sent: {missing}")
    print(f"{len(requests)} requests agree with botocore")


main()
