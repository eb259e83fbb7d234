package main

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"kith/actors/entity"
)

// A problem is one thing that is wrong in a configuration.
type problem struct {
	key     string // dotted
	text    string // what is wrong with it, to be read after the key
	nearest string // the key that was perhaps meant
}

// decode fills c from a tree of settings, by the koanf tags. It accepts no key
// that is not a field, and of each kind of value only what a person would mean:
// libraries that convert everything turn 1.5 into 1 and a typing error into 0.
func decode(c *Config, tree map[string]any) []problem {
	var d decoder
	d.section(reflect.ValueOf(c).Elem(), tree, "")
	return d.problems
}

type decoder struct{ problems []problem }

func (d *decoder) refuse(key, format string, args ...any) {
	d.problems = append(d.problems, problem{key: key, text: fmt.Sprintf(format, args...)})
}

// section fills a struct.
func (d *decoder) section(dst reflect.Value, value any, key string) {
	tree, ok := value.(map[string]any)
	if !ok {
		d.refuse(key, "is a section, not a setting; its settings are %s", strings.Join(keysBelow(dst.Type()), ", "))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		at := join(key, name)
		field, ok := fieldOf(dst, name)
		if !ok {
			d.unknown(dst.Type(), key, name)
			continue
		}
		switch {
		case field.Type() == reflect.TypeFor[map[string]Tenant]():
			d.tenants(field, tree[name], at)
		case isSection(field.Type()):
			d.section(field, tree[name], at)
		default:
			if want := assign(field, tree[name], name); want != "" {
				d.refuse(at, "is %s; it must be %s", quote(tree[name]), want)
			}
		}
	}
}

// tenants fills the map of tenants. A tenant begins with its profile's policy,
// whatever the order of its keys.
func (d *decoder) tenants(dst reflect.Value, value any, key string) {
	tree, ok := value.(map[string]any)
	if !ok {
		d.refuse(key, "is a section of tenants, as [tenants.%s]", demoTenant)
		return
	}
	tenants := map[string]Tenant{}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		at := join(key, name)
		if !tenantName.MatchString(name) {
			d.refuse(at, "is no name for a tenant: %s", tenantRule)
			continue
		}
		var t Tenant
		settings, _ := tree[name].(map[string]any)
		if profile, ok := settings["profile"].(string); ok {
			if t.Policy, ok = entity.Profile(profile); !ok {
				d.refuse(join(at, "profile"), "is %q; it must be one of %s", profile, strings.Join(entity.ProfileNames(), ", "))
			}
		}
		d.section(reflect.ValueOf(&t).Elem(), tree[name], at)
		t.Policy.Webhook = t.Webhook.Set()
		tenants[name] = t
	}
	dst.Set(reflect.ValueOf(tenants))
}

// unknown refuses a key that is no field, and looks for what was meant.
func (d *decoder) unknown(section reflect.Type, key, name string) {
	p := problem{key: join(key, name), text: "is not a setting"}
	siblings := keysBelow(section)
	below, best := sameName(name), nearest(name, siblings)
	switch {
	case below != "" && (key == "" || best == ""):
		p.nearest = below
	case best != "":
		p.nearest = join(key, best)
	default:
		p.text += "; the settings there are " + strings.Join(siblings, ", ")
	}
	d.problems = append(d.problems, p)
}

// sameName is the full key of the setting that is called name in whatever
// section outside the tenants, or with the section before it and one underscore:
// listen_ws, which is easily written for listen.ws in the environment.
func sameName(name string) string {
	root := reflect.TypeFor[Config]()
	for i := range root.NumField() {
		f := root.Field(i)
		section := f.Tag.Get("koanf")
		short := strings.TrimPrefix(name, section+"_")
		if isSection(f.Type) && slices.Contains(keysBelow(f.Type), short) {
			return join(section, short)
		}
	}
	return ""
}

// fieldOf is the field of a struct that has the key name.
func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag.Get("koanf"); tag == name && tag != "-" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// keysBelow lists the keys of a struct.
func keysBelow(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("koanf"); tag != "-" {
			keys = append(keys, tag)
		}
	}
	return keys
}

func isSection(t reflect.Type) bool { return t.Kind() == reflect.Struct }

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// quote shows a value as it was given, if it is short.
func quote(value any) string {
	const most = 60 // bytes
	text := fmt.Sprint(value)
	if s, ok := value.(string); ok {
		text = strconv.Quote(s)
	}
	if len(text) > most {
		return fmt.Sprintf("too long to show (%d bytes)", len(text))
	}
	return text
}

// assign sets a field to a value. If it cannot, it says what would be possible.
// Text is understood for every kind: it is all that the environment has.
func assign(dst reflect.Value, value any, name string) (want string) {
	if u, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		text, isText := value.(string)
		if !isText || u.UnmarshalText([]byte(text)) != nil {
			return "one of debug, info, warn, error" // The only such field is log.level.
		}
		return ""
	}
	var ok bool
	switch field := dst.Addr().Interface().(type) {
	case *string:
		*field, ok = value.(string)
		want = "text in quotes"
	case *bool:
		*field, ok = toBool(value)
		want = "true or false"
	case *time.Duration:
		*field, ok = toDuration(value)
		want = "a duration as 30s, 5m, 24h or 30d, or \"unlimited\" where there may be no limit"
	case *int:
		var n int64
		n, ok = toInt(value, name)
		*field = int(n)
		want = wantInt(name)
	case *int64:
		*field, ok = toInt(value, name)
		want = wantInt(name)
	case *[]string:
		*field, ok = toList(value)
		want = "a list of texts"
	default:
		panic("config: no conversion to " + dst.Type().String())
	}
	if ok {
		return ""
	}
	return want
}

func toBool(value any) (b, ok bool) {
	switch value {
	case true, "true":
		return true, true
	case false, "false":
		return false, true
	}
	return false, false
}

// isBytes reports whether a number counts bytes, by the end of its name.
func isBytes(name string) bool { return strings.HasSuffix(name, "_bytes") }

func wantInt(name string) string {
	if isBytes(name) {
		return "a number of bytes, or text as \"64KiB\", \"256MiB\" or \"1GiB\""
	}
	return "a whole number"
}

// byteUnits are the units of sizes.
var byteUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

func toInt(value any, name string) (int64, bool) {
	switch value := value.(type) {
	case int64:
		return value, true
	case string:
		unit := int64(1)
		for _, u := range byteUnits {
			if number, ok := strings.CutSuffix(value, u.suffix); ok && isBytes(name) {
				value, unit = number, u.bytes
			}
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > math.MaxInt64/unit || n < math.MinInt64/unit {
			return 0, false
		}
		return n * unit, true
	default:
		return 0, false
	}
}

// toDuration understands what time.ParseDuration does, days, 0, and "unlimited".
func toDuration(value any) (time.Duration, bool) {
	text, ok := value.(string)
	if !ok {
		return 0, value == int64(0)
	}
	if text == "unlimited" {
		return entity.Unlimited, true
	}
	if number, ok := strings.CutSuffix(text, "d"); ok {
		const day = 24 * time.Hour
		days, err := strconv.ParseUint(number, 10, 16) // 65,535 days fit a Duration.
		return time.Duration(days) * day, err == nil
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

// toList understands a list of texts, or one text with commas.
func toList(value any) ([]string, bool) {
	switch value := value.(type) {
	case string:
		var list []string
		for _, item := range strings.Split(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		return list, true
	case []any:
		list := make([]string, len(value))
		for i, item := range value {
			text, ok := item.(string)
			if !ok {
				return nil, false
			}
			list[i] = text
		}
		return list, true
	default:
		return nil, false
	}
}

// nearest is the candidate that takes the fewest edits to become name, if they
// are few enough for a typing error: two, or a third of a longer name.
func nearest(name string, candidates []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		if n := edits(name, c); n < least {
			best, least = c, n
		}
	}
	return best
}

// edits is the Levenshtein distance of two texts, in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
