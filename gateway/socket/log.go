package socket

import (
	"context"
	"fmt"
	"log/slog"
)

// logger lets gnet write to slog.
type logger struct{ *slog.Logger }

func (l logger) log(level slog.Level, format string, args []any) {
	if l.Enabled(context.Background(), level) {
		l.Log(context.Background(), level, "gnet: "+fmt.Sprintf(format, args...))
	}
}

func (l logger) Debugf(format string, args ...any) { l.log(slog.LevelDebug, format, args) }
func (l logger) Infof(format string, args ...any)  { l.log(slog.LevelDebug, format, args) }
func (l logger) Warnf(format string, args ...any)  { l.log(slog.LevelWarn, format, args) }
func (l logger) Errorf(format string, args ...any) { l.log(slog.LevelError, format, args) }

// Fatalf is for what gnet cannot go on after: its engine ends, and Run says so.
func (l logger) Fatalf(format string, args ...any) { l.log(slog.LevelError, format, args) }
