// Package actors_test keeps the architecture: who may import whom, what pure
// packages never touch, how long a function and a file may be, and that every
// package says what it gives. The rules are data; the checker is proven by
// planted violations.
package actors_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	module = "kith/"

	// A function fits on a screen; a file has one subject.
	maxFunctionLines = 70
	maxFileLines     = 700

	// anything stands for every package of the module.
	anything = "*"
)

// imports lists, for each layer, the layers of this module that it may import.
// A layer is the longest prefix here that matches a package; one that ends in
// a slash is the folders below. Tests may import what they like: a feature's
// test runs the simulation, a gateway's test the host.
var imports = map[string]string{
	"actors/pb":                "",
	"actors/entity":            "actors/pb",
	"actors/entity/entitytest": "actors/entity actors/pb", // For tests alone: nobody may import it.
	"actors/conversation":      "actors/entity actors/pb",
	"actors/user":              "actors/entity actors/pb",
	"actors/feature":           "actors/feature/ actors/entity",
	"actors/feature/":          "actors/conversation actors/user actors/entity actors/pb geo", // One feature never imports another.
	"actors/host":              "actors/entity",
	"actors/sim":               "actors/entity actors/host actors/pb storage",
	"storage":                  "actors/entity",
	"gateway/wire":             "actors/entity actors/pb",
	"gateway/auth":             "actors/entity actors/pb",
	"gateway/limit":            "actors/entity",
	"gateway/session":          "actors/entity actors/pb gateway/wire gateway/limit",
	"gateway/socket":           "actors/entity actors/pb gateway/wire gateway/limit gateway/session",
	"gateway/httpapi":          "actors/entity actors/pb gateway/wire gateway/auth gateway/limit",
	"gateway/outbound":         "actors/entity actors/pb gateway/wire",
	"gateway/client":           "actors/entity actors/pb gateway/wire",
	"geo":                      "",
	"cmd":                      anything,
	"bench":                    anything,
	"loadtest":                 anything,
}

// pure lists the layers whose code is a function of rows and call.
var pure = []string{"actors/entity", "actors/conversation", "actors/user", "actors/feature", "actors/feature/"}

// impure lists what pure code never imports, subpackages included: the network,
// the disk, chance, and logs (a feature has nobody to tell but the caller).
var impure = []string{"net", "os", "syscall", "log", "math/rand", "crypto/rand", "hash/maphash"}

// clock lists what pure code never takes from package time. Its types and
// arithmetic are welcome: tx.Now() is a time.Time.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// stateless lists the pure layers that keep nothing between two Steps but rows:
// a variable of theirs would be shared by all entities, and in no row.
var stateless = []string{"actors/conversation", "actors/user", "actors/feature", "actors/feature/"}

// constants lists what a variable of a stateless layer may be made by: values
// that nobody has a reason, or a way, to change.
var constants = []string{"entity.NewTable", "entity.NewDerived", "entity.Feature", "entity.LogRules", "[]entity.Feature", "errors.New"}

// source is one Go file by its path from the repository's root.
type source struct {
	path string
	text []byte
	// Of another module in this repository: imports are its own business.
	foreign bool
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// check returns what is wrong with the files, each with its place.
func check(files []source) []string {
	var faults []string
	documented := map[string]bool{} // By folder.
	for _, s := range files {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, s.path, s.text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		c := checker{source: s, set: set, file: f, layer: layer(path.Dir(s.path))}
		if !s.isTest() && !s.foreign {
			c.checkImports()
		}
		if !s.isTest() && slices.Contains(pure, c.layer) {
			c.checkPurity()
		}
		if !s.isTest() && slices.Contains(stateless, c.layer) {
			c.checkVariables()
		}
		if !ast.IsGenerated(f) {
			c.checkLengths()
		}
		dir := packageFolder(s)
		documented[dir] = documented[dir] || strings.TrimSpace(f.Doc.Text()) != ""
		faults = append(faults, c.faults...)
	}
	for dir, ok := range documented {
		// A folder's tests need no comment, unless tests are all it has.
		if code, isTests := strings.CutSuffix(dir, testsOnly); !ok && (!isTests || !has(documented, code)) {
			faults = append(faults, fmt.Sprintf("%s: no file has a package comment", code))
		}
	}
	slices.Sort(faults)
	return faults
}

const testsOnly = " (tests)"

func packageFolder(s source) string {
	if s.isTest() {
		return path.Dir(s.path) + testsOnly
	}
	return path.Dir(s.path)
}

func has(m map[string]bool, key string) bool {
	_, ok := m[key]
	return ok
}

// layer is the key of imports that a package belongs to, or empty.
func layer(pkg string) (best string) {
	for l := range imports {
		if len(l) > len(best) && (pkg == l || strings.HasPrefix(pkg, strings.TrimSuffix(l, "/")+"/")) {
			best = l
		}
	}
	return best
}

// checker looks at one file.
type checker struct {
	source
	set    *token.FileSet
	file   *ast.File
	layer  string
	faults []string
}

func (c *checker) say(at token.Pos, format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf("%s:%d: ", c.path, c.set.Position(at).Line)+fmt.Sprintf(format, args...))
}

func (c *checker) checkImports() {
	if c.layer == "" {
		c.say(c.file.Package, "folder %s has no line in the import table", path.Dir(c.path))
		return
	}
	allowed := strings.Fields(imports[c.layer])
	for _, i := range c.file.Imports {
		pkg, ours := strings.CutPrefix(importPath(i), module)
		if ours && !slices.Contains(allowed, anything) && !slices.Contains(allowed, layer(pkg)) {
			c.say(i.Pos(), "%s may not import %s, only %q", c.layer, pkg, allowed)
		}
	}
}

func importPath(i *ast.ImportSpec) string {
	p, err := strconv.Unquote(i.Path.Value)
	if err != nil {
		panic(err) // The parser accepted it.
	}
	return p
}

func (c *checker) checkPurity() {
	timeName := ""
	for _, i := range c.file.Imports {
		p := importPath(i)
		for _, bad := range impure {
			if p == bad || strings.HasPrefix(p, bad+"/") {
				c.say(i.Pos(), "pure code imports %s", p)
			}
		}
		switch {
		case p != "time":
		case i.Name == nil:
			timeName = "time"
		case i.Name.Name == ".":
			c.say(i.Pos(), "pure code imports time without its name")
		default:
			timeName = i.Name.Name
		}
	}
	ast.Inspect(c.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			c.say(n.Pos(), "pure code starts a goroutine")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == timeName && slices.Contains(clock, n.Sel.Name) {
				c.say(n.Pos(), "pure code uses time.%s; the only clock is tx.Now()", n.Sel.Name)
			}
		}
		return true
	})
}

func (c *checker) checkVariables() {
	for _, decl := range c.file.Decls {
		vars, ok := decl.(*ast.GenDecl)
		if !ok || vars.Tok != token.VAR {
			continue
		}
		for _, spec := range vars.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				if name.Name == "_" || i < len(v.Values) && slices.Contains(constants, maker(v.Values[i])) {
					continue
				}
				c.say(name.Pos(), "the variable %s is shared by all entities; state is rows, and what never changes is a const or a func", name.Name)
			}
		}
	}
}

// maker is what a value is made by, as it is written: the function that is
// called, or the type of a literal.
func maker(value ast.Expr) string {
	switch v := value.(type) {
	case *ast.CallExpr:
		return maker(v.Fun)
	case *ast.CompositeLit:
		return maker(v.Type)
	case *ast.IndexExpr: // NewTable[pb.Member]
		return maker(v.X)
	case *ast.ArrayType:
		if v.Len == nil {
			return "[]" + maker(v.Elt)
		}
	case *ast.SelectorExpr:
		if x, ok := v.X.(*ast.Ident); ok {
			return x.Name + "." + v.Sel.Name
		}
	}
	return ""
}

func (c *checker) checkLengths() {
	if n := bytes.Count(c.text, []byte("\n")); n > maxFileLines {
		c.say(c.file.Package, "the file has %d lines, more than %d", n, maxFileLines)
	}
	ast.Inspect(c.file, func(n ast.Node) bool {
		name := "the function"
		switch n := n.(type) {
		case *ast.FuncDecl:
			name = n.Name.Name
		case *ast.FuncLit:
		default:
			return true
		}
		if got := c.lines(n) - c.tableLines(n); got > maxFunctionLines {
			c.say(n.Pos(), "%s has %d lines, more than %d", name, got, maxFunctionLines)
		}
		return true
	})
}

// lines counts from the first token to the last, both included.
func (c *checker) lines(n ast.Node) int {
	return c.set.Position(n.End()).Line - c.set.Position(n.Pos()).Line + 1
}

// tableLines is what a function's table takes: the lines inside its longest
// composite literal, which are data. One table per function is exempt, and a
// function literal in it is measured by itself.
func (c *checker) tableLines(fn ast.Node) int {
	longest := 0
	ast.Inspect(fn, func(n ast.Node) bool {
		if _, ok := n.(*ast.CompositeLit); ok {
			longest = max(longest, c.lines(n)-2)
		}
		return true
	})
	return longest
}

// repository reads every Go file of the repository.
func repository(root fs.FS) ([]source, error) {
	var files []source
	var modules []string // Folders with a go.mod of their own.
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			// Hidden folders, fixtures and npm packages are not our code.
			base := path.Base(name)
			if name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil && name != "." {
				modules = append(modules, name+"/")
			}
			return nil
		case path.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		foreign := slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(name, m) })
		files = append(files, source{name, text, foreign})
		return err
	})
	return files, err
}

func TestTheRepositoryKeepsTheArchitecture(t *testing.T) {
	files, err := repository(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range check(files) {
		t.Error(fault)
	}
}

// lines repeats a line of a planted source.
func lines(n int, line string) string { return strings.Repeat(line+"\n", n) }

func TestPlantedViolationsAreSeen(t *testing.T) {
	const doc = "// Package p is documented.\npackage p\n"
	cases := []struct {
		name, path, text string
		want             []string // One for each fault, a part of it.
	}{
		{"a feature may use the kernel", "actors/feature/x/x.go", doc + `import ("kith/actors/entity"; "kith/actors/conversation")`, nil},
		{"a feature may not use another", "actors/feature/x/x.go", doc + `import "kith/actors/feature/y"`, []string{"may not import actors/feature/y"}},
		{"the list of features may", "actors/feature/feature.go", doc + `import "kith/actors/feature/y"`, nil},
		{"a feature may not use the list", "actors/feature/x/x.go", doc + `import "kith/actors/feature"`, []string{"may not import actors/feature"}},
		{"the kernel knows no feature", "actors/entity/x.go", doc + `import "kith/actors/conversation"`, []string{"may not import actors/conversation"}},
		{"the contract knows nothing", "actors/pb/x.go", doc + `import "kith/actors/entity"`, []string{"may not import actors/entity"}},
		{"storage does not know the host", "storage/x.go", doc + `import "kith/actors/host"`, []string{"may not import actors/host"}},
		{"the host does not know the disk", "actors/host/x.go", doc + `import "kith/storage"`, []string{"may not import storage"}},
		{"no gateway knows the host", "gateway/socket/x.go", doc + `import "kith/actors/host"`, []string{"may not import actors/host"}},
		{"no gateway knows the host even below", "gateway/httpapi/deep/x.go", doc + `import "kith/actors/host"`, []string{"may not import actors/host"}},
		{"gateways import downwards", "gateway/wire/x.go", doc + `import "kith/gateway/session"`, []string{"may not import gateway/session"}},
		{"the import's name hides nothing", "gateway/wire/x.go", doc + `import wire "kith/actors/host"`, []string{"may not import actors/host"}},
		{"a folder that nobody planned", "util/x.go", doc, []string{"folder util has no line"}},
		{"main may import everything", "cmd/kith/main.go", doc + `import ("kith/actors/host"; "kith/storage")`, nil},
		{"tests may too", "actors/entity/x_test.go", doc + `import "kith/actors/host"; import "os"; func f() { go f() }`, nil},

		{"no network", "actors/entity/x.go", doc + `import "net/http"`, []string{"imports net/http"}},
		{"no disk", "actors/conversation/x.go", doc + `import "os"`, []string{"imports os"}},
		{"no chance", "actors/user/x.go", doc + `import "math/rand/v2"`, []string{"imports math/rand/v2"}},
		{"no log", "actors/feature/x/x.go", doc + `import "log/slog"`, []string{"imports log/slog"}},
		{"gateways may use the network", "gateway/socket/x.go", doc + `import ("net"; "os"; "time"); var _ = time.Now`, nil},
		{"time's types", "actors/entity/x.go", doc + `import "time"; var d = time.Second + time.Duration(2); var _ time.Time`, nil},
		{"no clock", "actors/entity/x.go", doc + `import "time"; var now = time.Now()`, []string{"time.Now"}},
		{"no clock as a value", "actors/entity/x.go", doc + `import "time"; var now = time.Now`, []string{"time.Now"}},
		{"no clock by another name", "actors/entity/x.go", doc + `import t "time"; var now = t.Since(t.Time{})`, []string{"time.Since"}},
		{"no clock without a name", "actors/entity/x.go", doc + `import . "time"; var now = Now()`, []string{"without its name"}},
		{"no waiting", "actors/feature/x/x.go", doc + `import "time"; func f() { time.Sleep(1); <-time.After(1); time.NewTimer(1); time.Tick(1) }`,
			[]string{"time.Sleep", "time.After", "time.NewTimer", "time.Tick"}},
		{"no goroutine", "actors/feature/x/x.go", doc + `func f() { go f() }`, []string{"starts a goroutine"}},

		{"tables, features and rules", "actors/feature/x/x.go", doc + `import "kith/actors/entity"; var Feature = entity.Feature{Name: "x"}
			var ( rows = entity.NewTable[pb.X](); sum = entity.NewDerived(rows, f); err = errors.New("x"); Log = entity.LogRules{}; _ = rows )`, nil},
		{"the list of features is one", "actors/feature/feature.go", doc + `import "kith/actors/entity"; var All = []entity.Feature{}`, nil},
		{"no counter", "actors/feature/x/x.go", doc + `var calls int; var last = 7`, []string{"variable calls", "variable last"}},
		{"no cache", "actors/conversation/x.go", doc + `var cache = map[string]int{}; var made = make(map[int]int)`, []string{"variable cache", "variable made"}},
		{"no list", "actors/user/x.go", doc + `var list = []string{"a"}; var array = [2]int{}`, []string{"variable list", "variable array"}},
		{"no pointer", "actors/feature/x/x.go", doc + `var p = &entity.Feature{}; var q *int; var r = new(int)`, []string{"variable p", "variable q", "variable r"}},
		{"no function to exchange", "actors/feature/x/x.go", doc + `var f = func() {}`, []string{"variable f"}},
		{"not one of two", "actors/feature/x/x.go", doc + `var rows, n = entity.NewTable[pb.X](), 1`, []string{"variable n"}},
		{"the rest may", "actors/entity/x.go", doc + `var list = []string{"a"}; const c = 1`, nil},
		{"constants and variables of a function", "actors/feature/x/x.go", doc + `const c = 1; func f() { var n int; _ = n }`, nil},

		{"70 lines are a function", "storage/x.go", doc + "func f() {\n" + lines(68, "f()") + "}\n", nil},
		{"71 are too many", "storage/x.go", doc + "func f() {\n" + lines(69, "f()") + "}\n", []string{"f has 71 lines"}},
		{"in tests too", "storage/x_test.go", doc + "func f() {\n" + lines(69, "f()") + "}\n", []string{"f has 71 lines"}},
		{"a literal is a function", "storage/x.go", doc + "var f = func() {\n" + lines(69, "g()") + "}\n", []string{"the function has 71 lines"}},
		{"a table is data", "storage/x.go", doc + "func f() {\nt := []int{\n" + lines(600, "1,") + "}\n" + lines(60, "f(t)") + "}\n", nil},
		{"one table", "storage/x.go", doc + "func f() {\n" + strings.Repeat("_ = []int{\n"+lines(40, "1,")+"}\n", 2) + lines(30, "f()") + "}\n",
			[]string{"f has 76 lines"}},
		{"code in a table is code", "storage/x.go", doc + "var t = []func(){func() {\n" + lines(69, "g()") + "}}\n", []string{"the function has 71 lines"}},
		{"700 lines are a file", "storage/x.go", doc + lines(698, "// A line."), nil},
		{"701 are too many", "storage/x.go", doc + lines(699, "// A line."), []string{"the file has 701 lines"}},
		{"generated code may be long", "actors/pb/x.pb.go", "// Code generated by x. DO NOT EDIT.\n\n" + doc + lines(999, "// A line."), nil},

		{"a package without a comment", "storage/x.go", "package p\n", []string{"storage: no file has a package comment"}},
		{"a comment with a gap", "storage/x.go", "// Package p.\n\npackage p\n", []string{"storage: no file has a package comment"}},
		{"only tests, without a comment", "storage/x_test.go", "package p\n", []string{"storage: no file has a package comment"}},
		{"what is not Go", "storage/x.go", "package", []string{"expected"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := check([]source{{path: c.path, text: []byte(c.text)}})
			for _, fault := range got {
				if !slices.ContainsFunc(c.want, func(w string) bool { return strings.Contains(fault, w) }) {
					t.Errorf("unexpected: %s", fault)
				}
			}
			for _, w := range c.want {
				if !slices.ContainsFunc(got, func(fault string) bool { return strings.Contains(fault, w) }) {
					t.Errorf("%q was not seen, only %q", w, got)
				}
			}
		})
	}
}

func TestOneCommentServesAPackage(t *testing.T) {
	got := check([]source{
		{path: "storage/a.go", text: []byte("package p\n")},
		{path: "storage/doc.go", text: []byte("// Package p.\npackage p\n")},
		{path: "storage/a_test.go", text: []byte("package p\n")},
	})
	if len(got) > 0 {
		t.Errorf("faults = %q, want none", got)
	}
	got = check([]source{
		{path: "storage/a.go", text: []byte("package p\n")},
		{path: "storage/a_test.go", text: []byte("// Package p.\npackage p\n")},
	})
	if len(got) != 1 {
		t.Errorf("faults = %q, want one: the comment of a test is not the package's", got)
	}
}

func TestWhichFilesAreOurs(t *testing.T) {
	text := &fstest.MapFile{Data: []byte("// Package p.\npackage p\n\nimport \"kith/actors/host\"\n")}
	files, err := repository(fstest.MapFS{
		"go.mod":                    {},
		"actors/pb/p.go":            text,
		"actors/pb/testdata/p.go":   text,
		"clients/go.mod":            {},
		"clients/deep/p.go":         text,
		"clients/node_modules/p.go": text,
		".cache/p.go":               text,
		"README.md":                 {},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, f := range files {
		got = append(got, fmt.Sprint(f.path, " ", f.foreign))
	}
	if want := []string{"actors/pb/p.go false", "clients/deep/p.go true"}; !slices.Equal(got, want) {
		t.Errorf("files = %q, want %q", got, want)
	}
	// Another module imports what it likes.
	if faults := check(files); len(faults) != 1 || !strings.HasPrefix(faults[0], "actors/pb/p.go:4:") {
		t.Errorf("faults = %q, want one, of actors/pb/p.go", faults)
	}
}
