/** Against a gateway with simulated upstreams, which tests/clients.rs starts. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { status } from "@grpc/grpc-js";
import { Client, type ClientOptions, TestgateError, v1 } from "../src/index.js";

const SERVER = process.env.TESTGATE_SERVER ?? "";
const PASSING = "backends/connect/tests/c0ffee00-0000-4000-8000-000000000001";
const ENDLESS = "backends/connect/tests/c0ffee00-0000-4000-8000-000000000003";
const FAILING = "backends/lex/tests/BOOKINGBAD";
// Its upstream fails for a moment, and throttles for two minutes.
const UNAVAILABLE = "backends/quality/tests/case-ca5e0000-0000-4000-8000-000000000001";
const THROTTLED = "backends/quality/tests/pipeline-919e0000-0000-4000-8000-000000000001";
const PATIENCE = { timeout: 120_000 };

async function withClient(scenario: (client: Client) => Promise<void>, target = SERVER, options?: ClientOptions) {
  const client = new Client(target, options);
  try {
    await scenario(client);
  } finally {
    client.close();
  }
}

test("a request id starts once, and the run is followed to its verdict", PATIENCE, () =>
  withClient(async (client) => {
    const options = { requestId: randomUUID(), labels: { build: "7" } };
    const first = await client.start(PASSING, options);
    const again = await client.start(PASSING, options);
    assert.equal(again.name, first.name);
    let last: v1.Execution | undefined;
    for await (const state of client.follow([first.name])) {
      assert.ok(last === undefined || state.revision > last.revision);
      last = state;
    }
    assert.ok(last?.done);
    assert.equal(last.verdict, v1.Verdict.VERDICT_PASSED);
    assert.equal(last.labels.build, "7");
  }),
);

test("a connection that drops again and again costs neither a start nor the end", PATIENCE, () =>
  withClient(async (client) => {
    const done = await client.run(FAILING, { requestId: randomUUID() });
    assert.equal(done.verdict, v1.Verdict.VERDICT_FAILED);
  }, process.env.TESTGATE_FLAKY_SERVER),
);

test("the items behind a verdict can be read", PATIENCE, () =>
  withClient(async (client) => {
    const done = await client.run(FAILING);
    let failed = 0;
    for await (const item of client.items(done.name, "verdict = FAILED")) failed += item.name ? 1 : 0;
    assert.equal(failed, 2);
    assert.equal(done.counts?.failed, 2);
  }),
);

test("errors say what and where", PATIENCE, () =>
  withClient(async (client) => {
    await assert.rejects(client.start("backends/connect/tests/a%zz"), (error) => {
      assert.ok(error instanceof TestgateError);
      assert.equal(error.code, status.INVALID_ARGUMENT);
      assert.equal(error.reason, "FIELD_INVALID");
      assert.deepEqual(Object.keys(error.violations), ["parent"]);
      assert.equal(error.retryAfterMs, undefined);
      return true;
    });
  }),
);

test("what is unavailable for a moment is asked again", PATIENCE, () =>
  withClient(async (client) => {
    assert.equal((await client.call(client.stub.getTest, { name: UNAVAILABLE })).test?.name, UNAVAILABLE);
  }),
);

test("who has to wait is told how long", PATIENCE, () =>
  withClient(async (client) => {
    await assert.rejects(client.call(client.stub.getTest, { name: THROTTLED }), (error) => {
      assert.ok(error instanceof TestgateError);
      assert.equal(error.code, status.RESOURCE_EXHAUSTED);
      assert.equal(error.reason, "UPSTREAM_THROTTLED");
      assert.ok(error.retryAfterMs !== undefined && error.retryAfterMs > 100_000 && error.retryAfterMs < 200_000);
      return true;
    });
  }),
);

test("a deadline ends what takes too long", PATIENCE, () =>
  withClient(async (client) => {
    const started = await client.start(ENDLESS);
    const follow = async () => {
      for await (const _ of client.follow([started.name], { timeoutMs: 500 }));
    };
    await assert.rejects(follow, (error) => error instanceof TestgateError && error.code === status.DEADLINE_EXCEEDED);
  }),
);

test("the example fails unless every test passes", PATIENCE, async () => {
  const gate = fileURLToPath(new URL("../examples/release-gate.js", import.meta.url));
  const exitCode = (tests: string[]) =>
    new Promise((resolve) => {
      execFile(process.execPath, [gate, ...tests], (error) => resolve(error === null ? 0 : error.code));
    });
  assert.deepEqual(await Promise.all([exitCode([PASSING]), exitCode([PASSING, FAILING])]), [0, 1]);
});

test("a token goes over TLS only", () => {
  assert.throws(() => new Client(SERVER, { token: "secret" }), TypeError);
});

test("TLS with a token", PATIENCE, async () => {
  const { TESTGATE_TLS_SERVER: tlsServer, TESTGATE_CA_FILE: caFile, TESTGATE_TOKEN_FILE: tokenFile } = process.env;
  const tls = readFileSync(caFile ?? "");
  const token = readFileSync(tokenFile ?? "", "utf8").trim();
  await withClient(async (client) => {
    assert.equal((await client.run(PASSING)).verdict, v1.Verdict.VERDICT_PASSED);
  }, tlsServer, { tls, token });
  await withClient(async (client) => {
    await assert.rejects(
      client.start(PASSING),
      (error) => error instanceof TestgateError && error.reason === "CALLER_UNAUTHENTICATED",
    );
  }, tlsServer, { tls, token: "wrong" });
});
