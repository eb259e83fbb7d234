package entity

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEachProfileIsValidAndHasItsName(t *testing.T) {
	names := ProfileNames()
	if want := []string{"kaliu", "baba", "easemob", "chatters", "dev", "bench"}; !slices.Equal(names, want) {
		t.Errorf("ProfileNames = %q, want %q", names, want)
	}
	for _, name := range names {
		p, ok := Profile(name)
		if !ok || p.Name != name {
			t.Errorf("Profile(%q) = %q, %v", name, p.Name, ok)
		}
		if err := p.Validate(); err != nil {
			t.Errorf("profile %s: %v", name, err)
		}
	}
	if _, ok := Profile("Kaliu"); ok {
		t.Error("there is a profile that is not in the list")
	}
}

// What the users of each product have been promised, and what a profile must
// not lose by an edit of base.
func TestProfilesHaveTheNumbersOfTheirProducts(t *testing.T) {
	type numbers struct {
		direct, group time.Duration
		either        bool
		bytes, utf16  int
	}
	for name, want := range map[string]numbers{
		"kaliu":    {48 * time.Hour, 48 * time.Hour, false, 0, 4096},
		"baba":     {120 * time.Second, 48 * time.Hour, false, 0, 4096},
		"easemob":  {120 * time.Second, 120 * time.Second, false, 5120, 0},
		"chatters": {Unlimited, 48 * time.Hour, true, 0, 4096},
	} {
		p, _ := Profile(name)
		got := numbers{p.RevokeWindowDirect, p.RevokeWindowGroup, p.RevokeDirectByEither, p.MaxTextBytes, p.MaxTextUTF16}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if p.EditWindow != 48*time.Hour || p.MaxCaptionUTF16 != 1024 || p.MaxEntities != 100 || p.MaxMentions != 50 {
			t.Errorf("%s: edit %v, caption %d, entities %d, mentions %d; want 48h, 1024, 100, 50",
				name, p.EditWindow, p.MaxCaptionUTF16, p.MaxEntities, p.MaxMentions)
		}
		if p.RequestWindow < 24*time.Hour || p.RecoveryWindow != 30*24*time.Hour || p.MaxChannels != 200 || p.MaxGroupMembers != 100_000 {
			t.Errorf("%s: requests %v, recovery %v, channels %d, members %d; want 24h, 720h, 200, 100000",
				name, p.RequestWindow, p.RecoveryWindow, p.MaxChannels, p.MaxGroupMembers)
		}
	}
}

func TestValuesOutOfBoundsAreRefusedWithTheirKey(t *testing.T) {
	for _, c := range []struct {
		profile string
		change  func(*Policy)
		want    string // in the error; empty: it is valid
	}{
		{"dev", func(p *Policy) { p.RequestWindow = 23 * time.Hour }, "request_window is 23h0m0s; it must be from 24h0m0s to 720h0m0s"},
		{"dev", func(p *Policy) { p.RequestWindow = Unlimited }, "request_window is unlimited;"},
		{"dev", func(p *Policy) { p.HistoryPage = 0 }, "history_page is 0; it must be from 1 to 1000"},
		{"dev", func(p *Policy) { p.MaxChannels = 201 }, "max_channels is 201; it must be from 1 to 200"},
		{"dev", func(p *Policy) { p.EditWindow = -2 }, "edit_window"},
		{"dev", func(p *Policy) { p.EditWindow = Unlimited }, ""},
		{"dev", func(p *Policy) { p.EditWindow = 0 }, ""},
		{"dev", func(p *Policy) { p.MaxTextBytes, p.MaxTextUTF16 = 0, 0 }, "are both 0"},
		{"dev", func(p *Policy) { p.RequestsPerMinute = 60 }, "request_burst is 0"},
		{"dev", func(p *Policy) { p.PongTimeout = p.PingEvery }, "pong_timeout is 25s; it must be less than ping_every (25s)"},
		{"dev", func(p *Policy) { p.SmallBelow = p.LargeAbove }, "small_below is 500; it must be from 1 to 499"},
		{"dev", func(p *Policy) { p.LargeAbove = 400 }, "small_below is 400; it must be less than large_above (400)"},
		{"dev", func(p *Policy) { p.LargeAbove = 501 }, "large_above is 501; it must be from 2 to 500"},
		{"dev", func(p *Policy) { p.MaxGroupMembers = 100_001 }, "max_group_members is 100001; it must be from 2 to 100000"},
		{"kaliu", func(p *Policy) { p.RevokeWindowGroup = 0 }, ""},
		{"chatters", func(p *Policy) { p.RevokeWindowGroup = 47 * time.Hour }, "promises at least 48h"},
		{"chatters", func(p *Policy) { p.RevokeWindowGroup = Unlimited }, ""},
		{"chatters", func(p *Policy) { p.RevokeWindowDirect = 48 * time.Hour }, "at any time"},
		{"chatters", func(p *Policy) { p.RevokeDirectByEither = false }, "either side"},
		{"easemob", func(p *Policy) { p.RevokeWindowGroup = 7 * 24 * time.Hour }, ""},
		{"easemob", func(p *Policy) { p.RevokeWindowDirect = 8 * 24 * time.Hour }, "profile easemob: revoke_window_direct"},
		{"easemob", func(p *Policy) { p.RevokeWindowDirect = Unlimited }, "profile easemob: revoke_window_direct is unlimited"},
	} {
		p, _ := Profile(c.profile)
		c.change(&p)
		err := p.Validate()
		if c.want == "" && err != nil {
			t.Errorf("%s: %v, want it to be valid", c.profile, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want an error with %q", c.profile, err, c.want)
		}
	}
}

func TestAllThatIsWrongIsSaidAtOnce(t *testing.T) {
	err := Policy{Name: "chatters"}.Validate()
	if err == nil || strings.Count(err.Error(), "\n") < 15 {
		t.Errorf("the zero policy: %v", err)
	}
}

// Each number has a key in snake case and a bound.
func TestEachFieldHasAKeyAndABound(t *testing.T) {
	p, _ := Profile("dev")
	bounded := map[string]bool{}
	for _, b := range p.bounds() {
		bounded[b.key] = true
	}
	snake := regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*$`)
	fields := reflect.TypeFor[Policy]()
	for i := range fields.NumField() {
		f := fields.Field(i)
		key := f.Tag.Get("koanf")
		if f.Name == "Name" || f.Name == "Webhook" { // What they are is said elsewhere.
			continue
		}
		if !snake.MatchString(key) {
			t.Errorf("%s has the key %q", f.Name, key)
		}
		if f.Type.Kind() != reflect.Bool && !bounded[key] {
			t.Errorf("%s has no bound", key)
		}
	}
}
