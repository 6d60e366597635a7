"""What the gateway says when a call fails, taken out of its error details."""

from __future__ import annotations

from typing import Mapping, Optional

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"


class TestgateError(Exception):
    """A failed call.

    Attributes:
        code: the gRPC status code.
        reason: the machine-readable reason, as ``UPSTREAM_THROTTLED``; empty where the gateway was not reached.
        metadata: facts about the failure: the backend, upstream's own code and request id.
        retry_after: seconds to wait before the same call may succeed; None where it is not to be repeated.
        violations: the request's fields that broke a rule, with the rule.
    """

    __test__ = False  # pytest takes the name for a test

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: Optional[Mapping[str, str]] = None,
        retry_after: Optional[float] = None,
        violations: Optional[Mapping[str, str]] = None,
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.violations = dict(violations or {})

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> TestgateError:
        """Reads the details of a failed call."""
        failure = cls(error.code(), error.details() or "")
        for key, value in error.trailing_metadata() or ():
            if key == _DETAILS:
                failure._read(status_pb2.Status.FromString(value))
        failure.args = (f"{failure.reason or failure.code.name}: {failure.message}",)
        return failure

    def _read(self, status: status_pb2.Status) -> None:
        for detail in status.details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo()
                detail.Unpack(info)
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                detail.Unpack(retry)
                self.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
            elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                bad = error_details_pb2.BadRequest()
                detail.Unpack(bad)
                self.violations = {v.field: v.description for v in bad.field_violations}

    @property
    def is_resumable(self) -> bool:
        """Whether a broken stream goes on with its resume token."""
        return self.code is grpc.StatusCode.UNAVAILABLE or self.retry_after is not None
