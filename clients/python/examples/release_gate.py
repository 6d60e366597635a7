"""Runs the tests that are named on the command line and fails unless all of them pass."""

import asyncio
import os
import sys

from testgate import Client, v1


async def main(tests: list[str]) -> int:
    async with Client(os.environ.get("TESTGATE_SERVER", "127.0.0.1:50051")) as client:
        runs = await asyncio.gather(*(client.run(test, timeout=900) for test in tests))
    for run in runs:
        print(v1.Verdict.Name(run.verdict).removeprefix("VERDICT_"), run.name)
    return 0 if all(run.verdict == v1.VERDICT_PASSED for run in runs) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
