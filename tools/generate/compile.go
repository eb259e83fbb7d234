package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sort"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	module    = "kith"
	sourceDir = "actors"
	// All features share one Go package: a feature's messages are named by
	// other features' events and by the gateway, and Go packages may not
	// import each other in a circle.
	outputDir = "actors/pb"
)

// findSources lists the .proto files below actors/, sorted, by the names that
// imports use: relative to the repository's root, with slashes.
func findSources(root string) ([]string, error) {
	var sources []string
	err := fs.WalkDir(os.DirFS(root), sourceDir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Ext(name) == ".proto" {
			sources = append(sources, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for .proto files: %w", err)
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("there is no .proto file below %s/%s", root, sourceDir)
	}
	sort.Strings(sources)

	// Output files are named by the base name alone.
	taken := map[string]string{}
	for _, s := range sources {
		if other, ok := taken[path.Base(s)]; ok {
			return nil, fmt.Errorf("%s and %s would generate files of the same name; rename one", other, s)
		}
		taken[path.Base(s)] = s
	}
	return sources, nil
}

// compile parses and links the sources and makes what a protoc plugin reads.
func compile(ctx context.Context, root string, sources []string) (*pluginpb.CodeGeneratorRequest, error) {
	// Warnings (unused imports) count as errors, and all are told at once.
	var faults []error
	collect := func(e reporter.ErrorWithPos) { faults = append(faults, e) }
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		Reporter:       reporter.NewReporter(func(e reporter.ErrorWithPos) error { collect(e); return nil }, collect),
		SourceInfoMode: protocompile.SourceInfoStandard, // Comments go into the Go code.
		MaxParallelism: 1,                               // One order of work, one order of messages.
	}
	files, err := compiler.Compile(ctx, sources...)
	if len(faults) > 0 {
		return nil, fmt.Errorf("compile:\n%w", errors.Join(faults...))
	}
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}

	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: sources,
		Parameter:      proto.String("module=" + module),
	}
	seen := map[string]bool{}
	for _, f := range files {
		// What only tests need is generated beside its source, out of the binary.
		shared, own := path.Join(module, outputDir), path.Join(module, path.Dir(f.Path()))
		if got := f.Options().(*descriptorpb.FileOptions).GetGoPackage(); got != shared && got != own {
			return nil, fmt.Errorf("%s has go_package %q, want %q, or %q for tests alone", f.Path(), got, shared, own)
		}
		request.ProtoFile = appendFile(request.ProtoFile, f, seen)
	}
	return request, nil
}

// appendFile appends a file after those it imports, each once, as plugins
// expect them.
func appendFile(list []*descriptorpb.FileDescriptorProto, f protoreflect.FileDescriptor, seen map[string]bool) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return list
	}
	seen[f.Path()] = true
	imports := f.Imports()
	for i := range imports.Len() {
		list = appendFile(list, imports.Get(i).FileDescriptor, seen)
	}
	return append(list, protoutil.ProtoFromFileDescriptor(f))
}
