package clients

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// caseTimeout is how long a case may take in a browser: it waits several times.
// npm/node.mjs has the same.
const caseTimeout = 100 * time.Second

// casePage is where the page of a case is on its site.
const casePage = "/npm/page.html"

// serveCases serves the page of the cases, the packages as npm installed them,
// and the contract. The mux can take more.
func serveCases(t testing.TB) (site *httptest.Server, mux *http.ServeMux) {
	t.Helper()
	requirePackages(t)
	mux = http.NewServeMux()
	for path, dir := range map[string]string{
		"GET /npm/":          ".",
		"GET /node_modules/": ".",
		"GET /actors/":       repository,
	} {
		mux.Handle(path, http.FileServer(http.Dir(dir)))
	}
	site = httptest.NewServer(mux)
	t.Cleanup(site.Close)
	return site, mux
}

// caseFiles are those of the npm client's cases.
func caseFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("npm/*.test.mjs")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("there is no case in the folder npm")
	}
	return files
}

// The cases that TestNPM runs in Node run in a browser too, with the bundles that
// the package has for it and the browser's own WebSocket, each in a page of its
// own.
func TestChromium(t *testing.T) {
	t.Parallel()
	site, mux := serveCases(t)
	s := start(t, site.URL)
	mux.Handle("/control/", http.StripPrefix("/control", control(t, s)))
	list := chromium.open(t)
	must(t, list.visit(within(t), site.URL+casePage))
	for _, file := range caseFiles(t) {
		var names []string
		must(t, list.evaluate(within(t), fmt.Sprintf("names(%q)", file), &names))
		if len(names) == 0 {
			t.Errorf("%s has no case", file)
		}
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := chromium.open(t)
				must(t, p.visit(within(t), site.URL+casePage))
				ctx, cancel := context.WithTimeout(t.Context(), caseTimeout)
				defer cancel()
				if err := p.evaluate(ctx, fmt.Sprintf("run(%q, %q)", file, name), nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Pages are let in by their origin, at both doors. A browser does not tell a page
// why it was not; the console does.
func TestAPageOfAnotherOriginIsShutOut(t *testing.T) {
	t.Parallel()
	known, _ := serveCases(t)
	unknown, _ := serveCases(t)
	s := start(t, known.URL)
	websocket, _, _ := s.address()
	for _, c := range []struct {
		site      *httptest.Server
		want, why string
	}{
		{known, "open 200", ""},
		{unknown, "error TypeError", "403"},
	} {
		p := chromium.open(t)
		must(t, p.visit(within(t), c.site.URL+casePage))
		var got string
		must(t, p.evaluate(within(t), fmt.Sprintf(`Promise.all([
			new Promise((end) => {
				const socket = new WebSocket(%q);
				socket.onopen = () => end('open');
				socket.onerror = () => end('error');
			}),
			fetch(%q).then((resp) => resp.status, (err) => err.name),
		]).then((ends) => ends.join(' '))`, s.webSocket(websocket), s.url("/v1/")), &got))
		if got != c.want {
			t.Errorf("a page of %s got %q, want %q", c.site.URL, got, c.want)
		}
		if !p.await(func() bool { return strings.Contains(strings.Join(p.console, "\n"), c.why) }) {
			t.Errorf("the console of a page of %s does not have %q", c.site.URL, c.why)
		}
	}
}
