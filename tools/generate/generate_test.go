package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const small = `syntax = "proto3";
package kith.v1;
option go_package = "kith/actors/pb";
import "google/protobuf/descriptor.proto";
extend google.protobuf.MessageOptions { map3 shape = 50001; }
message map3 { string x = 1; string y = 2; string z = 3; }
// Greeting is carried into the Go code.
message Greeting { option (shape) = { x: "1" z: "3" y: "2" }; string text = 1; }
`

// tree makes a repository root that holds the given .proto files.
func tree(t *testing.T, sources map[string]string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, outputDir), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range sources {
		write(t, filepath.Join(root, name), text)
	}
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// wantError checks that err says all of the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error = %q, want %q in it", err, w)
		}
	}
}

func TestCheckNamesWhatIsNotFreshAndRunRepairsIt(t *testing.T) {
	root := tree(t, map[string]string{"actors/feature/hello/hello.proto": small})
	out := filepath.Join(root, outputDir)
	repaired := func() {
		t.Helper()
		if err := run(root, false); err != nil {
			t.Fatal(err)
		}
		if err := run(root, true); err != nil {
			t.Errorf("after a run, check says: %v", err)
		}
	}

	wantError(t, run(root, true), "actors/pb/hello.pb.go is missing", "actors/pb/hello_vtproto.pb.go is missing")
	repaired()

	write(t, filepath.Join(out, "hello.pb.go"), "package pb\n")
	wantError(t, run(root, true), "actors/pb/hello.pb.go is stale")
	repaired()

	write(t, filepath.Join(out, "goodbye.pb.go"), "package pb\n")
	wantError(t, run(root, true), "actors/pb/goodbye.pb.go is superfluous")
	repaired()

	write(t, filepath.Join(out, "doc.go"), "package pb\n")
	repaired()
	if _, err := os.Stat(filepath.Join(out, "doc.go")); err != nil {
		t.Errorf("a file that is not generated was removed: %v", err)
	}
}

func TestTheSameSourcesGiveTheSameBytes(t *testing.T) {
	root := tree(t, map[string]string{"actors/feature/hello/hello.proto": small})
	generate := func() map[string][]byte {
		request, err := compile(context.Background(), root, []string{"actors/feature/hello/hello.proto"})
		if err != nil {
			t.Fatal(err)
		}
		files, err := runPlugins(request)
		if err != nil {
			t.Fatal(err)
		}
		return files
	}

	first := generate()
	for range 10 {
		for name, content := range generate() {
			if !bytes.Equal(content, first[name]) {
				t.Errorf("%s differs between two runs", name)
			}
		}
	}
	for name, content := range first {
		if bytes.Contains(content, []byte(root)) {
			t.Errorf("%s has the path %s in it", name, root)
		}
	}
	if !bytes.Contains(first["actors/pb/hello.pb.go"], []byte("// Greeting is carried into the Go code.")) {
		t.Error("hello.pb.go lacks the comment of the .proto file")
	}
	if !bytes.Contains(first["actors/pb/hello_vtproto.pb.go"], []byte("protoc-gen-go-vtproto version: v0.")) {
		t.Error("hello_vtproto.pb.go does not say which version of the plugin made it")
	}
}

func TestWhatOnlyTestsNeedIsGeneratedBesideItsSource(t *testing.T) {
	beside := strings.Replace(small, "kith/actors/pb", "kith/actors/entity/entitytest", 1)
	root := tree(t, map[string]string{"actors/entity/entitytest/hello.proto": beside})
	if err := run(root, false); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(root, "actors/entity/entitytest")
	text, err := os.ReadFile(filepath.Join(out, "hello.pb.go"))
	if err != nil || !bytes.Contains(text, []byte("package entitytest\n")) {
		t.Errorf("no package entitytest beside the source (%v)", err)
	}
	if err := run(root, true); err != nil {
		t.Errorf("after a run, check says: %v", err)
	}
	write(t, filepath.Join(out, "goodbye.pb.go"), "package entitytest\n")
	wantError(t, run(root, true), "actors/entity/entitytest/goodbye.pb.go is superfluous")
	write(t, filepath.Join(out, "hello_vtproto.pb.go"), "package entitytest\n")
	wantError(t, run(root, true), "actors/entity/entitytest/hello_vtproto.pb.go is stale")
}

func TestBadSourcesAreRefused(t *testing.T) {
	cases := []struct {
		name    string
		sources map[string]string
		words   []string
	}{
		{"two files of one base name",
			map[string]string{"actors/feature/a/hello.proto": small, "actors/feature/b/hello.proto": small},
			[]string{"actors/feature/a/hello.proto", "actors/feature/b/hello.proto", "same name"}},
		{"every mistake is told",
			map[string]string{"actors/a.proto": strings.Replace(small, "string text = 1;", "Nothing a = 1; Nowhere b = 2;", 1)},
			[]string{"actors/a.proto:8", "Nothing", "Nowhere"}},
		{"an unused import",
			map[string]string{"actors/a.proto": small, "actors/b.proto": "syntax = \"proto3\";\npackage kith.v1;\n" +
				"option go_package = \"kith/actors/pb\";\nimport \"actors/a.proto\";\n"},
			[]string{"actors/b.proto", "actors/a.proto", "not used"}},
		{"another Go package",
			map[string]string{"actors/a.proto": strings.Replace(small, "kith/actors/pb", "kith/pb", 1)},
			[]string{"actors/a.proto", `"kith/pb"`, `want "kith/actors/pb"`}},
		{"no source", nil, []string{"no .proto file"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root := tree(t, c.sources)
			wantError(t, run(root, false), c.words...)
			left, err := os.ReadDir(filepath.Join(root, outputDir))
			if err != nil || len(left) > 0 {
				t.Errorf("it wrote %v (%v), want nothing", left, err)
			}
		})
	}
}
