package httpapi

import (
	"encoding/json"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"google.golang.org/protobuf/reflect/protoreflect"

	"kith/actors/entity"
)

// methodPath is where the methods are: its name follows.
const methodPath = "/v1/"

// A route is what a path leads to.
type route struct {
	name    string   // in metrics and logs
	verbs   []string // the HTTP methods that it has, besides OPTIONS
	serve   step
	latency prometheus.Observer

	method    *entity.Method               // nil for a page
	requestID protoreflect.FieldDescriptor // nil if the request has none
}

// addRoutes makes a route of each method that clients may call, and two pages.
func (d *Door) addRoutes() {
	d.routes = map[string]*route{}
	call := d.authenticated(d.limited(d.introduced(d.called)))
	for _, m := range d.registry.Methods() {
		if m.Internal {
			continue
		}
		r := d.addRoute(methodPath+m.Name, m.Name, call, fasthttp.MethodPost)
		r.method = m
		if !m.ReadOnly() {
			r.requestID = m.New().ProtoReflect().Descriptor().Fields().ByName("request_id")
		}
	}
	d.addPage("/", "index", "text/plain; charset=utf-8",
		[]byte("This is Kith. POST "+methodPath+"<Service>.<Method> calls a method; GET "+methodPath+" lists them.\n"))
	d.addPage(methodPath, "methods", "application/json", listPage(Describe(d.registry.Methods())))
	d.nowhere = &route{name: "none", latency: d.metrics.latency.WithLabelValues("none")}
}

func (d *Door) addRoute(path, name string, serve step, verbs ...string) *route {
	r := &route{name: name, verbs: verbs, serve: serve, latency: d.metrics.latency.WithLabelValues(name)}
	d.routes[path] = r
	return r
}

// addPage adds a page that never changes.
func (d *Door) addPage(path, name, contentType string, body []byte) {
	d.addRoute(path, name, func(x *exchange) *problem {
		x.ctx.SetContentType(contentType)
		x.ctx.SetBody(body)
		return nil
	}, fasthttp.MethodGet, fasthttp.MethodHead)
}

// A MethodList is what one has to know to call methods: GET /v1/, and `kith call`.
type MethodList struct {
	Methods []MethodInfo           `json:"methods"`
	Types   map[string][]FieldInfo `json:"types"` // of the fields that are messages
	Enums   map[string][]string    `json:"enums"`
}

// A MethodInfo describes one method.
type MethodInfo struct {
	Name    string      `json:"name"`
	Path    string      `json:"path"`
	Kind    string      `json:"kind"` // "command" or "query"
	On      string      `json:"on"`   // the kind of entity that answers
	Request []FieldInfo `json:"request"`
}

// A FieldInfo describes a field of a request or of a message in one.
type FieldInfo struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Repeated bool   `json:"repeated,omitempty"`
	OneOf    string `json:"one_of,omitempty"` // of the fields with this, one
}

// Describe describes the methods that clients may call out of those given.
func Describe(methods []*entity.Method) MethodList {
	all := MethodList{Methods: []MethodInfo{}, Types: map[string][]FieldInfo{}, Enums: map[string][]string{}}
	for _, m := range methods {
		if m.Internal {
			continue
		}
		kind := "command"
		if m.ReadOnly() {
			kind = "query"
		}
		all.Methods = append(all.Methods, MethodInfo{
			Name: m.Name, Path: methodPath + m.Name, Kind: kind, On: strings.ToLower(m.On.String()),
			Request: all.fields(m.New().ProtoReflect().Descriptor()),
		})
	}
	return all
}

// listPage is a MethodList for people.
func listPage(l MethodList) []byte {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		panic(err) // It has texts only.
	}
	return append(b, '\n')
}

// fields describes the fields of a message, and remembers the types that they
// are of.
func (l *MethodList) fields(message protoreflect.MessageDescriptor) []FieldInfo {
	fields := []FieldInfo{}
	for i := range message.Fields().Len() {
		f := message.Fields().Get(i)
		field := FieldInfo{Name: string(f.Name()), Type: f.Kind().String(), Repeated: f.IsList()}
		if one := f.ContainingOneof(); one != nil && !one.IsSynthetic() {
			field.OneOf = string(one.Name())
		}
		switch f.Kind() {
		case protoreflect.MessageKind:
			field.Type = string(f.Message().Name())
			if _, known := l.Types[field.Type]; !known {
				l.Types[field.Type] = nil // So that a type within itself ends.
				l.Types[field.Type] = l.fields(f.Message())
			}
		case protoreflect.EnumKind:
			field.Type = string(f.Enum().Name())
			l.Enums[field.Type] = enumNames(f.Enum())
		}
		fields = append(fields, field)
	}
	return fields
}

func enumNames(e protoreflect.EnumDescriptor) []string {
	var names []string
	for i := range e.Values().Len() {
		names = append(names, string(e.Values().Get(i).Name()))
	}
	return names
}
