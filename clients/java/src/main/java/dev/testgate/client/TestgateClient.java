package dev.testgate.client;

import com.google.gson.Gson;
import dev.testgate.v1.Execution;
import dev.testgate.v1.ExecutionUpdate;
import dev.testgate.v1.ListResultItemsRequest;
import dev.testgate.v1.ListResultItemsResponse;
import dev.testgate.v1.ResultItem;
import dev.testgate.v1.StartExecutionRequest;
import dev.testgate.v1.TestExecutionServiceGrpc;
import dev.testgate.v1.TestExecutionServiceGrpc.TestExecutionServiceBlockingStub;
import dev.testgate.v1.WatchExecutionsRequest;
import dev.testgate.v1.WatchExecutionsResponse;
import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.Executor;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;

/** A connection to one gateway. It is safe for use by several threads. */
public final class TestgateClient implements AutoCloseable {
  private static final Duration CALL_TIMEOUT = Duration.ofSeconds(60);
  private static final long FIRST_PAUSE_MS = 200;
  private static final long LONGEST_PAUSE_MS = 5_000;

  private final ManagedChannel channel;
  private final TestExecutionServiceBlockingStub stub;

  private TestgateClient(String target, ChannelCredentials credentials) {
    this.channel = Grpc.newChannelBuilder(target, credentials)
        .enableRetry()
        .defaultServiceConfig(serviceConfig())
        // A connection that died without a word is noticed within half a minute.
        .keepAliveTime(20, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .build();
    this.stub = TestExecutionServiceGrpc.newBlockingStub(channel);
  }

  /** Connects to {@code host:port} in plaintext. */
  public static TestgateClient plaintext(String target) {
    return new TestgateClient(target, InsecureChannelCredentials.create());
  }

  /**
   * Connects over TLS and sends a bearer token with each call.
   *
   * @param roots PEM roots that the gateway's certificate is checked with; null for the system's
   */
  public static TestgateClient tls(String target, InputStream roots, String token) throws IOException {
    ChannelCredentials tls = roots == null
        ? TlsChannelCredentials.create()
        : TlsChannelCredentials.newBuilder().trustManager(roots).build();
    return new TestgateClient(target, CompositeChannelCredentials.create(tls, new Bearer(token)));
  }

  /** Every call of the contract; {@link #call} makes one and reads the details of a failure. */
  public TestExecutionServiceBlockingStub stub() {
    return stub;
  }

  /**
   * Makes a unary call, as {@code client.call(stub -> stub.getTest(request))}.
   *
   * @throws TestgateException it failed; what may be repeated was repeated already
   */
  public <T> T call(Function<TestExecutionServiceBlockingStub, T> method) {
    try {
      return method.apply(stub.withDeadlineAfter(CALL_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS));
    } catch (StatusRuntimeException error) {
      throw TestgateException.of(error);
    }
  }

  /**
   * Starts a test once, however often the call has to be repeated.
   *
   * @param requestId null to have one made up; give your own to be able to repeat the call after a crash of your process
   */
  public Execution start(String test, String requestId, Map<String, String> labels) {
    StartExecutionRequest request = StartExecutionRequest.newBuilder()
        .setParent(test)
        .setRequestId(Objects.requireNonNullElseGet(requestId, () -> UUID.randomUUID().toString()))
        .putAllLabels(labels)
        .build();
    return call(gateway -> gateway.startExecution(request)).getExecution();
  }

  /**
   * Gives each new state of these executions to {@code listener} until all have ended; goes on after a lost connection.
   *
   * @throws TestgateException the gateway refused, or {@code timeout} passed (DEADLINE_EXCEEDED)
   */
  public void follow(List<String> names, Duration timeout, Consumer<Execution> listener) throws InterruptedException {
    Deadline deadline = Deadline.after(timeout.toMillis(), TimeUnit.MILLISECONDS);
    Map<String, Long> known = new HashMap<>();
    String token = "";
    long pause = FIRST_PAUSE_MS;
    while (true) {
      WatchExecutionsRequest request = WatchExecutionsRequest.newBuilder()
          .addAllNames(names).setResumeToken(token).setUntilDone(true).build();
      Duration delay = null;
      // Ends the stream also where the listener throws.
      Context.CancellableContext context = Context.current().withCancellation();
      Context previous = context.attach();
      try {
        Iterator<WatchExecutionsResponse> messages = stub.withDeadline(deadline).watchExecutions(request);
        while (messages.hasNext()) {
          WatchExecutionsResponse message = messages.next();
          pause = FIRST_PAUSE_MS;
          if (message.hasUpdate() && isNews(known, message.getUpdate())) {
            listener.accept(message.getUpdate().getExecution());
          }
          // Only now: what it stands for was processed.
          token = message.getResumeToken().isEmpty() ? token : message.getResumeToken();
          if (message.hasComplete()) {
            return;
          }
        }
        // An end without `complete` is a stream that was cut.
      } catch (StatusRuntimeException error) {
        TestgateException failure = TestgateException.of(error);
        if (!failure.isResumable()) {
          throw failure;
        }
        delay = failure.retryAfter().orElse(null);
      } finally {
        context.detach(previous);
        context.cancel(null);
      }
      long wait = delay != null ? delay.toMillis() : ThreadLocalRandom.current().nextLong(pause / 2, pause + 1);
      Thread.sleep(Math.max(0, Math.min(wait, deadline.timeRemaining(TimeUnit.MILLISECONDS))));
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  /** Starts a test and returns the execution once it is done. PASSED is the only verdict that means passed. */
  public Execution run(String test, String requestId, Map<String, String> labels, Duration timeout)
      throws InterruptedException {
    Execution[] last = {start(test, requestId, labels)};
    follow(List.of(last[0].getName()), timeout, state -> last[0] = state);
    return last[0];
  }

  /** All of an execution's result items; {@code filter} as {@code verdict = FAILED}. */
  public List<ResultItem> items(String execution, String filter) {
    ListResultItemsRequest.Builder request =
        ListResultItemsRequest.newBuilder().setParent(execution).setFilter(filter).setPageSize(1000);
    List<ResultItem> items = new ArrayList<>();
    ListResultItemsResponse page;
    do {
      page = call(gateway -> gateway.listResultItems(request.build()));
      items.addAll(page.getResultItemsList());
      request.setPageToken(page.getNextPageToken());
    } while (!page.getNextPageToken().isEmpty());
    return items;
  }

  @Override
  public void close() throws InterruptedException {
    channel.shutdownNow();
    channel.awaitTermination(5, TimeUnit.SECONDS);
  }

  /** Drops a revision that is known already, since delivery is at least once. A snapshot replaces what was known. */
  private static boolean isNews(Map<String, Long> known, ExecutionUpdate update) {
    String name = update.getExecution().getName();
    long revision = update.getExecution().getRevision();
    Long last = known.get(name);
    boolean snapshot = update.getType() == ExecutionUpdate.Type.TYPE_SNAPSHOT;
    if (last != null && (revision == last || (revision < last && !snapshot))) {
      return false;
    }
    known.put(name, revision);
    return true;
  }

  @SuppressWarnings("unchecked")
  private static Map<String, ?> serviceConfig() {
    try (Reader reader = new InputStreamReader(
        TestgateClient.class.getResourceAsStream("service-config.json"), StandardCharsets.UTF_8)) {
      // grpc-java wants every number as a double, as gson reads it.
      return new Gson().fromJson(reader, Map.class);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static final class Bearer extends CallCredentials {
    private static final Metadata.Key<String> KEY =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private final Metadata metadata = new Metadata();

    Bearer(String token) {
      metadata.put(KEY, "Bearer " + token);
    }

    @Override
    public void applyRequestMetadata(RequestInfo info, Executor executor, MetadataApplier applier) {
      applier.apply(metadata);
    }
  }
}
