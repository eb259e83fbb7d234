package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/gateway/httpapi"
	"kith/gateway/wire"
)

// CallCmd calls a method of a running server, or lists them.
type CallCmd struct {
	DoorFlags

	Method  string        `arg:"" optional:"" help:"Method, as Messages.Send. Only its beginning up to the dot lists those of a service; nothing lists all."`
	Request string        `arg:"" optional:"" help:"Request in JSON; - reads it from standard input. Default: {}."`
	Timeout time.Duration `default:"30s" help:"How long to wait for the answer."`
	JSON    bool          `name:"json" help:"Print the reply, or the list, as one line of JSON."`
}

// Help is what `kith call --help` says below its first line.
func (CallCmd) Help() string {
	return `Examples:

  kith call                                             every method
  kith call Messages.                                   those of messages, with their fields
  kith call Dialogs.List --as ann
  kith call Directs.Open '{"user_id":"bob"}' --as ann
  kith call Messages.Send '{"conversation_id":7,"content":{"text":{"text":"hi"}}}' --as ann
  kith call Messages.History - --json < request.json    with the token of KITH_TOKEN

A command without a request_id gets a new one. The exit code is 4 if the server refused the call, 2 if the
command line was not understood, and 1 if it is not known what became of the call.`
}

// Run calls or lists.
func (c *CallCmd) Run() error { return c.run(os.Stdin, os.Stdout) }

func (c *CallCmd) run(in io.Reader, out io.Writer) error {
	registry, err := entity.New(feature.All...)
	if err != nil {
		return fmt.Errorf("the features do not fit together: %w", err)
	}
	all := httpapi.Describe(registry.Methods())
	if c.Method == "" || strings.HasSuffix(c.Method, ".") {
		return c.list(out, all)
	}
	if !slices.ContainsFunc(all.Methods, func(m httpapi.MethodInfo) bool { return m.Name == c.Method }) {
		return unknownMethod(c.Method, all)
	}
	request, err := c.request(in, registry.ByName(c.Method))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	reply, err := c.call(ctx, c.Method, request)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s was not answered within %v; whether it was done is not known", c.Method, c.Timeout)
	case err != nil:
		return refusal(err)
	case c.JSON:
		_, err := fmt.Fprintf(out, "%s\n", strings.TrimSpace(string(reply)))
		return err
	default:
		return printPretty(out, reply)
	}
}

// maxRequestBytes bounds a request that is read: no door takes more.
const maxRequestBytes = 1 << 20

// request is the request in JSON, as the server will understand it. What it would
// not is an error here.
func (c *CallCmd) request(in io.Reader, m *entity.Method) ([]byte, error) {
	text := []byte(cmp.Or(c.Request, "{}"))
	if c.Request == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(in, maxRequestBytes+1)); err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
		if len(text) > maxRequestBytes {
			return nil, usage(fmt.Sprintf("the request is larger than %d bytes", maxRequestBytes))
		}
	}
	req := m.New()
	if err := wire.UnmarshalJSON(text, req); err != nil {
		return nil, usage(fmt.Sprintf("the request of %s: %v", m.Name, err))
	}
	r := req.ProtoReflect()
	id := r.Descriptor().Fields().ByName("request_id")
	if m.ReadOnly() || id == nil || r.Has(id) {
		return text, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, usage(fmt.Sprintf("the request of %s must be a JSON object: %v", m.Name, err))
	}
	delete(members, "requestId") // Empty, or it would have been found.
	members["request_id"] = json.RawMessage(`"cli-` + rand.Text() + `"`)
	return json.Marshal(members)
}

// list prints the methods that begin with c.Method.
func (c *CallCmd) list(out io.Writer, all httpapi.MethodList) error {
	found := all.Methods[:0:0]
	for _, m := range all.Methods {
		if strings.HasPrefix(strings.ToLower(m.Name), strings.ToLower(c.Method)) {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		return unknownMethod(c.Method, all)
	}
	all.Methods = found
	if c.JSON {
		return printJSON(out, all)
	}
	p := colours(out)
	var b strings.Builder
	for _, m := range found {
		if c.Method == "" {
			fmt.Fprintf(&b, "%s {%s}\n", p.paint(bold, fmt.Sprintf("%-22s", m.Name)), p.paint(faint, fieldNames(m.Request)))
			continue
		}
		fmt.Fprintf(&b, "%s   %s on a %s\n", p.paint(bold, m.Name), m.Kind, m.On)
		describeFields(&b, p, all, m.Request, 1)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func fieldNames(fields []httpapi.FieldInfo) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// maxFieldDepth is how deep the fields of fields are listed: a message's content
// and what is in it.
const maxFieldDepth = 3

// describeFields lists fields with their types, and those of their types below.
func describeFields(b *strings.Builder, p palette, all httpapi.MethodList, fields []httpapi.FieldInfo, depth int) {
	for _, f := range fields {
		kind := f.Type
		if values := all.Enums[f.Type]; values != nil {
			kind = strings.Join(values, "|")
		}
		if f.Repeated {
			kind = "[" + kind + "]"
		}
		if f.OneOf != "" {
			kind += " (one of " + f.OneOf + ")"
		}
		fmt.Fprintf(b, "%s%-*s %s\n", strings.Repeat("    ", depth), 20, f.Name, p.paint(faint, kind))
		if below := all.Types[f.Type]; below != nil && depth < maxFieldDepth {
			describeFields(b, p, all, below, depth+1)
		}
	}
}

// maxSimilar is how many names are suggested.
const maxSimilar = 3

// unknownMethod is the error for a method that does not exist.
func unknownMethod(name string, all httpapi.MethodList) error {
	names := make([]string, len(all.Methods))
	for i, m := range all.Methods {
		names[i] = m.Name
	}
	text := fmt.Sprintf("there is no method %s", name)
	if near := similar(name, names); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	} else {
		text += "; `kith call` lists those that there are"
	}
	return usage(text)
}

// similar returns the candidates that name may have been meant for, the nearest
// first: in another case, with a typing error, or without the service.
func similar(name string, candidates []string) []string {
	low := strings.ToLower(name)
	type distant struct {
		name  string
		edits int
	}
	var near []distant
	for _, c := range candidates {
		other := strings.ToLower(c)
		_, method, _ := strings.Cut(other, ".")
		n := edits(low, other)
		if method == low || strings.HasPrefix(other, low) {
			n = min(n, 1)
		}
		if n <= max(2, len(name)/3) {
			near = append(near, distant{c, n})
		}
	}
	slices.SortStableFunc(near, func(a, b distant) int { return cmp.Compare(a.edits, b.edits) })
	names := make([]string, 0, maxSimilar)
	for _, d := range near[:min(len(near), maxSimilar)] {
		names = append(names, d.name)
	}
	return names
}
