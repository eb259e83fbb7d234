package entity

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/pb"
)

// protoPackage is where every method, event and table is declared.
const protoPackage = "kith.v1"

// A Registry holds every method, hook, event and table of a server. It does
// not change once built, so it needs no lock.
type Registry struct {
	byName map[string]*Method
	byReq  map[protoreflect.FullName]*Method
	after  map[protoreflect.FullName][]func(*Tx, proto.Message) error
	events *eventTypes
	logs   map[pb.Kind]*LogRules
	checks map[pb.Kind][]featureCheck
}

// A featureCheck is a check of a feature.
type featureCheck struct {
	feature string
	check   Check
}

// New builds a Registry. It reports every disagreement between the features
// and their .proto files: an rpc without a handler, a handler without an rpc,
// a number used twice, a table that does not say whose data it holds.
func New(features ...Feature) (*Registry, error) { return NewIn(protoPackage, features...) }

// NewIn is New for the methods of another proto package: for tests, whose
// features are no part of the server.
func NewIn(pkg string, features ...Feature) (*Registry, error) {
	r := &Registry{
		byName: map[string]*Method{},
		byReq:  map[protoreflect.FullName]*Method{},
		after:  map[protoreflect.FullName][]func(*Tx, proto.Message) error{},
		logs:   map[pb.Kind]*LogRules{},
		checks: map[pb.Kind][]featureCheck{},
	}
	for _, f := range features {
		for _, p := range f.Parts {
			if p.check != nil {
				r.checks[p.kind] = append(r.checks[p.kind], featureCheck{f.Name, p.check})
			}
		}
	}
	var errs []error
	errs = append(errs, r.addMethods(protoreflect.FullName(pkg), features)...)
	errs = append(errs, r.addHooks(features)...)
	errs = append(errs, r.addLogs(features)...)
	events, err := newEventTypes(protoregistry.GlobalTypes)
	r.events = events
	return r, errors.Join(append(errs, err, checkTables(protoregistry.GlobalTypes))...)
}

func (r *Registry) addMethods(pkg protoreflect.FullName, features []Feature) (errs []error) {
	rpcs := declared(pkg)
	for _, f := range features {
		for _, p := range f.Parts {
			if p.command == nil && p.query == nil && !p.outside {
				continue
			}
			in := p.in.ProtoReflect().Descriptor()
			rpc, ok := rpcs[in.FullName()]
			if !ok {
				errs = append(errs, fmt.Errorf("%s: no rpc takes %s", f.Name, in.Name()))
				continue
			}
			delete(rpcs, in.FullName())
			m, err := newMethod(f.Name, rpc, p)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			r.byName[m.Name], r.byReq[in.FullName()] = m, m
		}
	}
	for _, req := range slices.Sorted(maps.Keys(rpcs)) {
		errs = append(errs, fmt.Errorf("%s has no handler: list entity.Command(…) or entity.Query(…) of %s in a feature's Parts, "+
			"and the feature in actors/feature/feature.go", methodName(rpcs[req]), req.Name()))
	}
	return errs
}

// addHooks adds hooks in the order in which features are listed, which is the
// order they run in.
func (r *Registry) addHooks(features []Feature) (errs []error) {
	for _, f := range features {
		for _, p := range f.Parts {
			if p.before == nil && p.after == nil {
				continue
			}
			name := p.in.ProtoReflect().Descriptor().FullName()
			m := r.byReq[name]
			switch {
			case p.after != nil && !isEvent(p.in.ProtoReflect().Descriptor()):
				errs = append(errs, fmt.Errorf("%s: After(%s): it is no event", f.Name, name))
			case p.after != nil:
				r.after[name] = append(r.after[name], p.after)
			case m == nil || m.command == nil:
				errs = append(errs, fmt.Errorf("%s: Before(%s): there is no such command", f.Name, name))
			default:
				m.before = append(m.before, p.before)
			}
		}
	}
	return errs
}

func (r *Registry) addLogs(features []Feature) (errs []error) {
	for _, f := range features {
		for _, p := range f.Parts {
			if p.log == nil {
				continue
			}
			if r.logs[p.kind] != nil {
				errs = append(errs, fmt.Errorf("%s: the logs of %s have rules already", f.Name, p.kind))
			}
			r.logs[p.kind] = p.log
		}
	}
	for _, m := range r.byName {
		if r.logs[m.On] == nil && m.On != pb.Kind_OUTSIDE {
			errs = append(errs, fmt.Errorf("%s: the logs of %s have no rules", m.Name, m.On))
		}
	}
	return errs
}

// declared returns every rpc of a proto package, by request type.
func declared(pkg protoreflect.FullName) map[protoreflect.FullName]protoreflect.MethodDescriptor {
	rpcs := map[protoreflect.FullName]protoreflect.MethodDescriptor{}
	protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				rpcs[s.Methods().Get(j).Input().FullName()] = s.Methods().Get(j)
			}
		}
		return true
	})
	return rpcs
}

// checkTables reports tables whose number is used twice or whose data class
// is not complete.
func checkTables(types *protoregistry.Types) error {
	var errs []error
	taken := numbers{}
	for _, d := range declaring(types, func(d protoreflect.MessageDescriptor) bool { return tableOf(d) != nil }) {
		t := tableOf(d).ProtoReflect()
		number := tableOf(d).Number
		taken.take(number, string(d.Name()))
		if number == 0 || number > maxTable {
			errs = append(errs, fmt.Errorf("table %s has the number %#02x; it must be from 1 to %#x", d.Name(), number, maxTable))
		}
		if hasMap(d) {
			errs = append(errs, fmt.Errorf("table %s has a map, which has no order of bytes", d.Name()))
		}
		if f := d.Fields().ByName("stamp"); tableOf(d).Stamped && (f == nil || f.Kind() != protoreflect.Fixed64Kind || f.Number() > 15) {
			errs = append(errs, fmt.Errorf("table %s is stamped, so it needs a field: fixed64 stamp, with a number up to 15", d.Name()))
		}
		for i := range t.Descriptor().Fields().Len() {
			if f := t.Descriptor().Fields().Get(i); f.Name() != "number" && f.Name() != "stamped" && !t.Has(f) {
				errs = append(errs, fmt.Errorf("table %s has no %q in its option: "+
					"it says whose data it is, its purpose, its retention, where it is exported and how it is erased", d.Name(), f.Name()))
			}
		}
	}
	return errors.Join(append(errs, taken.clashes("table")...)...)
}

// declaring returns the messages that is is true of, by name: the registry of
// types has no order.
func declaring(types *protoregistry.Types, is func(protoreflect.MessageDescriptor) bool) (all []protoreflect.MessageDescriptor) {
	types.RangeMessages(func(mt protoreflect.MessageType) bool {
		if is(mt.Descriptor()) {
			all = append(all, mt.Descriptor())
		}
		return true
	})
	slices.SortFunc(all, func(a, b protoreflect.MessageDescriptor) int {
		return strings.Compare(string(a.FullName()), string(b.FullName()))
	})
	return all
}

// hasMap reports whether a message or one inside it has a map field. The bytes
// of a map differ from one time to the next, and a Step's must not.
func hasMap(d protoreflect.MessageDescriptor) bool {
	seen := map[protoreflect.FullName]bool{}
	var look func(protoreflect.MessageDescriptor) bool
	look = func(d protoreflect.MessageDescriptor) bool {
		if seen[d.FullName()] {
			return false
		}
		seen[d.FullName()] = true
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			if f.IsMap() || f.Message() != nil && look(f.Message()) {
				return true
			}
		}
		return false
	}
	return look(d)
}

// tableOf returns the (table) option of a message, or nil.
func tableOf(d protoreflect.MessageDescriptor) *pb.Table {
	if d.Options() == nil || !proto.HasExtension(d.Options(), pb.E_Table) {
		return nil
	}
	return proto.GetExtension(d.Options(), pb.E_Table).(*pb.Table)
}

// ByName returns the method with a name such as "Reactions.React", or nil.
func (r *Registry) ByName(name string) *Method { return r.byName[name] }

// Methods returns every method, by name.
func (r *Registry) Methods() []*Method {
	all := make([]*Method, 0, len(r.byName))
	for _, m := range r.byName {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Method) int { return strings.Compare(a.Name, b.Name) })
	return all
}
