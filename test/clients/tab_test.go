package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// A tab is a page in a browser, with storage and connections of its own.
type tab struct {
	browser  *browser
	contents string // id of its storage and connections
	session  string

	changing // guards what is below
	loaded   bool
	lost     error    // why nothing comes of the page any more
	console  []string // what is wrong with the page, in its own words
}

// open opens an empty tab.
func (b *browser) open(ctx context.Context) (*tab, error) {
	p := &tab{browser: b}
	var made struct {
		Context string `json:"browserContextId"`
		Target  string `json:"targetId"`
		Session string `json:"sessionId"`
	}
	err := b.call(ctx, "", "Target.createBrowserContext", nil, &made)
	if err != nil {
		return nil, err
	}
	p.contents = made.Context
	if err := b.call(ctx, "", "Target.createTarget", object{"url": "about:blank", "browserContextId": p.contents}, &made); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	if err := b.call(ctx, "", "Target.attachToTarget", object{"targetId": made.Target, "flatten": true}, &made); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	p.session = made.Session
	b.mu.Lock()
	b.tabs[p.session] = p
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Inspector"} {
		if err := b.call(ctx, p.session, domain+".enable", nil, nil); err != nil {
			return nil, errors.Join(err, p.close(ctx))
		}
	}
	return p, nil
}

// close closes the tab and forgets what it stored.
func (p *tab) close(ctx context.Context) error {
	p.browser.mu.Lock()
	delete(p.browser.tabs, p.session)
	p.browser.mu.Unlock()
	return p.browser.call(ctx, "", "Target.disposeBrowserContext", object{"browserContextId": p.contents}, nil)
}

// maxConsole is how many lines of a console are kept, the last ones.
const maxConsole = 100

// hear takes what the browser says of the page.
func (p *tab) hear(m message) {
	var e struct {
		Type string `json:"type"`
		Args []struct {
			Value       any    `json:"value"`
			Description string `json:"description"`
		} `json:"args"`
		Entry struct {
			Level string `json:"level"`
			Text  string `json:"text"`
			URL   string `json:"url"`
		} `json:"entry"`
		Exception exception `json:"exceptionDetails"`
	}
	if err := json.Unmarshal(m.Params, &e); err != nil {
		p.change(func() { p.lost = fmt.Errorf("%s %s: %w", m.Method, m.Params, err) })
		return
	}
	p.change(func() {
		switch m.Method {
		case "Page.loadEventFired":
			p.loaded = true
		case "Inspector.targetCrashed":
			p.lost = errors.New("the page crashed")
		case "Runtime.consoleAPICalled":
			for _, arg := range e.Args {
				p.note(fmt.Sprint(e.Type, ": ", arg.Value, arg.Description))
			}
		case "Log.entryAdded":
			p.note(fmt.Sprint(e.Entry.Level, ": ", e.Entry.Text, " ", e.Entry.URL))
		case "Runtime.exceptionThrown":
			p.note(e.Exception.Error())
		}
	})
}

// note keeps a line of the console, once: a connection that is refused says so at
// each attempt. The caller holds mu.
func (p *tab) note(line string) {
	if slices.Contains(p.console, line) {
		return
	}
	if p.console = append(p.console, line); len(p.console) > maxConsole {
		p.console = p.console[1:]
	}
}

// An exception is what a script threw.
type exception struct {
	Text   string `json:"text"`
	Thrown struct {
		Value       any    `json:"value"`
		Description string `json:"description"` // of an Error: its stack
	} `json:"exception"`
}

func (e *exception) Error() string {
	if e.Thrown.Description != "" {
		return e.Thrown.Description
	}
	return fmt.Sprint(e.Text, " ", e.Thrown.Value)
}

// visit opens a page and waits until it is there.
func (p *tab) visit(ctx context.Context, url string) error {
	var gone struct {
		Error string `json:"errorText"`
	}
	if err := p.browser.call(ctx, p.session, "Page.navigate", object{"url": url}, &gone); err != nil {
		return err
	}
	if gone.Error != "" {
		return fmt.Errorf("%s: %s", url, gone.Error)
	}
	if !p.await(func() bool { return p.loaded || p.lost != nil }) {
		return fmt.Errorf("%s is not there after %v", url, patience)
	}
	return p.lost
}

// evaluate runs an expression in the page, waits for what it promises, and reads
// that into result.
func (p *tab) evaluate(ctx context.Context, expression string, result any) error {
	var reply struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Thrown *exception `json:"exceptionDetails"`
	}
	request := object{"expression": expression, "awaitPromise": true, "returnByValue": true}
	if err := p.browser.call(ctx, p.session, "Runtime.evaluate", request, &reply); err != nil {
		return err
	}
	if reply.Thrown != nil {
		return reply.Thrown
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(reply.Result.Value, result)
}
