package dev.testgate.client;

import dev.testgate.v1.Execution;
import dev.testgate.v1.Verdict;
import java.time.Duration;
import java.util.Map;

/** An example: runs the tests that are named on the command line and fails unless all of them pass. */
final class ReleaseGate {
  public static void main(String... tests) throws InterruptedException {
    boolean passed = true;
    try (TestgateClient client = TestgateClient.plaintext(System.getenv("TESTGATE_SERVER"))) {
      for (String test : tests) {
        Execution run = client.run(test, null, Map.of(), Duration.ofMinutes(15));
        System.out.println(run.getVerdict() + " " + run.getName());
        passed &= run.getVerdict() == Verdict.VERDICT_PASSED;
      }
    }
    System.exit(passed ? 0 : 1);
  }
}
