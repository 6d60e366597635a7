package testgate_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	v1 "testgate.dev/gen/testgate/v1"
	"testgate.dev/testgate"
)

// The tests run against a gateway with simulated upstreams, which tests/clients.rs starts.
const (
	passing = "backends/connect/tests/c0ffee00-0000-4000-8000-000000000001"
	endless = "backends/connect/tests/c0ffee00-0000-4000-8000-000000000003"
	failing = "backends/lex/tests/BOOKINGBAD"
	// Its upstream fails for a moment, and throttles for two minutes.
	unavailable = "backends/quality/tests/case-ca5e0000-0000-4000-8000-000000000001"
	throttled   = "backends/quality/tests/pipeline-919e0000-0000-4000-8000-000000000001"
	patience    = 2 * time.Minute
)

func connect(t *testing.T, target string, opts ...testgate.Option) (context.Context, *testgate.Client) {
	t.Helper()
	if target == "" {
		t.Skip("no gateway was started for this")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	client, err := testgate.New(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, client
}

func TestARequestIDStartsOnceAndTheRunIsFollowedToItsVerdict(t *testing.T) {
	ctx, client := connect(t, os.Getenv("TESTGATE_SERVER"))
	id, labels := rand.Text(), map[string]string{"build": "7"}
	first, err := client.Start(ctx, passing, id, labels)
	if err != nil {
		t.Fatal(err)
	}
	again, err := client.Start(ctx, passing, id, labels)
	if err != nil || again.GetName() != first.GetName() {
		t.Fatalf("the second start gave %v, %v; the first %v", again, err, first)
	}
	var last *v1.Execution
	for state, err := range client.Follow(ctx, first.GetName()) {
		if err != nil {
			t.Fatal(err)
		}
		if last != nil && state.GetRevision() <= last.GetRevision() {
			t.Fatalf("revision %d came after %d", state.GetRevision(), last.GetRevision())
		}
		last = state
	}
	if !last.GetDone() || last.GetVerdict() != v1.Verdict_VERDICT_PASSED || last.GetLabels()["build"] != "7" {
		t.Fatalf("it ended as %v", last)
	}
}

func TestAConnectionThatDropsAgainAndAgainCostsNeitherAStartNorTheEnd(t *testing.T) {
	ctx, client := connect(t, os.Getenv("TESTGATE_FLAKY_SERVER"))
	done, err := client.Run(ctx, failing, rand.Text(), nil)
	if err != nil || done.GetVerdict() != v1.Verdict_VERDICT_FAILED {
		t.Fatalf("it ended as %v, %v", done, err)
	}
}

func TestTheItemsBehindAVerdictCanBeRead(t *testing.T) {
	ctx, client := connect(t, os.Getenv("TESTGATE_SERVER"))
	done, err := client.Run(ctx, failing, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, err := range client.Items(ctx, done.GetName(), "verdict = FAILED") {
		if err != nil {
			t.Fatal(err)
		}
		failed++
	}
	if failed != 2 || int32(failed) != done.GetCounts().GetFailed() {
		t.Fatalf("%d items failed, the counts are %v", failed, done.GetCounts())
	}
}

func TestErrorsSayWhatAndWhere(t *testing.T) {
	ctx, client := connect(t, os.Getenv("TESTGATE_SERVER"))
	_, err := client.Start(ctx, "backends/connect/tests/a%zz", "", nil)
	var failure *testgate.Error
	if !errors.As(err, &failure) || failure.Code != codes.InvalidArgument || failure.Reason != "FIELD_INVALID" {
		t.Fatalf("got %v", err)
	}
	if _, ok := failure.Violations["parent"]; !ok || failure.RetryAfter != nil {
		t.Fatalf("got %+v", failure)
	}
}

func TestWhatIsUnavailableForAMomentIsAskedAgain(t *testing.T) {
	ctx, client := connect(t, os.Getenv("TESTGATE_SERVER"))
	reply, err := client.Stub.GetTest(ctx, &v1.GetTestRequest{Name: unavailable})
	if err != nil || reply.GetTest().GetName() != unavailable {
		t.Fatalf("got %v, %v", reply, err)
	}
}

func TestWhoHasToWaitIsToldHowLong(t *testing.T) {
	ctx, client := connect(t, os.Getenv("TESTGATE_SERVER"))
	_, err := client.Stub.GetTest(ctx, &v1.GetTestRequest{Name: throttled})
	failure := testgate.ErrorOf(err)
	if failure == nil || failure.Code != codes.ResourceExhausted || failure.Reason != "UPSTREAM_THROTTLED" {
		t.Fatalf("got %v", err)
	}
	if wait := failure.RetryAfter; wait == nil || *wait < 100*time.Second || *wait > 200*time.Second {
		t.Fatalf("wait %v", wait)
	}
}

func TestADeadlineEndsWhatTakesTooLong(t *testing.T) {
	ctx, client := connect(t, os.Getenv("TESTGATE_SERVER"))
	started, err := client.Start(ctx, endless, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	for _, err = range client.Follow(short, started.GetName()) {
	}
	var failure *testgate.Error
	if !errors.As(err, &failure) || failure.Code != codes.DeadlineExceeded {
		t.Fatalf("got %v", err)
	}
}

func TestTheExampleFailsUnlessEveryTestPasses(t *testing.T) {
	if os.Getenv("TESTGATE_SERVER") == "" {
		t.Skip("no gateway was started for this")
	}
	for tests, code := range map[string]int{passing: 0, failing + " " + passing: 1} {
		gate := exec.Command("go", append([]string{"run", "testgate.dev/cmd/releasegate"}, strings.Fields(tests)...)...)
		output, err := gate.CombinedOutput()
		if gate.ProcessState.ExitCode() != code {
			t.Errorf("%s: %v\n%s", tests, err, output)
		}
	}
}

func TestATokenGoesOverTLSOnly(t *testing.T) {
	if _, err := testgate.New("127.0.0.1:1", testgate.WithToken("secret")); err == nil {
		t.Fatal("a token was taken without TLS")
	}
}

func TestTLSWithAToken(t *testing.T) {
	target := os.Getenv("TESTGATE_TLS_SERVER")
	if target == "" {
		t.Skip("no gateway was started for this")
	}
	ca, err := os.ReadFile(os.Getenv("TESTGATE_CA_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(os.Getenv("TESTGATE_TOKEN_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	ctx, client := connect(t, target, testgate.WithTLS(roots), testgate.WithToken(strings.TrimSpace(string(token))))
	if done, err := client.Run(ctx, passing, "", nil); err != nil || done.GetVerdict() != v1.Verdict_VERDICT_PASSED {
		t.Fatalf("it ended as %v, %v", done, err)
	}
	_, stranger := connect(t, target, testgate.WithTLS(roots), testgate.WithToken("wrong"))
	_, err = stranger.Start(ctx, passing, "", nil)
	var failure *testgate.Error
	if !errors.As(err, &failure) || failure.Reason != "CALLER_UNAUTHENTICATED" {
		t.Fatalf("got %v", err)
	}
}
