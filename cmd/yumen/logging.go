package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/yumen-io/yumen/telemetry/log"
)

// newLogger makes the process log as flags say. It goes to standard error, so that an access log to standard output
// stays what it is.
func (p *program) newLogger(format, level string) (*slog.Logger, error) {
	threshold := new(slog.LevelVar)
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError{trouble{fmt.Errorf("--log-level is %q", level), "use debug, info, warn or error"}}
	}
	if format != "console" && format != "json" {
		return nil, usageError{trouble{fmt.Errorf("--log-format is %q", format), "use console, for people, or json, for machines"}}
	}
	logger, err := log.NewProcess(log.ProcessConfig{Format: format, Level: threshold, Output: p.err})
	if err != nil {
		return nil, errors.Join(errors.New("opening the log"), err)
	}
	return logger, nil
}
