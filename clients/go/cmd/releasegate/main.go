// Command releasegate runs the tests that are named on its command line and fails unless all of them pass.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	v1 "testgate.dev/gen/testgate/v1"
	"testgate.dev/testgate"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	client, err := testgate.New(os.Getenv("TESTGATE_SERVER"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	failed := 0
	for _, test := range os.Args[1:] {
		run, err := client.Run(ctx, test, "", nil)
		fmt.Println(run.GetVerdict(), run.GetName(), err)
		if err != nil || run.GetVerdict() != v1.Verdict_VERDICT_PASSED {
			failed = 1
		}
	}
	os.Exit(failed)
}
