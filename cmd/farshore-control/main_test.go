package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"farshore-control": func() {
		err := newRoot().ExecuteContext(context.Background())
		if err != nil && explain(os.Stderr, err) != nil {
			os.Exit(1)
		}
		os.Exit(exitCode(err))
	}})
}

func TestTheCommandsSayWhatTheyDidAndWhatIsWrong(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}
