/** Runs the tests that are named on the command line and fails unless all of them pass. */
import { Client, v1 } from "../src/index.js";

const client = new Client(process.env.TESTGATE_SERVER ?? "127.0.0.1:50051");
try {
  const tests = process.argv.slice(2);
  const runs = await Promise.all(tests.map((test) => client.run(test, { timeoutMs: 900_000 })));
  for (const { name, verdict } of runs) console.log(v1.Verdict[verdict].replace("VERDICT_", ""), name);
  process.exitCode = runs.every(({ verdict }) => verdict === v1.Verdict.VERDICT_PASSED) ? 0 : 1;
} finally {
  client.close();
}
