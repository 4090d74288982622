package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"farshore/tests/lab/keyvaultsim"
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
	keys := keyvaultsim.Start(t)
	keys.NewVersion("farshore")
	environment := keys.Environment()
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		for name, value := range environment {
			e.Setenv(name, value)
		}
		e.Setenv("KEY", keys.URL("farshore"))
		return nil
	}})
}
