package dev.testgate.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.testgate.v1.Execution;
import dev.testgate.v1.GetTestRequest;
import dev.testgate.v1.Verdict;
import io.grpc.Status;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.Test;

/** Against a gateway with simulated upstreams, which tests/clients.rs starts. */
class SandboxTest {
  private static final String SERVER = System.getenv("TESTGATE_SERVER");
  private static final String PASSING = "backends/connect/tests/c0ffee00-0000-4000-8000-000000000001";
  private static final String ENDLESS = "backends/connect/tests/c0ffee00-0000-4000-8000-000000000003";
  private static final String FAILING = "backends/lex/tests/BOOKINGBAD";
  // Its upstream fails for a moment, and throttles for two minutes.
  private static final String UNAVAILABLE = "backends/quality/tests/case-ca5e0000-0000-4000-8000-000000000001";
  private static final String THROTTLED = "backends/quality/tests/pipeline-919e0000-0000-4000-8000-000000000001";
  private static final Duration PATIENCE = Duration.ofMinutes(2);

  @Test
  void aRequestIdStartsOnceAndTheRunIsFollowedToItsVerdict() throws Exception {
    try (TestgateClient client = TestgateClient.plaintext(SERVER)) {
      String id = UUID.randomUUID().toString();
      Execution first = client.start(PASSING, id, Map.of("build", "7"));
      assertEquals(first.getName(), client.start(PASSING, id, Map.of("build", "7")).getName());
      List<Execution> states = new ArrayList<>();
      client.follow(List.of(first.getName()), PATIENCE, states::add);
      for (int at = 1; at < states.size(); at++) {
        assertTrue(states.get(at).getRevision() > states.get(at - 1).getRevision());
      }
      Execution last = states.get(states.size() - 1);
      assertTrue(last.getDone());
      assertEquals(Verdict.VERDICT_PASSED, last.getVerdict());
      assertEquals("7", last.getLabelsOrThrow("build"));
    }
  }

  @Test
  void aConnectionThatDropsAgainAndAgainCostsNeitherAStartNorTheEnd() throws Exception {
    try (TestgateClient client = TestgateClient.plaintext(System.getenv("TESTGATE_FLAKY_SERVER"))) {
      Execution done = client.run(FAILING, UUID.randomUUID().toString(), Map.of(), PATIENCE);
      assertEquals(Verdict.VERDICT_FAILED, done.getVerdict());
    }
  }

  @Test
  void theItemsBehindAVerdictCanBeRead() throws Exception {
    try (TestgateClient client = TestgateClient.plaintext(SERVER)) {
      Execution done = client.run(FAILING, null, Map.of(), PATIENCE);
      assertEquals(2, client.items(done.getName(), "verdict = FAILED").size());
      assertEquals(2, done.getCounts().getFailed());
    }
  }

  @Test
  void errorsSayWhatAndWhere() throws Exception {
    try (TestgateClient client = TestgateClient.plaintext(SERVER)) {
      TestgateException refused = assertThrows(
          TestgateException.class, () -> client.start("backends/connect/tests/a%zz", null, Map.of()));
      assertEquals(Status.Code.INVALID_ARGUMENT, refused.code());
      assertEquals("FIELD_INVALID", refused.reason());
      assertEquals(Set.of("parent"), refused.violations().keySet());
      assertTrue(refused.retryAfter().isEmpty());
    }
  }

  @Test
  void whatIsUnavailableForAMomentIsAskedAgain() throws Exception {
    try (TestgateClient client = TestgateClient.plaintext(SERVER)) {
      assertEquals(UNAVAILABLE, client.call(gateway -> gateway.getTest(named(UNAVAILABLE))).getTest().getName());
    }
  }

  @Test
  void whoHasToWaitIsToldHowLong() throws Exception {
    try (TestgateClient client = TestgateClient.plaintext(SERVER)) {
      TestgateException throttled = assertThrows(
          TestgateException.class, () -> client.call(gateway -> gateway.getTest(named(THROTTLED))));
      assertEquals(Status.Code.RESOURCE_EXHAUSTED, throttled.code());
      assertEquals("UPSTREAM_THROTTLED", throttled.reason());
      long seconds = throttled.retryAfter().orElseThrow().toSeconds();
      assertTrue(seconds > 100 && seconds < 200, "wait " + seconds);
    }
  }

  @Test
  void aDeadlineEndsWhatTakesTooLong() throws Exception {
    try (TestgateClient client = TestgateClient.plaintext(SERVER)) {
      Execution started = client.start(ENDLESS, null, Map.of());
      TestgateException late = assertThrows(
          TestgateException.class,
          () -> client.follow(List.of(started.getName()), Duration.ofMillis(500), state -> {}));
      assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
    }
  }

  @Test
  void theExampleFailsUnlessEveryTestPasses() throws Exception {
    assertEquals(0, gate(PASSING));
    assertEquals(1, gate(PASSING, FAILING));
  }

  @Test
  void tlsWithAToken() throws Exception {
    String target = System.getenv("TESTGATE_TLS_SERVER");
    Path roots = Path.of(System.getenv("TESTGATE_CA_FILE"));
    String token = Files.readString(Path.of(System.getenv("TESTGATE_TOKEN_FILE"))).strip();
    try (InputStream pem = Files.newInputStream(roots);
        TestgateClient client = TestgateClient.tls(target, pem, token)) {
      assertEquals(Verdict.VERDICT_PASSED, client.run(PASSING, null, Map.of(), PATIENCE).getVerdict());
    }
    try (InputStream pem = Files.newInputStream(roots);
        TestgateClient stranger = TestgateClient.tls(target, pem, "wrong")) {
      TestgateException refused =
          assertThrows(TestgateException.class, () -> stranger.start(PASSING, null, Map.of()));
      assertEquals("CALLER_UNAUTHENTICATED", refused.reason());
    }
  }

  private static GetTestRequest named(String test) {
    return GetTestRequest.newBuilder().setName(test).build();
  }

  private static int gate(String... tests) throws Exception {
    List<String> command = new ArrayList<>(List.of(
        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
        "-cp", System.getProperty("java.class.path"), "dev.testgate.client.ReleaseGate"));
    command.addAll(List.of(tests));
    return new ProcessBuilder(command).inheritIO().redirectOutput(ProcessBuilder.Redirect.DISCARD).start().waitFor();
  }
}
