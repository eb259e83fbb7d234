package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"kith/actors/entity"
)

// Admin is what an operator may have the process do.
type Admin interface {
	// Backup copies the store as of now into a directory of this machine that
	// does not exist.
	Backup(dir string) error
	// DeadLetters lists the first limit of the parked tells, and how many there are.
	DeadLetters(limit int) ([]entity.Parked, int, error)
	// ReplayDeadLetters delivers every parked tell again, and returns how many.
	ReplayDeadLetters() (int, error)
}

// admin is where the pages for operators on this machine begin.
const admin = "/admin/"

// maxLetters bounds the dead letters in one answer: 200 KB of JSON. There are few,
// or one bug made all of them.
const maxLetters = 1000

// A BackupRequest is the body of POST /admin/backup.
type BackupRequest struct {
	Dir string `json:"dir"` // absolute
}

// A BackupResult is its answer.
type BackupResult struct {
	Dir    string `json:"dir"`
	TookMs int64  `json:"took_ms"`
}

// DeadLetters is the answer of GET /admin/deadletters.
type DeadLetters struct {
	Total   int          `json:"total"`
	Letters []DeadLetter `json:"letters"` // the first of them, by sender
}

// A DeadLetter is a parked tell, without what it says and who it was made for.
type DeadLetter struct {
	From     string    `json:"from"` // "<tenant>/<kind>/<id>"
	To       string    `json:"to"`   // kind
	Number   uint64    `json:"number"`
	Method   string    `json:"method"`
	Reason   string    `json:"reason"`
	Sent     time.Time `json:"sent"`
	ParkedAt time.Time `json:"parked_at"`
}

// A Replayed is the answer of POST /admin/deadletters/replay.
type Replayed struct {
	Replayed int `json:"replayed"`
}

// An action is what a path below admin does.
type action struct {
	verb string
	run  func(body []byte) (any, error)
}

func (i *Internal) actions() map[string]action {
	a := i.deps.Admin
	return map[string]action{
		admin + "backup": {fasthttp.MethodPost, func(body []byte) (any, error) { return backup(a, body) }},
		admin + "deadletters": {fasthttp.MethodGet, func([]byte) (any, error) {
			letters, total, err := a.DeadLetters(maxLetters)
			return listLetters(letters, total), err
		}},
		admin + "deadletters/replay": {fasthttp.MethodPost, func([]byte) (any, error) {
			n, err := a.ReplayDeadLetters()
			return Replayed{n}, err
		}},
	}
}

// administer runs an action, if whoever asks is a program of this machine.
func (i *Internal) administer(ctx *fasthttp.RequestCtx, a action) {
	if p := local(ctx); p != nil {
		p.write(ctx)
		return
	}
	if verb := string(ctx.Method()); verb != a.verb {
		p := unsupported(fasthttp.StatusMethodNotAllowed, "only %s is possible here", a.verb)
		p.allow = a.verb
		p.write(ctx)
		return
	}
	answer, err := a.run(ctx.PostBody())
	var refused *entity.Error
	switch {
	case errors.As(err, &refused):
		refusal(refused).write(ctx)
	case err != nil: // The operator himself has asked: he may read why.
		newProblem(fasthttp.StatusInternalServerError, entity.Internal.String(), err.Error()).write(ctx)
	default:
		sendJSON(ctx, page(answer))
	}
}

// local refuses who is not a program on this machine. A web page in its browser
// is none: it says where it is from, or cannot send this media type, or has made
// its own name one of this machine.
func local(ctx *fasthttp.RequestCtx) *problem {
	host := string(ctx.Host())
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	h := &ctx.Request.Header
	posts := ctx.IsPost() && !strings.HasPrefix(string(h.ContentType()), "application/json")
	switch {
	case !ctx.RemoteIP().IsLoopback():
		return refuse(entity.Denied, "this is for programs on the server's own machine")
	case host != "localhost" && net.ParseIP(strings.Trim(host, "[]")) == nil:
		return refuse(entity.Denied, "ask by address, as 127.0.0.1, and not by the name %q", host)
	case len(h.Peek(fasthttp.HeaderOrigin)) > 0 || len(h.Peek("Sec-Fetch-Site")) > 0:
		return refuse(entity.Denied, "this is not for web pages")
	case posts:
		return unsupported(fasthttp.StatusUnsupportedMediaType, "the body must be application/json")
	}
	return nil
}

// backup copies the store.
func backup(a Admin, body []byte) (any, error) {
	var req BackupRequest
	in := json.NewDecoder(bytes.NewReader(body))
	in.DisallowUnknownFields()
	if err := in.Decode(&req); err != nil || !filepath.IsAbs(req.Dir) {
		return nil, entity.Errorf(entity.Invalid, `the body must be {"dir": "/an/absolute/path"}`)
	}
	began := time.Now()
	if err := a.Backup(req.Dir); err != nil {
		return nil, fmt.Errorf("back up to %s: %w", req.Dir, err)
	}
	return BackupResult{Dir: req.Dir, TookMs: time.Since(began).Milliseconds()}, nil
}

func listLetters(letters []entity.Parked, total int) DeadLetters {
	list := DeadLetters{Total: total, Letters: []DeadLetter{}}
	for _, l := range letters {
		list.Letters = append(list.Letters, DeadLetter{
			From: l.From.String(), To: l.To.Kind.String(), Number: l.Number, Method: l.Method,
			Reason: l.Reason, Sent: l.Sent.UTC(), ParkedAt: l.ParkedAt.UTC(),
		})
	}
	return list
}
