package dev.testgate.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/** A failed call with what the gateway says about it. */
public final class TestgateException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final Status.Code code;
  private final transient Details details;

  private record Details(
      String reason, Map<String, String> metadata, Duration retryAfter, Map<String, String> violations) {}

  private TestgateException(Status status, Details details, Throwable cause) {
    super((details.reason.isEmpty() ? status.getCode() : details.reason) + ": " + status.getDescription(), cause);
    this.code = status.getCode();
    this.details = details;
  }

  static TestgateException of(StatusRuntimeException error) {
    String reason = "";
    Map<String, String> metadata = Map.of();
    Duration retryAfter = null;
    Map<String, String> violations = new LinkedHashMap<>();
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    if (status != null) {
      try {
        for (Any detail : status.getDetailsList()) {
          if (detail.is(ErrorInfo.class)) {
            ErrorInfo info = detail.unpack(ErrorInfo.class);
            reason = info.getReason();
            metadata = info.getMetadataMap();
          } else if (detail.is(RetryInfo.class)) {
            com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
            retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
          } else if (detail.is(BadRequest.class)) {
            detail.unpack(BadRequest.class).getFieldViolationsList()
                .forEach(violation -> violations.put(violation.getField(), violation.getDescription()));
          }
        }
      } catch (InvalidProtocolBufferException nonsense) {
        error.addSuppressed(nonsense);
      }
    }
    return new TestgateException(error.getStatus(), new Details(reason, metadata, retryAfter, violations), error);
  }

  /** The gRPC status code. */
  public Status.Code code() {
    return code;
  }

  /** For programs, as {@code UPSTREAM_THROTTLED}; empty where the gateway was not reached. */
  public String reason() {
    return details.reason;
  }

  /** Facts about the failure: the backend, upstream's own code and request id. */
  public Map<String, String> metadata() {
    return details.metadata;
  }

  /** How long to wait before the same call may succeed; empty where it is not to be repeated. */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(details.retryAfter);
  }

  /** The request's fields that broke a rule, with the rule. */
  public Map<String, String> violations() {
    return details.violations;
  }

  /** Whether a broken stream goes on with its resume token. */
  public boolean isResumable() {
    return code == Status.Code.UNAVAILABLE || details.retryAfter != null;
  }
}
