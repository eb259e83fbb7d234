package httpapi

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"kith/gateway/wire"
)

// A media is a type of body that is spoken here.
type media struct {
	name    string // what answers of the type are called
	payload wire.Payload
}

var (
	jsonMedia  = &media{"application/json", wire.JSONPayload}
	protoMedia = &media{"application/protobuf", wire.ProtoPayload}
)

// mediaByName has every name that requests may use.
var mediaByName = map[string]*media{
	"application/json":       jsonMedia,
	"application/protobuf":   protoMedia,
	"application/x-protobuf": protoMedia,
}

// mediaNames is how a sentence lists them.
const mediaNames = "application/json and application/protobuf"

// negotiate finds the type of the request's body, and of the answer's. A request
// without a type must have no body, and is answered in JSON unless it says more.
func negotiate(r *fasthttp.Request) (in, out *media, p *problem) {
	h := &r.Header
	if coding := h.Peek(fasthttp.HeaderContentEncoding); len(coding) > 0 && !bytes.EqualFold(coding, []byte("identity")) {
		return nil, nil, unsupported(fasthttp.StatusUnsupportedMediaType, "a body must not be compressed")
	}
	name, charset := parseMedia(string(h.ContentType()))
	in = mediaByName[name]
	switch {
	case name == "" && len(r.Body()) == 0:
		in = jsonMedia
	case in == nil:
		return nil, nil, unsupported(fasthttp.StatusUnsupportedMediaType, "the Content-Type must be one of %s", mediaNames)
	case charset != "" && charset != "utf-8":
		return nil, nil, unsupported(fasthttp.StatusUnsupportedMediaType, "the only charset is utf-8")
	}
	if out = accepted(string(h.Peek(fasthttp.HeaderAccept)), in); out == nil {
		return nil, nil, unsupported(fasthttp.StatusNotAcceptable, "answers are %s, and Accept has neither", mediaNames)
	}
	return in, out, nil
}

// parseMedia splits a Content-Type into its type and its charset, in lower case.
func parseMedia(field string) (name, charset string) {
	name, parameters, _ := strings.Cut(field, ";")
	for parameter := range strings.SplitSeq(parameters, ";") {
		key, value, _ := strings.Cut(parameter, "=")
		if strings.EqualFold(strings.TrimSpace(key), "charset") {
			charset = strings.ToLower(strings.Trim(value, ` "`))
		}
	}
	return strings.ToLower(strings.TrimSpace(name)), charset
}

// accepted is the type that Accept likes best, or nil. Where it leaves a choice,
// it is the type of the request.
func accepted(accept string, in *media) *media {
	if strings.TrimSpace(accept) == "" {
		return in
	}
	var best *media
	var most float64
	for item := range strings.SplitSeq(accept, ",") {
		name, parameters, _ := strings.Cut(item, ";")
		m := mediaByName[strings.ToLower(strings.TrimSpace(name))]
		if name = strings.TrimSpace(name); name == "*/*" || name == "application/*" {
			m = in
		}
		if q := quality(parameters); m != nil && (q > most || q == most && q > 0 && m == in) {
			best, most = m, q
		}
	}
	return best
}

// quality is the weight of an item of Accept: 1 unless it says less.
func quality(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		key, value, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(key), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}
