import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_PENDING: _ClassVar[Verdict]
    VERDICT_PASSED: _ClassVar[Verdict]
    VERDICT_FAILED: _ClassVar[Verdict]
    VERDICT_INCONCLUSIVE: _ClassVar[Verdict]
    VERDICT_NONE: _ClassVar[Verdict]

class LexApiMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEX_API_MODE_UNSPECIFIED: _ClassVar[LexApiMode]
    LEX_API_MODE_STREAMING: _ClassVar[LexApiMode]
    LEX_API_MODE_NON_STREAMING: _ClassVar[LexApiMode]

class LexModality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEX_MODALITY_UNSPECIFIED: _ClassVar[LexModality]
    LEX_MODALITY_TEXT: _ClassVar[LexModality]
    LEX_MODALITY_AUDIO: _ClassVar[LexModality]
VERDICT_UNSPECIFIED: Verdict
VERDICT_PENDING: Verdict
VERDICT_PASSED: Verdict
VERDICT_FAILED: Verdict
VERDICT_INCONCLUSIVE: Verdict
VERDICT_NONE: Verdict
LEX_API_MODE_UNSPECIFIED: LexApiMode
LEX_API_MODE_STREAMING: LexApiMode
LEX_API_MODE_NON_STREAMING: LexApiMode
LEX_MODALITY_UNSPECIFIED: LexModality
LEX_MODALITY_TEXT: LexModality
LEX_MODALITY_AUDIO: LexModality

class Backend(_message.Message):
    __slots__ = ("name", "display_name", "kind", "capabilities", "location", "poll_interval", "condition", "probe_time", "labels")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Backend.Kind]
        KIND_AMAZON_CONNECT: _ClassVar[Backend.Kind]
        KIND_AMAZON_LEX_V2: _ClassVar[Backend.Kind]
        KIND_OPENMETADATA: _ClassVar[Backend.Kind]
    KIND_UNSPECIFIED: Backend.Kind
    KIND_AMAZON_CONNECT: Backend.Kind
    KIND_AMAZON_LEX_V2: Backend.Kind
    KIND_OPENMETADATA: Backend.Kind
    class LocationEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    POLL_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    PROBE_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    kind: Backend.Kind
    capabilities: Capabilities
    location: _containers.ScalarMap[str, str]
    poll_interval: _duration_pb2.Duration
    condition: Condition
    probe_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., kind: _Optional[_Union[Backend.Kind, str]] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., location: _Optional[_Mapping[str, str]] = ..., poll_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., probe_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("start_mode", "stop_scope", "list_executions", "record_execution", "artifacts", "result_kinds", "filter_pushdown")
    class StartMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        START_MODE_UNSPECIFIED: _ClassVar[Capabilities.StartMode]
        START_MODE_NONE: _ClassVar[Capabilities.StartMode]
        START_MODE_NATIVE_TOKEN: _ClassVar[Capabilities.StartMode]
        START_MODE_GATEWAY_DEDUP: _ClassVar[Capabilities.StartMode]
    START_MODE_UNSPECIFIED: Capabilities.StartMode
    START_MODE_NONE: Capabilities.StartMode
    START_MODE_NATIVE_TOKEN: Capabilities.StartMode
    START_MODE_GATEWAY_DEDUP: Capabilities.StartMode
    class StopScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STOP_SCOPE_UNSPECIFIED: _ClassVar[Capabilities.StopScope]
        STOP_SCOPE_NONE: _ClassVar[Capabilities.StopScope]
        STOP_SCOPE_EXECUTION: _ClassVar[Capabilities.StopScope]
        STOP_SCOPE_TEST: _ClassVar[Capabilities.StopScope]
    STOP_SCOPE_UNSPECIFIED: Capabilities.StopScope
    STOP_SCOPE_NONE: Capabilities.StopScope
    STOP_SCOPE_EXECUTION: Capabilities.StopScope
    STOP_SCOPE_TEST: Capabilities.StopScope
    START_MODE_FIELD_NUMBER: _ClassVar[int]
    STOP_SCOPE_FIELD_NUMBER: _ClassVar[int]
    LIST_EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    RECORD_EXECUTION_FIELD_NUMBER: _ClassVar[int]
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_KINDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_PUSHDOWN_FIELD_NUMBER: _ClassVar[int]
    start_mode: Capabilities.StartMode
    stop_scope: Capabilities.StopScope
    list_executions: bool
    record_execution: bool
    artifacts: bool
    result_kinds: _containers.RepeatedScalarFieldContainer[ResultItem.Kind]
    filter_pushdown: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, start_mode: _Optional[_Union[Capabilities.StartMode, str]] = ..., stop_scope: _Optional[_Union[Capabilities.StopScope, str]] = ..., list_executions: _Optional[bool] = ..., record_execution: _Optional[bool] = ..., artifacts: _Optional[bool] = ..., result_kinds: _Optional[_Iterable[_Union[ResultItem.Kind, str]]] = ..., filter_pushdown: _Optional[_Iterable[str]] = ...) -> None: ...

class Test(_message.Message):
    __slots__ = ("name", "display_name", "upstream_id", "capabilities", "startable", "not_startable_reason", "upstream_labels", "update_time", "description", "payload_json", "payload_omitted")
    class UpstreamLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_ID_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    STARTABLE_FIELD_NUMBER: _ClassVar[int]
    NOT_STARTABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_LABELS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_JSON_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_OMITTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    upstream_id: str
    capabilities: Capabilities
    startable: bool
    not_startable_reason: str
    upstream_labels: _containers.ScalarMap[str, str]
    update_time: _timestamp_pb2.Timestamp
    description: str
    payload_json: str
    payload_omitted: bool
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., upstream_id: _Optional[str] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., startable: _Optional[bool] = ..., not_startable_reason: _Optional[str] = ..., upstream_labels: _Optional[_Mapping[str, str]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., description: _Optional[str] = ..., payload_json: _Optional[str] = ..., payload_omitted: _Optional[bool] = ...) -> None: ...

class Execution(_message.Message):
    __slots__ = ("name", "state", "verdict", "done", "counts", "failure", "create_time", "start_time", "end_time", "stop_request_time", "observe_time", "revision", "upstream_status", "upstream_id", "condition", "labels", "connect", "lex", "openmetadata", "upstream_labels", "creator", "request_id", "stop_requester", "stop_reason", "test_display_name", "reconciled")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Execution.State]
        STATE_PENDING: _ClassVar[Execution.State]
        STATE_RUNNING: _ClassVar[Execution.State]
        STATE_STOPPING: _ClassVar[Execution.State]
        STATE_UPSTREAM_UNKNOWN: _ClassVar[Execution.State]
        STATE_SETTLING: _ClassVar[Execution.State]
        STATE_COMPLETED: _ClassVar[Execution.State]
        STATE_ERRORED: _ClassVar[Execution.State]
        STATE_STOPPED: _ClassVar[Execution.State]
        STATE_LOST: _ClassVar[Execution.State]
    STATE_UNSPECIFIED: Execution.State
    STATE_PENDING: Execution.State
    STATE_RUNNING: Execution.State
    STATE_STOPPING: Execution.State
    STATE_UPSTREAM_UNKNOWN: Execution.State
    STATE_SETTLING: Execution.State
    STATE_COMPLETED: Execution.State
    STATE_ERRORED: Execution.State
    STATE_STOPPED: Execution.State
    STATE_LOST: Execution.State
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class UpstreamLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    STOP_REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    OBSERVE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_STATUS_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_ID_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    LEX_FIELD_NUMBER: _ClassVar[int]
    OPENMETADATA_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STOP_REQUESTER_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    TEST_DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    RECONCILED_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: Execution.State
    verdict: Verdict
    done: bool
    counts: ResultCounts
    failure: FailureReason
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    stop_request_time: _timestamp_pb2.Timestamp
    observe_time: _timestamp_pb2.Timestamp
    revision: int
    upstream_status: str
    upstream_id: str
    condition: Condition
    labels: _containers.ScalarMap[str, str]
    connect: ConnectDetails
    lex: LexDetails
    openmetadata: OpenMetadataDetails
    upstream_labels: _containers.ScalarMap[str, str]
    creator: str
    request_id: str
    stop_requester: str
    stop_reason: str
    test_display_name: str
    reconciled: bool
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[Execution.State, str]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., done: _Optional[bool] = ..., counts: _Optional[_Union[ResultCounts, _Mapping]] = ..., failure: _Optional[_Union[FailureReason, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stop_request_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., observe_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ..., upstream_status: _Optional[str] = ..., upstream_id: _Optional[str] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., connect: _Optional[_Union[ConnectDetails, _Mapping]] = ..., lex: _Optional[_Union[LexDetails, _Mapping]] = ..., openmetadata: _Optional[_Union[OpenMetadataDetails, _Mapping]] = ..., upstream_labels: _Optional[_Mapping[str, str]] = ..., creator: _Optional[str] = ..., request_id: _Optional[str] = ..., stop_requester: _Optional[str] = ..., stop_reason: _Optional[str] = ..., test_display_name: _Optional[str] = ..., reconciled: _Optional[bool] = ...) -> None: ...

class ConnectDetails(_message.Message):
    __slots__ = ("instance_id", "test_case_id")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    TEST_CASE_ID_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    test_case_id: str
    def __init__(self, instance_id: _Optional[str] = ..., test_case_id: _Optional[str] = ...) -> None: ...

class LexDetails(_message.Message):
    __slots__ = ("test_set_id", "test_set_name", "target", "api_mode", "modality", "update_time")
    TEST_SET_ID_FIELD_NUMBER: _ClassVar[int]
    TEST_SET_NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    API_MODE_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    test_set_id: str
    test_set_name: str
    target: LexTarget
    api_mode: LexApiMode
    modality: LexModality
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, test_set_id: _Optional[str] = ..., test_set_name: _Optional[str] = ..., target: _Optional[_Union[LexTarget, _Mapping]] = ..., api_mode: _Optional[_Union[LexApiMode, str]] = ..., modality: _Optional[_Union[LexModality, str]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LexTarget(_message.Message):
    __slots__ = ("bot_id", "bot_alias_id", "locale_id")
    BOT_ID_FIELD_NUMBER: _ClassVar[int]
    BOT_ALIAS_ID_FIELD_NUMBER: _ClassVar[int]
    LOCALE_ID_FIELD_NUMBER: _ClassVar[int]
    bot_id: str
    bot_alias_id: str
    locale_id: str
    def __init__(self, bot_id: _Optional[str] = ..., bot_alias_id: _Optional[str] = ..., locale_id: _Optional[str] = ...) -> None: ...

class OpenMetadataDetails(_message.Message):
    __slots__ = ("fully_qualified_name", "result_id", "run_id", "incident_id", "passed_rows", "failed_rows", "min_bound", "max_bound")
    FULLY_QUALIFIED_NAME_FIELD_NUMBER: _ClassVar[int]
    RESULT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_ID_FIELD_NUMBER: _ClassVar[int]
    PASSED_ROWS_FIELD_NUMBER: _ClassVar[int]
    FAILED_ROWS_FIELD_NUMBER: _ClassVar[int]
    MIN_BOUND_FIELD_NUMBER: _ClassVar[int]
    MAX_BOUND_FIELD_NUMBER: _ClassVar[int]
    fully_qualified_name: str
    result_id: str
    run_id: str
    incident_id: str
    passed_rows: int
    failed_rows: int
    min_bound: float
    max_bound: float
    def __init__(self, fully_qualified_name: _Optional[str] = ..., result_id: _Optional[str] = ..., run_id: _Optional[str] = ..., incident_id: _Optional[str] = ..., passed_rows: _Optional[int] = ..., failed_rows: _Optional[int] = ..., min_bound: _Optional[float] = ..., max_bound: _Optional[float] = ...) -> None: ...

class ResultCounts(_message.Message):
    __slots__ = ("total", "passed", "failed", "errored", "other", "partial")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    ERRORED_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    total: int
    passed: int
    failed: int
    errored: int
    other: int
    partial: bool
    def __init__(self, total: _Optional[int] = ..., passed: _Optional[int] = ..., failed: _Optional[int] = ..., errored: _Optional[int] = ..., other: _Optional[int] = ..., partial: _Optional[bool] = ...) -> None: ...

class FailureReason(_message.Message):
    __slots__ = ("kind", "upstream_code", "messages", "truncated_count")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[FailureReason.Kind]
        KIND_ASSERTION: _ClassVar[FailureReason.Kind]
        KIND_TIMEOUT: _ClassVar[FailureReason.Kind]
        KIND_UPSTREAM_ERROR: _ClassVar[FailureReason.Kind]
        KIND_STOPPED: _ClassVar[FailureReason.Kind]
        KIND_RESULT_UNAVAILABLE: _ClassVar[FailureReason.Kind]
        KIND_LOST: _ClassVar[FailureReason.Kind]
    KIND_UNSPECIFIED: FailureReason.Kind
    KIND_ASSERTION: FailureReason.Kind
    KIND_TIMEOUT: FailureReason.Kind
    KIND_UPSTREAM_ERROR: FailureReason.Kind
    KIND_STOPPED: FailureReason.Kind
    KIND_RESULT_UNAVAILABLE: FailureReason.Kind
    KIND_LOST: FailureReason.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    kind: FailureReason.Kind
    upstream_code: str
    messages: _containers.RepeatedScalarFieldContainer[str]
    truncated_count: int
    def __init__(self, kind: _Optional[_Union[FailureReason.Kind, str]] = ..., upstream_code: _Optional[str] = ..., messages: _Optional[_Iterable[str]] = ..., truncated_count: _Optional[int] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("reason", "message", "since_time")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    since_time: _timestamp_pb2.Timestamp
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ResultItem(_message.Message):
    __slots__ = ("name", "kind", "display_name", "verdict", "event_time", "expected", "actual", "counts", "failure", "metrics", "payload_json", "payload_omitted")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[ResultItem.Kind]
        KIND_OBSERVATION: _ClassVar[ResultItem.Kind]
        KIND_OVERALL: _ClassVar[ResultItem.Kind]
        KIND_CONVERSATION: _ClassVar[ResultItem.Kind]
        KIND_INTENT: _ClassVar[ResultItem.Kind]
        KIND_SLOT: _ClassVar[ResultItem.Kind]
        KIND_UTTERANCE: _ClassVar[ResultItem.Kind]
        KIND_TEST_CASE: _ClassVar[ResultItem.Kind]
    KIND_UNSPECIFIED: ResultItem.Kind
    KIND_OBSERVATION: ResultItem.Kind
    KIND_OVERALL: ResultItem.Kind
    KIND_CONVERSATION: ResultItem.Kind
    KIND_INTENT: ResultItem.Kind
    KIND_SLOT: ResultItem.Kind
    KIND_UTTERANCE: ResultItem.Kind
    KIND_TEST_CASE: ResultItem.Kind
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_JSON_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_OMITTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: ResultItem.Kind
    display_name: str
    verdict: Verdict
    event_time: _timestamp_pb2.Timestamp
    expected: str
    actual: str
    counts: ResultCounts
    failure: FailureReason
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    payload_json: str
    payload_omitted: bool
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[ResultItem.Kind, str]] = ..., display_name: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expected: _Optional[str] = ..., actual: _Optional[str] = ..., counts: _Optional[_Union[ResultCounts, _Mapping]] = ..., failure: _Optional[_Union[FailureReason, _Mapping]] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., payload_json: _Optional[str] = ..., payload_omitted: _Optional[bool] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "value", "predicted_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    predicted_value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., predicted_value: _Optional[str] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("name", "uri", "expire_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    uri: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., uri: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListBackendsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBackendsResponse(_message.Message):
    __slots__ = ("backends", "next_page_token")
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    next_page_token: str
    def __init__(self, backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetBackendRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetBackendResponse(_message.Message):
    __slots__ = ("backend",)
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    backend: Backend
    def __init__(self, backend: _Optional[_Union[Backend, _Mapping]] = ...) -> None: ...

class ListTestsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "filter")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    filter: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ...) -> None: ...

class ListTestsResponse(_message.Message):
    __slots__ = ("tests", "next_page_token", "unreachable")
    TESTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_FIELD_NUMBER: _ClassVar[int]
    tests: _containers.RepeatedCompositeFieldContainer[Test]
    next_page_token: str
    unreachable: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tests: _Optional[_Iterable[_Union[Test, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., unreachable: _Optional[_Iterable[str]] = ...) -> None: ...

class GetTestRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetTestResponse(_message.Message):
    __slots__ = ("test",)
    TEST_FIELD_NUMBER: _ClassVar[int]
    test: Test
    def __init__(self, test: _Optional[_Union[Test, _Mapping]] = ...) -> None: ...

class StartExecutionRequest(_message.Message):
    __slots__ = ("parent", "request_id", "lex", "labels", "validate_only")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LEX_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    request_id: str
    lex: LexStartOptions
    labels: _containers.ScalarMap[str, str]
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., request_id: _Optional[str] = ..., lex: _Optional[_Union[LexStartOptions, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class LexStartOptions(_message.Message):
    __slots__ = ("target", "api_mode", "modality")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    API_MODE_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    target: LexTarget
    api_mode: LexApiMode
    modality: LexModality
    def __init__(self, target: _Optional[_Union[LexTarget, _Mapping]] = ..., api_mode: _Optional[_Union[LexApiMode, str]] = ..., modality: _Optional[_Union[LexModality, str]] = ...) -> None: ...

class StartExecutionResponse(_message.Message):
    __slots__ = ("execution", "deduplicated")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    execution: Execution
    deduplicated: bool
    def __init__(self, execution: _Optional[_Union[Execution, _Mapping]] = ..., deduplicated: _Optional[bool] = ...) -> None: ...

class StopExecutionRequest(_message.Message):
    __slots__ = ("name", "request_id", "reason", "allow_test_scope")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ALLOW_TEST_SCOPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    reason: str
    allow_test_scope: bool
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ..., allow_test_scope: _Optional[bool] = ...) -> None: ...

class StopExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: Execution
    def __init__(self, execution: _Optional[_Union[Execution, _Mapping]] = ...) -> None: ...

class RecordExecutionRequest(_message.Message):
    __slots__ = ("parent", "end_time", "verdict", "message", "openmetadata")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OPENMETADATA_FIELD_NUMBER: _ClassVar[int]
    parent: str
    end_time: _timestamp_pb2.Timestamp
    verdict: Verdict
    message: str
    openmetadata: OpenMetadataRecord
    def __init__(self, parent: _Optional[str] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., message: _Optional[str] = ..., openmetadata: _Optional[_Union[OpenMetadataRecord, _Mapping]] = ...) -> None: ...

class OpenMetadataRecord(_message.Message):
    __slots__ = ("metrics", "passed_rows", "failed_rows")
    METRICS_FIELD_NUMBER: _ClassVar[int]
    PASSED_ROWS_FIELD_NUMBER: _ClassVar[int]
    FAILED_ROWS_FIELD_NUMBER: _ClassVar[int]
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    passed_rows: int
    failed_rows: int
    def __init__(self, metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., passed_rows: _Optional[int] = ..., failed_rows: _Optional[int] = ...) -> None: ...

class RecordExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: Execution
    def __init__(self, execution: _Optional[_Union[Execution, _Mapping]] = ...) -> None: ...

class GetExecutionRequest(_message.Message):
    __slots__ = ("name", "max_staleness")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    name: str
    max_staleness: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: Execution
    def __init__(self, execution: _Optional[_Union[Execution, _Mapping]] = ...) -> None: ...

class BatchGetExecutionsRequest(_message.Message):
    __slots__ = ("names", "max_staleness")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    max_staleness: _duration_pb2.Duration
    def __init__(self, names: _Optional[_Iterable[str]] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class BatchGetExecutionsResponse(_message.Message):
    __slots__ = ("executions",)
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    executions: _containers.RepeatedCompositeFieldContainer[Execution]
    def __init__(self, executions: _Optional[_Iterable[_Union[Execution, _Mapping]]] = ...) -> None: ...

class ListExecutionsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "filter")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    filter: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ...) -> None: ...

class ListExecutionsResponse(_message.Message):
    __slots__ = ("executions", "next_page_token", "unreachable")
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_FIELD_NUMBER: _ClassVar[int]
    executions: _containers.RepeatedCompositeFieldContainer[Execution]
    next_page_token: str
    unreachable: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, executions: _Optional[_Iterable[_Union[Execution, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., unreachable: _Optional[_Iterable[str]] = ...) -> None: ...

class ListResultItemsRequest(_message.Message):
    __slots__ = ("parent", "kind", "page_size", "page_token", "filter")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    parent: str
    kind: ResultItem.Kind
    page_size: int
    page_token: str
    filter: str
    def __init__(self, parent: _Optional[str] = ..., kind: _Optional[_Union[ResultItem.Kind, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ...) -> None: ...

class ListResultItemsResponse(_message.Message):
    __slots__ = ("result_items", "next_page_token")
    RESULT_ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    result_items: _containers.RepeatedCompositeFieldContainer[ResultItem]
    next_page_token: str
    def __init__(self, result_items: _Optional[_Iterable[_Union[ResultItem, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListArtifactsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListArtifactsResponse(_message.Message):
    __slots__ = ("artifacts", "next_page_token")
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    artifacts: _containers.RepeatedCompositeFieldContainer[Artifact]
    next_page_token: str
    def __init__(self, artifacts: _Optional[_Iterable[_Union[Artifact, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WaitExecutionRequest(_message.Message):
    __slots__ = ("name", "timeout", "after_revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    timeout: _duration_pb2.Duration
    after_revision: int
    def __init__(self, name: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., after_revision: _Optional[int] = ...) -> None: ...

class WaitExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: Execution
    def __init__(self, execution: _Optional[_Union[Execution, _Mapping]] = ...) -> None: ...

class WatchExecutionsRequest(_message.Message):
    __slots__ = ("names", "parent", "filter", "resume_token", "heartbeat_interval", "min_update_interval", "max_staleness", "until_done")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MIN_UPDATE_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_DONE_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    parent: str
    filter: str
    resume_token: str
    heartbeat_interval: _duration_pb2.Duration
    min_update_interval: _duration_pb2.Duration
    max_staleness: _duration_pb2.Duration
    until_done: bool
    def __init__(self, names: _Optional[_Iterable[str]] = ..., parent: _Optional[str] = ..., filter: _Optional[str] = ..., resume_token: _Optional[str] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_update_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., until_done: _Optional[bool] = ...) -> None: ...

class WatchExecutionsResponse(_message.Message):
    __slots__ = ("resume_token", "update", "snapshot_complete", "heartbeat", "complete")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    resume_token: str
    update: ExecutionUpdate
    snapshot_complete: SnapshotComplete
    heartbeat: Heartbeat
    complete: WatchComplete
    def __init__(self, resume_token: _Optional[str] = ..., update: _Optional[_Union[ExecutionUpdate, _Mapping]] = ..., snapshot_complete: _Optional[_Union[SnapshotComplete, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., complete: _Optional[_Union[WatchComplete, _Mapping]] = ...) -> None: ...

class ExecutionUpdate(_message.Message):
    __slots__ = ("type", "execution", "coalesced_count")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[ExecutionUpdate.Type]
        TYPE_SNAPSHOT: _ClassVar[ExecutionUpdate.Type]
        TYPE_CHANGED: _ClassVar[ExecutionUpdate.Type]
        TYPE_REMOVED: _ClassVar[ExecutionUpdate.Type]
    TYPE_UNSPECIFIED: ExecutionUpdate.Type
    TYPE_SNAPSHOT: ExecutionUpdate.Type
    TYPE_CHANGED: ExecutionUpdate.Type
    TYPE_REMOVED: ExecutionUpdate.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    COALESCED_COUNT_FIELD_NUMBER: _ClassVar[int]
    type: ExecutionUpdate.Type
    execution: Execution
    coalesced_count: int
    def __init__(self, type: _Optional[_Union[ExecutionUpdate.Type, str]] = ..., execution: _Optional[_Union[Execution, _Mapping]] = ..., coalesced_count: _Optional[int] = ...) -> None: ...

class SnapshotComplete(_message.Message):
    __slots__ = ("reset", "heartbeat_interval", "max_staleness", "max_lag", "unreachable")
    RESET_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    MAX_LAG_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_FIELD_NUMBER: _ClassVar[int]
    reset: bool
    heartbeat_interval: _duration_pb2.Duration
    max_staleness: _duration_pb2.Duration
    max_lag: _duration_pb2.Duration
    unreachable: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reset: _Optional[bool] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_lag: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., unreachable: _Optional[_Iterable[str]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("oldest_observe_time", "unreachable", "send_time", "max_staleness")
    OLDEST_OBSERVE_TIME_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_FIELD_NUMBER: _ClassVar[int]
    SEND_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    oldest_observe_time: _timestamp_pb2.Timestamp
    unreachable: _containers.RepeatedScalarFieldContainer[str]
    send_time: _timestamp_pb2.Timestamp
    max_staleness: _duration_pb2.Duration
    def __init__(self, oldest_observe_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., unreachable: _Optional[_Iterable[str]] = ..., send_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchComplete(_message.Message):
    __slots__ = ("done_count",)
    DONE_COUNT_FIELD_NUMBER: _ClassVar[int]
    done_count: int
    def __init__(self, done_count: _Optional[int] = ...) -> None: ...
