"""Start a run, follow it to its verdict, read what came out."""

from __future__ import annotations

import asyncio
import random
import uuid
from importlib import resources
from types import TracebackType
from typing import AsyncIterator, Awaitable, Callable, Mapping, Optional, Sequence, Type, TypeVar

import grpc

from testgate.errors import TestgateError
from testgate.v1 import testgate_pb2 as v1
from testgate.v1 import testgate_pb2_grpc

Reply = TypeVar("Reply")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_OPTIONS = (
    ("grpc.enable_retries", 1),
    ("grpc.service_config", resources.files("testgate").joinpath("service-config.json").read_text()),
    # A connection that died without a word is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class Client:
    """A connection to one gateway. Use it as an async context manager.

    Args:
        target: ``host:port``.
        token: a bearer token; it is only sent over TLS.
        ca: PEM roots that the gateway's certificate is checked with; plaintext where neither this nor ``tls`` is given.
        tls: use TLS with the system's roots.
        timeout: seconds that a call may take where it does not say.
    """

    def __init__(
        self,
        target: str,
        *,
        token: Optional[str] = None,
        ca: Optional[bytes] = None,
        tls: bool = False,
        timeout: float = 60.0,
    ) -> None:
        self._timeout = timeout
        if ca is None and not tls:
            if token is not None:
                raise ValueError("a token is only sent over TLS: give `ca` or `tls`")
            self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(ca)
            if token is not None:
                bearer = grpc.access_token_call_credentials(token)
                credentials = grpc.composite_channel_credentials(credentials, bearer)
            self._channel = grpc.aio.secure_channel(target, credentials, options=_OPTIONS)
        self.stub = testgate_pb2_grpc.TestExecutionServiceStub(self._channel)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self._channel.close()

    async def call(
        self, method: Callable[..., Awaitable[Reply]], request: object, timeout: Optional[float] = None
    ) -> Reply:
        """Makes a unary call, as ``client.call(client.stub.GetTest, v1.GetTestRequest(name=...))``.

        Raises:
            TestgateError: it failed; what may be repeated was repeated already.
        """
        try:
            return await method(request, timeout=timeout or self._timeout)
        except grpc.aio.AioRpcError as error:
            raise TestgateError.of(error) from error

    async def start(
        self,
        test: str,
        *,
        request_id: Optional[str] = None,
        labels: Optional[Mapping[str, str]] = None,
        lex: Optional[v1.LexStartOptions] = None,
        timeout: Optional[float] = None,
    ) -> v1.Execution:
        """Starts a test once, however often the call has to be repeated.

        Give your own ``request_id`` to be able to repeat the call after a crash of your process too.
        """
        request = v1.StartExecutionRequest(
            parent=test, request_id=request_id or str(uuid.uuid4()), labels=labels or {}, lex=lex
        )
        return (await self.call(self.stub.StartExecution, request, timeout)).execution

    async def get(self, name: str, *, timeout: Optional[float] = None) -> v1.Execution:
        """Reads an execution."""
        request = v1.GetExecutionRequest(name=name)
        return (await self.call(self.stub.GetExecution, request, timeout)).execution

    async def follow(self, names: Sequence[str], *, timeout: Optional[float] = None) -> AsyncIterator[v1.Execution]:
        """Yields each new state of these executions until all have ended; goes on after a lost connection.

        Raises:
            TestgateError: the gateway refused, or ``timeout`` seconds passed (DEADLINE_EXCEEDED).
        """
        known: dict[str, int] = {}
        token, pause = "", _FIRST_PAUSE
        give_up = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while True:
            left = None if give_up is None else max(give_up - asyncio.get_running_loop().time(), 0.001)
            request = v1.WatchExecutionsRequest(names=names, resume_token=token, until_done=True)
            delay = None
            try:
                async for message in self.stub.WatchExecutions(request, timeout=left):
                    pause = _FIRST_PAUSE
                    event = message.WhichOneof("event")
                    if event == "update" and _is_news(known, message.update):
                        yield message.update.execution
                    # Only now: what it stands for was processed.
                    token = message.resume_token or token
                    if event == "complete":
                        return
                # An end without `complete` is a stream that was cut.
            except grpc.aio.AioRpcError as error:
                failure = TestgateError.of(error)
                if not failure.is_resumable:
                    raise failure from error
                delay = failure.retry_after
            delay = delay if delay is not None else pause * random.uniform(0.5, 1.0)
            await asyncio.sleep(delay if left is None else min(delay, left))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def run(
        self,
        test: str,
        *,
        request_id: Optional[str] = None,
        labels: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> v1.Execution:
        """Starts a test and returns the execution once it is done. PASSED is the only verdict that means passed."""
        execution = await self.start(test, request_id=request_id, labels=labels)
        async for execution in self.follow([execution.name], timeout=timeout):
            pass
        return execution

    async def items(self, execution: str, *, filter: str = "") -> AsyncIterator[v1.ResultItem]:
        """Yields an execution's result items, page after page; ``filter`` as ``verdict = FAILED``."""
        request = v1.ListResultItemsRequest(parent=execution, page_size=1000, filter=filter)
        while True:
            page = await self.call(self.stub.ListResultItems, request)
            for item in page.result_items:
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _is_news(known: dict[str, int], update: v1.ExecutionUpdate) -> bool:
    """Delivery is at least once: a revision that is known already is dropped. A snapshot replaces what was known."""
    name, revision = update.execution.name, update.execution.revision
    last = known.get(name)
    if last is not None and (revision == last or (revision < last and update.type != v1.ExecutionUpdate.TYPE_SNAPSHOT)):
        return False
    known[name] = revision
    return True
