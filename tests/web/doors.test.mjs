// testgate's doors with the clients that pages use, on the runtime's own fetch. The messages come from the descriptors
// that the contract is compiled to, so there is no generated code here.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

const { TESTGATE_SERVER: baseUrl, TESTGATE_TOKEN: token, TESTGATE_DESCRIPTORS: folder } = process.env;

const registryOf = (name) =>
  createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(join(folder, name))));
const contract = registryOf("contract");
const errors = registryOf("errors");
const service = contract.getService("testgate.v1.TestExecutionService");
const ErrorInfo = errors.getMessage("google.rpc.ErrorInfo");

const named = (next) => (request) => {
  request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};

const doors = {
  "gRPC-Web": (options) => createGrpcWebTransport({ baseUrl, ...options }),
  "Connect, JSON": (options) => createConnectTransport({ baseUrl, ...options }),
  "Connect, protobuf": (options) => createConnectTransport({ baseUrl, useBinaryFormat: true, ...options }),
};

const parent = "backends/lex/tests/BOOKINGOK1";

async function failure(promise) {
  const error = ConnectError.from(await promise.then(() => assert.fail("it succeeded"), (error) => error));
  const [info] = error.findDetails(ErrorInfo);
  return { code: error.code, reason: info?.reason, domain: info?.domain };
}

for (const [door, transport] of Object.entries(doors)) {
  const client = createClient(service, transport({ interceptors: [named] }));

  test(`${door}: a test is started once and followed to its verdict`, async () => {
    const request = { parent, requestId: `web-${door}`, labels: { build: "42" } };
    const { execution } = await client.startExecution(request);
    assert.equal((await client.startExecution(request)).execution.name, execution.name);
    const seen = [];
    for await (const { event } of client.watchExecutions({ names: [execution.name], untilDone: true })) {
      seen.push(event.case);
      if (event.case === "update" && event.value.execution.done) {
        assert.equal(event.value.execution.name, execution.name);
      }
    }
    assert.ok(seen.includes("snapshotComplete"), seen.join());
    assert.equal(seen.at(-1), "complete");
    const read = await client.getExecution({ name: execution.name });
    assert.equal(read.execution.done, true);
    assert.equal(read.execution.labels.build, "42");
  });

  test(`${door}: errors have their code and their details`, async () => {
    assert.deepEqual(await failure(client.getExecution({ name: `${parent}/executions/NOSUCHRUN1` })), {
      code: Code.NotFound,
      reason: "UPSTREAM_NOT_FOUND",
      domain: "testgate.dev",
    });
    assert.deepEqual(await failure(client.getBackend({ name: "backends/quality" })), {
      code: Code.PermissionDenied,
      reason: "CALLER_NOT_PERMITTED",
      domain: "testgate.dev",
    });
  });

  test(`${door}: nobody in particular is refused, on a stream too`, async () => {
    const nobody = createClient(service, transport());
    const refused = { code: Code.Unauthenticated, reason: "CALLER_UNAUTHENTICATED", domain: "testgate.dev" };
    assert.deepEqual(await failure(nobody.listBackends({})), refused);
    const stream = nobody.watchExecutions({ parent: "backends/-/tests/-" });
    assert.deepEqual(await failure(stream[Symbol.asyncIterator]().next()), refused);
  });

  test(`${door}: a stream ends by its deadline and by the page`, async () => {
    const request = { parent: "backends/lex/tests/-" };
    const late = async () => {
      for await (const _ of client.watchExecutions(request, { timeoutMs: 1000 }));
    };
    assert.equal((await failure(late())).code, Code.DeadlineExceeded);
    const page = new AbortController();
    const left = async () => {
      for await (const { event } of client.watchExecutions(request, { signal: page.signal })) {
        if (event.case === "snapshotComplete") page.abort();
      }
    };
    assert.equal((await failure(left())).code, Code.Canceled);
  });
}
