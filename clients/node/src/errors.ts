import { type Metadata, status as codes } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "../gen/google/rpc/error_details.js";
import { Status } from "../gen/google/rpc/status.js";

const DETAILS = "grpc-status-details-bin";

/** A failed call with what the gateway says about it. */
export class TestgateError extends Error {
  override readonly name = "TestgateError";

  private constructor(
    message: string,
    /** The gRPC status code. */
    readonly code: codes,
    /** For programs, as `UPSTREAM_THROTTLED`; empty where the gateway was not reached. */
    readonly reason: string,
    /** Facts about the failure: the backend, upstream's own code and request id. */
    readonly metadata: Readonly<Record<string, string>>,
    /** Milliseconds to wait before the same call may succeed; undefined where it is not to be repeated. */
    readonly retryAfterMs: number | undefined,
    /** The request's fields that broke a rule, with the rule. */
    readonly violations: Readonly<Record<string, string>>,
    cause: unknown,
  ) {
    super(`${reason || codes[code]}: ${message}`, { cause });
  }

  /** Reads the details of what a call failed with. */
  static of(cause: unknown): TestgateError {
    const { code = codes.UNKNOWN, details = String(cause), metadata } = cause as Partial<{
      code: codes;
      details: string;
      metadata: Metadata;
    }>;
    let reason = "";
    let facts: Record<string, string> = {};
    let retryAfterMs: number | undefined;
    const violations: Record<string, string> = {};
    for (const detail of metadata?.get(DETAILS).flatMap((bytes) => Status.decode(bytes as Buffer).details) ?? []) {
      switch (detail.typeUrl.split("/").pop()) {
        case "google.rpc.ErrorInfo":
          ({ reason, metadata: facts } = ErrorInfo.decode(detail.value));
          break;
        case "google.rpc.RetryInfo": {
          const delay = RetryInfo.decode(detail.value).retryDelay;
          retryAfterMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
          break;
        }
        case "google.rpc.BadRequest":
          for (const { field, description } of BadRequest.decode(detail.value).fieldViolations) {
            violations[field] = description;
          }
      }
    }
    return new TestgateError(details, code, reason, facts, retryAfterMs, violations, cause);
  }

  /** Whether a broken stream goes on with its resume token. */
  get isResumable(): boolean {
    return this.code === codes.UNAVAILABLE || this.retryAfterMs !== undefined;
  }
}
