"""An asyncio client of testgate."""

from testgate.client import Client
from testgate.errors import TestgateError
from testgate.v1 import testgate_pb2 as v1

__all__ = ["Client", "TestgateError", "v1"]
