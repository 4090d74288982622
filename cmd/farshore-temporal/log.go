package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"go.temporal.io/server/common/log"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logLevels are the values of --log-level.
var logLevels = []string{"debug", "info", "warn", "error"}

func checkLogLevel(level string) error {
	if slices.Contains(logLevels, level) {
		return nil
	}
	return fmt.Errorf("log level %q is none of %s", level, strings.Join(logLevels, ", "))
}

// newLogger writes the server's log to standard error as JSON lines, without stack traces: they tell an operator
// nothing. Its Fatal ends the process with exit code 1, so a service that cannot start does not leave a half alive server.
func newLogger(level string) *zap.Logger {
	encoder := zapcore.NewJSONEncoder(log.DefaultZapEncoderConfig)
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), log.ParseZapLevel(level)))
}
