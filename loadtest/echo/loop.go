package echo

import (
	"fmt"
	"log/slog"

	"github.com/panjf2000/gnet/v2"
)

// Loop starts one event loop: what the echo server runs on, and the clients that
// measure it, so that neither is favoured.
func Loop(handler gnet.EventHandler) (*gnet.Client, error) {
	loop, err := gnet.NewClient(handler,
		gnet.WithNumEventLoop(1), gnet.WithTCPNoDelay(gnet.TCPNoDelay), gnet.WithLogger(logger{}))
	if err == nil {
		err = loop.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start an event loop: %w", err)
	}
	return loop, nil
}

// A logger tells of gnet's errors; what else it has to say is not for a report.
type logger struct{}

func (logger) Debugf(string, ...any) {}
func (logger) Infof(string, ...any)  {}
func (logger) Warnf(string, ...any)  {}

func (logger) Errorf(format string, args ...any) {
	slog.Error("gnet: " + fmt.Sprintf(format, args...))
}

func (l logger) Fatalf(format string, args ...any) { l.Errorf(format, args...) }
