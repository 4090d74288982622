package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"farshore/cmd/commandline"
	"farshore/tests/lab/keyvaultsim"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"farshore-control": func() {
		os.Exit(commandline.Run(context.Background(), newRoot()))
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
