// Package testgate is a client of the testgate gateway: it starts a test run once, follows it to its verdict over
// lost connections, and reads the gateway's errors.
package testgate

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"iter"
	mathrand "math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	v1 "testgate.dev/gen/testgate/v1"
)

//go:embed service-config.json
var serviceConfig string

const (
	firstPause   = 200 * time.Millisecond
	longestPause = 5 * time.Second
	pageSize     = 1000
)

// Client is a connection to one gateway. It is safe for concurrent use.
type Client struct {
	// Stub has every call of the contract.
	Stub v1.TestExecutionServiceClient
	conn *grpc.ClientConn
}

// Option configures a Client.
type Option func(*options)

type options struct {
	tls   *tls.Config
	token string
}

// WithTLS connects over TLS. A nil pool means the system's roots.
func WithTLS(roots *x509.CertPool) Option {
	return func(o *options) { o.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12} }
}

// WithToken sends a bearer token with each call; it needs WithTLS.
func WithToken(token string) Option { return func(o *options) { o.token = token } }

// New prepares a connection to target, as "gateway.example.com:443". It connects with the first call.
func New(target string, opts ...Option) (*Client, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	transport := insecure.NewCredentials()
	if o.tls != nil {
		transport = credentials.NewTLS(o.tls)
	}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// A connection that died without a word is noticed within half a minute.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
	}
	if o.token != "" {
		if o.tls == nil {
			return nil, errors.New("a token is only sent over TLS: give WithTLS")
		}
		dial = append(dial, grpc.WithPerRPCCredentials(bearer(o.token)))
	}
	conn, err := grpc.NewClient(target, dial...)
	if err != nil {
		return nil, err
	}
	return &Client{Stub: v1.NewTestExecutionServiceClient(conn), conn: conn}, nil
}

// Close ends all calls.
func (c *Client) Close() error { return c.conn.Close() }

// Start starts a test once, however often the call has to be repeated. An empty requestID is made up; give your own to
// be able to repeat the call after a crash of your process too. The error is an *Error.
func (c *Client) Start(ctx context.Context, test, requestID string, labels map[string]string) (*v1.Execution, error) {
	if requestID == "" {
		requestID = rand.Text()
	}
	reply, err := c.Stub.StartExecution(ctx, &v1.StartExecutionRequest{Parent: test, RequestId: requestID, Labels: labels})
	if err != nil {
		return nil, ErrorOf(err)
	}
	return reply.GetExecution(), nil
}

// Follow yields each new state of the executions until all have ended; it goes on after a lost connection. An error is
// an *Error and the last that is yielded. The deadline of ctx ends it with DEADLINE_EXCEEDED.
func (c *Client) Follow(ctx context.Context, names ...string) iter.Seq2[*v1.Execution, error] {
	return func(yield func(*v1.Execution, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		f := follower{known: map[string]int64{}, pause: firstPause}
		for {
			done, err := f.once(ctx, c.Stub, names, yield)
			if done {
				return
			}
			wait := time.Duration(float64(f.pause) * (0.5 + mathrand.Float64()/2))
			if err != nil && err != io.EOF {
				failure := ErrorOf(err)
				if !failure.Resumable() {
					yield(nil, failure)
					return
				}
				if failure.RetryAfter != nil {
					wait = *failure.RetryAfter
				}
			}
			f.pause = min(f.pause*2, longestPause)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				yield(nil, ErrorOf(ctx.Err()))
				return
			}
		}
	}
}

// Run starts a test and returns the execution once it is done. PASSED is the only verdict that means passed.
func (c *Client) Run(ctx context.Context, test, requestID string, labels map[string]string) (*v1.Execution, error) {
	execution, err := c.Start(ctx, test, requestID, labels)
	if err != nil {
		return nil, err
	}
	for state, err := range c.Follow(ctx, execution.GetName()) {
		if err != nil {
			return execution, err
		}
		execution = state
	}
	return execution, nil
}

// Items yields an execution's result items, page after page; filter as "verdict = FAILED". An error is an *Error and
// the last that is yielded.
func (c *Client) Items(ctx context.Context, execution, filter string) iter.Seq2[*v1.ResultItem, error] {
	return func(yield func(*v1.ResultItem, error) bool) {
		request := &v1.ListResultItemsRequest{Parent: execution, Filter: filter, PageSize: pageSize}
		for {
			page, err := c.Stub.ListResultItems(ctx, request)
			if err != nil {
				yield(nil, ErrorOf(err))
				return
			}
			for _, item := range page.GetResultItems() {
				if !yield(item, nil) {
					return
				}
			}
			if page.GetNextPageToken() == "" {
				return
			}
			request.PageToken = page.GetNextPageToken()
		}
	}
}

type follower struct {
	known map[string]int64
	token string
	pause time.Duration
}

// once reads one stream; done is true where there is nothing more to yield.
func (f *follower) once(
	ctx context.Context, stub v1.TestExecutionServiceClient, names []string, yield func(*v1.Execution, error) bool,
) (done bool, err error) {
	request := &v1.WatchExecutionsRequest{Names: names, ResumeToken: f.token, UntilDone: true}
	stream, err := stub.WatchExecutions(ctx, request)
	if err != nil {
		return false, err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			// An end without `complete` (io.EOF) is a stream that was cut.
			return false, err
		}
		f.pause = firstPause
		if update := message.GetUpdate(); update != nil && f.isNews(update) && !yield(update.GetExecution(), nil) {
			return true, nil
		}
		// Only now: what it stands for was processed.
		if message.GetResumeToken() != "" {
			f.token = message.GetResumeToken()
		}
		if message.GetComplete() != nil {
			return true, nil
		}
	}
}

// isNews drops a revision that is known already, since delivery is at least once. A snapshot replaces what was known.
func (f *follower) isNews(update *v1.ExecutionUpdate) bool {
	name, revision := update.GetExecution().GetName(), update.GetExecution().GetRevision()
	snapshot := update.GetType() == v1.ExecutionUpdate_TYPE_SNAPSHOT
	if last, ok := f.known[name]; ok && (revision == last || (revision < last && !snapshot)) {
		return false
	}
	f.known[name] = revision
	return true
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": fmt.Sprintf("Bearer %s", string(b))}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
