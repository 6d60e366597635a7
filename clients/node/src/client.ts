import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type CallOptions, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  type Execution,
  type ExecutionUpdate,
  ExecutionUpdate_Type,
  type LexStartOptions,
  ListResultItemsRequest,
  type ResultItem,
  StartExecutionRequest,
  TestExecutionServiceClient,
  WatchExecutionsRequest,
} from "../gen/testgate/v1/testgate.js";
import { TestgateError } from "./errors.js";

const SERVICE_CONFIG = readFileSync(new URL("./service-config.json", import.meta.url), "utf8");
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;

/** How to reach a gateway. */
export interface ClientOptions {
  /** A bearer token; it is only sent over TLS. */
  token?: string;
  /** Use TLS, with these PEM roots or, where it is `true`, the system's. */
  tls?: Buffer | true;
  /** Milliseconds that a unary call may take. */
  timeoutMs?: number;
}

/** What a start may say beyond the test. */
export interface StartOptions {
  /** Made up where left out; give your own to be able to repeat the call after a crash of your process too. */
  requestId?: string;
  labels?: Record<string, string>;
  lex?: LexStartOptions;
}

type Unary<Request, Reply> = (
  request: Request,
  metadata: Metadata,
  options: CallOptions,
  callback: (error: ServiceError | null, reply: Reply) => void,
) => unknown;

/** A connection to one gateway. */
export class Client {
  /** Every call of the contract. */
  readonly stub: TestExecutionServiceClient;
  private readonly metadata = new Metadata();
  private readonly timeoutMs: number;

  /** @param target `host:port`. */
  constructor(target: string, { token, tls, timeoutMs = 60_000 }: ClientOptions = {}) {
    if (token !== undefined) {
      if (tls === undefined) throw new TypeError("a token is only sent over TLS: give `tls`");
      this.metadata.set("authorization", `Bearer ${token}`);
    }
    this.timeoutMs = timeoutMs;
    const transport = tls === undefined ? credentials.createInsecure() : credentials.createSsl(tls === true ? null : tls);
    this.stub = new TestExecutionServiceClient(target, transport, {
      "grpc.service_config": SERVICE_CONFIG,
      // A connection that died without a word is noticed within half a minute.
      "grpc.keepalive_time_ms": 20_000,
      "grpc.keepalive_timeout_ms": 10_000,
    });
  }

  /** Ends the connection. */
  close(): void {
    this.stub.close();
  }

  /** Makes a unary call, as `client.call(client.stub.getTest, { name })`. Rejects with a `TestgateError`. */
  call<Request, Reply>(method: Unary<Request, Reply>, request: Request): Promise<Reply> {
    const options = { deadline: Date.now() + this.timeoutMs };
    return new Promise((resolve, reject) => {
      method.call(this.stub, request, this.metadata, options, (error, reply) =>
        error ? reject(TestgateError.of(error)) : resolve(reply),
      );
    });
  }

  /** Starts a test once, however often the call has to be repeated. */
  async start(test: string, { requestId = randomUUID(), labels = {}, lex }: StartOptions = {}): Promise<Execution> {
    const request = StartExecutionRequest.fromPartial({
      parent: test,
      requestId,
      labels,
      options: lex && { $case: "lex", value: lex },
    });
    return present((await this.call(this.stub.startExecution, request)).execution);
  }

  /**
   * Yields each new state of these executions until all have ended; goes on after a lost connection. Throws a
   * `TestgateError` where the gateway refuses, or after `timeoutMs` (DEADLINE_EXCEEDED).
   */
  async *follow(names: string[], { timeoutMs }: { timeoutMs?: number } = {}): AsyncGenerator<Execution> {
    const known = new Map<string, bigint>();
    const deadline = timeoutMs === undefined ? undefined : Date.now() + timeoutMs;
    let resumeToken = "";
    let pause = FIRST_PAUSE_MS;
    for (;;) {
      const request = WatchExecutionsRequest.fromPartial({ names, resumeToken, untilDone: true });
      const stream = this.stub.watchExecutions(request, this.metadata, deadline === undefined ? {} : { deadline });
      let delay: number | undefined;
      try {
        for await (const message of stream) {
          pause = FIRST_PAUSE_MS;
          if (message.event?.$case === "update" && isNews(known, message.event.value)) {
            yield present(message.event.value.execution);
          }
          // Only now: what it stands for was processed.
          resumeToken = message.resumeToken || resumeToken;
          if (message.event?.$case === "complete") return;
        }
        // An end without `complete` is a stream that was cut.
      } catch (cause) {
        const error = TestgateError.of(cause);
        if (!error.isResumable) throw error;
        delay = error.retryAfterMs;
      } finally {
        stream.cancel();
      }
      delay ??= pause * (0.5 + Math.random() / 2);
      await sleep(deadline === undefined ? delay : Math.min(delay, Math.max(deadline - Date.now(), 0)));
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  /** Starts a test and resolves with the execution once it is done. PASSED is the only verdict that means passed. */
  async run(test: string, options: StartOptions & { timeoutMs?: number } = {}): Promise<Execution> {
    let execution = await this.start(test, options);
    for await (const state of this.follow([execution.name], options)) execution = state;
    return execution;
  }

  /** Yields an execution's result items, page after page; `filter` as `verdict = FAILED`. */
  async *items(execution: string, filter = ""): AsyncGenerator<ResultItem> {
    let pageToken = "";
    do {
      const request = ListResultItemsRequest.fromPartial({ parent: execution, filter, pageSize: 1000, pageToken });
      const page = await this.call(this.stub.listResultItems, request);
      yield* page.resultItems;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }
}

/** Drops a revision that is known already, since delivery is at least once. A snapshot replaces what was known. */
function isNews(known: Map<string, bigint>, { type, execution }: ExecutionUpdate): boolean {
  const { name, revision } = present(execution);
  const last = known.get(name);
  const isSnapshot = type === ExecutionUpdate_Type.TYPE_SNAPSHOT;
  if (last !== undefined && (revision === last || (revision < last && !isSnapshot))) return false;
  known.set(name, revision);
  return true;
}

function present(execution: Execution | undefined): Execution {
  if (execution === undefined) throw new TypeError("the gateway's answer lacks its execution");
  return execution;
}
