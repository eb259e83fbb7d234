package main

import (
	"encoding"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"kith/actors/entity"
)

// redacted stands for a secret.
const redacted = "(not shown)"

// A settings is a section of the configuration: its own values, then the sections
// in it, both in the order of their declaration.
type settings struct {
	key    string // dotted; empty: the top
	values []setting
	below  []settings
}

// A setting is one value by its name.
type setting struct {
	name  string
	value reflect.Value
	field reflect.StructField
}

// sectionOf lists what a struct of the configuration holds.
func sectionOf(v reflect.Value, key string) settings {
	s := settings{key: key}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("koanf")
		switch tenants, isTenants := v.Field(i).Interface().(map[string]Tenant); {
		case name == "-":
		case isTenants:
			for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
				s.below = append(s.below, sectionOf(reflect.ValueOf(tenants[tenant]), join(join(key, name), tenant)))
			}
		case isSection(f.Type):
			s.below = append(s.below, sectionOf(v.Field(i), join(key, name)))
		default:
			s.values = append(s.values, setting{name, v.Field(i), f})
		}
	}
	return s
}

// configText is a configuration as a TOML file, without its secrets.
func configText(c Config) string {
	var b strings.Builder
	sectionOf(reflect.ValueOf(c), "").text(&b)
	return b.String()
}

func (s settings) text(b *strings.Builder) {
	if s.key != "" && len(s.values) > 0 {
		fmt.Fprintf(b, "\n[%s]\n", s.key)
	}
	for _, v := range s.values {
		fmt.Fprintf(b, "%s = %s\n", v.name, v.toml())
	}
	for _, below := range s.below {
		below.text(b)
	}
}

// configTree is a configuration as JSON has it, without its secrets.
func configTree(c Config) map[string]any {
	return sectionOf(reflect.ValueOf(c), "").tree()
}

func (s settings) tree() map[string]any {
	tree := map[string]any{}
	for _, v := range s.values {
		tree[v.name] = v.shown()
	}
	for _, below := range s.below {
		into, path := tree, strings.Split(strings.TrimPrefix(below.key[len(s.key):], "."), ".")
		for _, name := range path[:len(path)-1] { // tenants
			next, ok := into[name].(map[string]any)
			if !ok {
				next = map[string]any{}
				into[name] = next
			}
			into = next
		}
		into[path[len(path)-1]] = below.tree()
	}
	return tree
}

// shown is the value as a person writes it in the file: text, a number, true or
// false, or a list of texts.
func (s setting) shown() any {
	switch v := s.value.Interface().(type) {
	case time.Duration:
		return durationText(v)
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			return err.Error()
		}
		return strings.ToLower(string(text))
	case string:
		return withoutSecret(s.name, v)
	case []string:
		list := []string{}
		for _, item := range v {
			list = append(list, withoutSecret(s.name, item))
		}
		return list
	case bool:
		return v
	default:
		return s.value.Int()
	}
}

// withoutSecret is a value, unless its name says that it is for nobody's eyes. A
// URL is shown without its password and its query, which may have a key.
func withoutSecret(name, value string) string {
	last := name[strings.LastIndexByte(name, '_')+1:]
	if value != "" && slices.Contains([]string{"secret", "secrets", "password", "token"}, last) {
		return redacted
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.User == nil && u.RawQuery == "" {
		return value
	}
	if u.User != nil {
		u.User = url.User("not-shown")
	}
	if u.RawQuery != "" {
		u.RawQuery = "not-shown"
	}
	return u.String()
}

// durationText is a duration as it is written in the file: the largest unit that
// leaves no rest.
func durationText(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == entity.Unlimited:
		return "unlimited"
	case d == 0:
		return "0s"
	}
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if d%unit.length == 0 {
			return strconv.FormatInt(int64(d/unit.length), 10) + unit.name
		}
	}
	return d.String()
}

// toml is the value as the file has it.
func (s setting) toml() string {
	switch v := s.shown().(type) {
	case int64:
		if isBytes(s.name) {
			return bytesText(v)
		}
		return strconv.FormatInt(v, 10)
	case string:
		return tomlString(v)
	case []string:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = tomlString(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

// bytesText is a size in the largest unit that leaves no rest.
func bytesText(n int64) string {
	for _, unit := range slices.Backward(byteUnits) {
		if n != 0 && n%unit.bytes == 0 {
			return tomlString(strconv.FormatInt(n/unit.bytes, 10) + unit.suffix)
		}
	}
	return strconv.FormatInt(n, 10)
}

// tomlString quotes a text as TOML does; its escapes are not all of Go's.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
