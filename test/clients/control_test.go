package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// A controller lets tests in another language do what those in Go do by calling:
// each request is a POST of JSON to a name below, and so is each answer.
type controller struct {
	t      testing.TB
	shared *server

	changing // guards what is below
	servers  map[string]*server
	links    map[string]*link
}

// An order has what some request needs, and an answer what some order gives.
type (
	order struct {
		Server string   `json:"server"` // "": the shared one
		Link   string   `json:"link"`
		Names  []string `json:"names"`
		Tenant string   `json:"tenant"`
		User   string   `json:"user"`
		Device string   `json:"device"`
		Life   float64  `json:"life"` // of a token, in seconds; 0: an hour
		How    manner   `json:"how"`
		On     bool     `json:"on"`
		Seed   uint64   `json:"seed"`
	}
	answer struct {
		Server    string   `json:"server,omitempty"`
		Link      string   `json:"link,omitempty"`
		WebSocket string   `json:"websocket,omitempty"`
		HTTP      string   `json:"http,omitempty"`
		Token     string   `json:"token,omitempty"`
		Users     []string `json:"users,omitempty"`
		Files     []string `json:"files,omitempty"`
	}
)

// control makes a controller: what obeys orders.
func control(t testing.TB, s *server) http.Handler {
	t.Helper()
	c := &controller{t: t, shared: s, servers: map[string]*server{}, links: map[string]*link{}}
	mux := http.NewServeMux()
	for name, do := range map[string]func(order) (answer, error){
		"contract": c.contract, "start": c.start, "restart": c.restart, "users": c.users, "token": c.token,
		"link": c.link, "cut": c.cut, "breaking": c.breaking, "refuse": c.refuse, "pause": c.pause,
	} {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) { obey(w, r, do) })
	}
	return mux
}

func obey(w http.ResponseWriter, r *http.Request, do func(order) (answer, error)) {
	var o order
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&o)
	var a answer
	if err == nil {
		a, err = do(o)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := json.NewEncoder(w).Encode(a); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// contract lists the .proto files of the features.
func (c *controller) contract(order) (answer, error) {
	paths, err := filepath.Glob(filepath.Join(repository, "actors/feature/*/*.proto"))
	if err != nil {
		return answer{}, err
	}
	if len(paths) == 0 {
		return answer{}, fmt.Errorf("there is no contract in %s", repository)
	}
	var a answer
	for _, path := range paths {
		file, err := filepath.Rel(repository, path)
		if err != nil {
			return answer{}, err
		}
		a.Files = append(a.Files, filepath.ToSlash(file))
	}
	return a, nil
}

// start starts a server of a test's own, which ends with all of them.
func (c *controller) start(order) (answer, error) {
	s := start(c.t, c.shared.origins...)
	var name string
	c.change(func() {
		name = fmt.Sprint("server ", len(c.servers))
		c.servers[name] = s
	})
	return answer{Server: name, WebSocket: s.webSocket(s.listen[0]), HTTP: s.url("")}, nil
}

// restart ends a server, with SIGKILL or in good order, and starts it again; with
// On it forgets everything in between.
func (c *controller) restart(o order) (answer, error) {
	s, err := c.server(o)
	if err != nil {
		return answer{}, err
	}
	end := s.stop
	if o.How == rst {
		end = s.kill
	}
	if err := end(); err != nil {
		return answer{}, err
	}
	if o.On {
		forget(c.t, s)
	}
	return answer{}, s.run()
}

func (c *controller) server(o order) (s *server, err error) {
	if o.Server == "" {
		return c.shared, nil
	}
	c.read(func() { s = c.servers[o.Server] })
	if s == nil {
		return nil, fmt.Errorf("there is no server %q", o.Server)
	}
	return s, nil
}

// users makes up people whom nobody has seen.
func (c *controller) users(o order) (answer, error) {
	var a answer
	for _, p := range c.shared.people(o.Tenant, o.Names...) {
		a.Users = append(a.Users, p.id)
	}
	return a, nil
}

func (c *controller) token(o order) (answer, error) {
	s, err := c.server(o)
	if err != nil {
		return answer{}, err
	}
	life := time.Hour
	if o.Life > 0 {
		life = time.Duration(o.Life * float64(time.Second))
	}
	return answer{Token: s.tokenFor(c.t, o.Tenant, o.User, o.Device, life)}, nil
}

// link opens a link to a server.
func (c *controller) link(o order) (answer, error) {
	s, err := c.server(o)
	if err != nil {
		return answer{}, err
	}
	l := linkTo(c.t, s)
	var name string
	c.change(func() {
		name = fmt.Sprint("link ", len(c.links))
		c.links[name] = l
	})
	return answer{Link: name, WebSocket: l.webSocket(), HTTP: s.url("")}, nil
}

func (c *controller) over(o order, do func(*link)) (answer, error) {
	var l *link
	c.read(func() { l = c.links[o.Link] })
	if l == nil {
		return answer{}, fmt.Errorf("there is no link %q", o.Link)
	}
	do(l)
	return answer{}, nil
}

func (c *controller) cut(o order) (answer, error) {
	return c.over(o, func(l *link) { l.cut(o.How) })
}

// breaking makes the connections of a link break all the time, or no longer.
func (c *controller) breaking(o order) (answer, error) {
	return c.over(o, func(l *link) {
		if o.On {
			l.breakEvery(breaking(o.Seed))
		} else {
			l.breakEvery(nil)
		}
	})
}

func (c *controller) refuse(o order) (answer, error) {
	return c.over(o, func(l *link) { l.refuse(o.On) })
}

func (c *controller) pause(o order) (answer, error) {
	return c.over(o, func(l *link) { l.swallow(o.On) })
}
