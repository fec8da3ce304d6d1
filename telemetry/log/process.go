package log

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
)

// ProcessConfig is how the process log is made.
type ProcessConfig struct {
	Format string         // "console" for people, "json" for machines; empty is console
	Level  *slog.LevelVar // below it nothing is written; may be changed at any time; nil is info for ever
	Path   string         // "stdout", "stderr" or a file's path; empty is stderr
	Output io.Writer      // instead of Path; written by one goroutine at a time
}

// NewProcess returns the process log. What it opens stays open until the process ends: the last word of a process is
// a log line.
func NewProcess(config ProcessConfig) (*slog.Logger, error) {
	c := config
	if c.Level == nil {
		c.Level = new(slog.LevelVar)
	}
	if c.Path == "" {
		c.Path = pathStderr
	}
	keys := zapcore.EncoderConfig{
		TimeKey:        "time",
		LevelKey:       "level",
		MessageKey:     "msg",
		NameKey:        "logger",
		EncodeTime:     zapcore.RFC3339NanoTimeEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
	}
	var encoder zapcore.Encoder
	switch c.Format {
	case "", "console":
		keys.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02 15:04:05.000")
		keys.EncodeLevel = zapcore.CapitalLevelEncoder
		keys.ConsoleSeparator = "  "
		encoder = oneLine{zapcore.NewConsoleEncoder(keys)}
	case "json":
		encoder = zapcore.NewJSONEncoder(keys)
	default:
		return nil, fmt.Errorf("process log: no format %q; there are console, json", c.Format)
	}
	sink, err := openSink(c.Path, c.Output)
	if err != nil {
		return nil, err
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(sink)), levelGate{c.Level})
	// A stack at every error, the handler's default, says where we log and not where the error came from.
	return slog.New(zapslog.NewHandler(core, zapslog.AddStacktraceAt(slog.Level(1<<10)))), nil
}

// levelGate is a slog level as zap's core asks for one.
type levelGate struct{ level *slog.LevelVar }

// Enabled implements zapcore.LevelEnabler. zap's levels are slog's in steps of one instead of four.
func (g levelGate) Enabled(l zapcore.Level) bool { return slog.Level(l)*4 >= g.level.Level() }

// oneLine is the console encoder with the message made safe: it writes the message as it is, and a message with an
// error's text in it may hold what a stranger sent. Fields are JSON and escaped already.
type oneLine struct{ zapcore.Encoder }

// Clone implements zapcore.Encoder.
func (o oneLine) Clone() zapcore.Encoder { return oneLine{o.Encoder.Clone()} }

// EncodeEntry implements zapcore.Encoder.
func (o oneLine) EncodeEntry(e zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	e.Message = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return unicode.ReplacementChar
		}
		return r
	}, e.Message)
	return o.Encoder.EncodeEntry(e, fields)
}
