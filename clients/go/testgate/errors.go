package testgate

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is a failed call with what the gateway says about it.
type Error struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Message is for people.
	Message string
	// Reason is for programs, as "UPSTREAM_THROTTLED"; empty where the gateway was not reached.
	Reason string
	// Metadata has facts about the failure: the backend, upstream's own code and request id.
	Metadata map[string]string
	// RetryAfter is how long to wait before the same call may succeed; nil where it is not to be repeated.
	RetryAfter *time.Duration
	// Violations are the request's fields that broke a rule, with the rule.
	Violations map[string]string

	cause error
}

// Error says what failed.
func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("%s: %s", e.Reason, e.Message)
}

// Unwrap gives the gRPC error.
func (e *Error) Unwrap() error { return e.cause }

// Resumable reports whether a broken stream goes on with its resume token.
func (e *Error) Resumable() bool { return e.Code == codes.Unavailable || e.RetryAfter != nil }

// ErrorOf reads the details of what a call of the Stub failed with; nil where it did not.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	failure := &Error{Code: s.Code(), Message: s.Message(), Violations: map[string]string{}, cause: err}
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			delay := detail.GetRetryDelay().AsDuration()
			failure.RetryAfter = &delay
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				failure.Violations[violation.GetField()] = violation.GetDescription()
			}
		}
	}
	return failure
}
